"""The tool that tries features which are not served."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from detectors.features.catalogue import CANDIDATES, NAMES

pytestmark = pytest.mark.slow

TRY = [sys.executable, "-m", "tools.studies.candidates"]
PRINT = "import tools.studies.candidates as c; print(*c.tried(c.evaluate_logs.policy_of('conda', c.CHAMPION)).variants)"


def test_every_candidate_is_in_exactly_one_family(tmp_path: Path) -> None:
    """It would say so before anything else; with no log there is nothing to be told."""
    done = subprocess.run([*TRY, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")


def test_no_candidate_is_served_and_each_family_is_tried_by_itself() -> None:
    """In a process of its own, because the catalogue is another one there."""
    assert not {feature.name for feature in CANDIDATES} & {*NAMES}
    done = subprocess.run([sys.executable, "-c", PRINT], capture_output=True, text=True, check=True)
    assert done.stdout.split()[:3] == ["as_served", "with_bursts", "with_regularity"]
