"""The benchmark runs, and accounts for every stage."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_benchmark_prints_every_stage_and_scores_every_event() -> None:
    """On a small simulated log: a row for each stage and for the whole replay, and as many points as were at risk."""
    command = [sys.executable, "tests/bench/bench.py", "--events", "3000", "--repeats", "1"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    rows = {line[:16].strip(): line.split()[-2:] for line in printed.splitlines()[2:-3]}
    stages = ["read", "decode", "context", "profile", "learn logistic", "learn bayes", "judge", "keep features"]
    assert list(rows) == [*stages, "replay: flow", "replay: outputs", "replay: report", "replay: all"]
    assert all(float(cost) > 0 for cost, _ in rows.values())
    assert "scored as decision points; wall" in printed
    assert "a user's state: " in printed
