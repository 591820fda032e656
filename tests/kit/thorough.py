"""Number of repetitions of slow tests: more with FOREWARN_THOROUGH=1, as `make nightly` sets it."""

from __future__ import annotations

import os

THOROUGH = os.environ.get("FOREWARN_THOROUGH") == "1"
SHARE, FEWEST = 5, 5


def examples(thorough: int) -> int:
    """Return how many examples Hypothesis tries: all in a thorough run, otherwise a fifth, but five at least."""
    return thorough if THOROUGH else min(thorough, max(FEWEST, thorough // SHARE))
