"""The curves of what an event costs by how many there are of something."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.bench.slopes import Curve, least
from tests.kit.paths import ROOT

pytestmark = pytest.mark.slow


def test_the_slope_of_a_curve_is_what_each_more_costs() -> None:
    """Of a straight line exactly."""
    curve = Curve("lanes", {1: 5.0, 3: 6.0, 11: 10.0})
    assert curve.slope == pytest.approx(0.5)
    assert curve.row == "| lanes | 1: 5.0, 3: 6.0, 11: 10.0 | 0.500 |"


def test_of_several_runs_the_least_counts() -> None:
    """Runs alternate, and each is measured as often as the others."""
    turns: list[str] = []
    costs = {"a": iter([3.0, 1.0]), "b": iter([2.0, 4.0])}

    def of(name: str) -> float:
        turns.append(name)
        return next(costs[name])

    assert least(2, {1: lambda: of("a"), 2: lambda: of("b")}) == {1: 1.0, 2: 2.0}
    assert turns == ["a", "b", "a", "b"]


def test_every_curve_is_printed() -> None:
    """On a small workload."""
    command = [sys.executable, "-m", "tests.bench.slopes", "--users", "50", "--events", "400", "--runs", "1"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    curves = [line.split("|")[1].strip() for line in printed.splitlines()[2:]]
    assert curves == ["windows", "features that are no windows", "lanes, batches of 1,000", "models"]
