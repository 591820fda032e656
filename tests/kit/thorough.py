"""Number of repetitions of slow tests: more with FOREWARN_THOROUGH=1, as `make nightly` sets it."""

from __future__ import annotations

import os

THOROUGH = os.environ.get("FOREWARN_THOROUGH") == "1"
