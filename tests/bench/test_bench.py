"""The benchmark runs, and accounts for every stage."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from tests.kit.paths import ROOT

pytestmark = pytest.mark.slow


def test_the_benchmark_prints_every_stage_and_scores_every_event(tmp_path: Path) -> None:
    """On a small simulated log: a row for each stage and for the whole replay, and as many points as were at risk."""
    command = [
        sys.executable,
        "tests/bench/bench.py",
        "--events",
        "3000",
        "--repeats",
        "1",
        "--out",
        str(tmp_path / "a/b.json"),
    ]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    cells = [line.strip("| ").split(" | ") for line in printed.splitlines() if line.startswith("| ")]
    rows = {stage: (cost, rate) for stage, cost, rate in cells[1:]}
    stages = ["read", "decode", "context", "profile", "learn logistic", "learn bayes", "judge", "keep features"]
    assert list(rows) == [*stages, "replay: flow", "replay: outputs", "replay: report", "replay: all"]
    assert all(float(cost) > 0 for cost, _ in rows.values())
    assert "scored as decision points; wall" in printed
    assert "most memory of a whole replay: " in printed
    assert "a user's state: " in printed
    kept = orjson.loads((tmp_path / "a/b.json").read_bytes())
    assert [f"{cost:.2f}" for cost in kept["CPU us an event"].values()] == [cost for cost, _ in rows.values()]
    assert kept["most memory, bytes"] > 50_000_000
