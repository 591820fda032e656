"""How thorough a run of the tests is: `make nightly` sets FOREWARN_THOROUGH=1."""

from __future__ import annotations

import os

THOROUGH = os.environ.get("FOREWARN_THOROUGH") == "1"
