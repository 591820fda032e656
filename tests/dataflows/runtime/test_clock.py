"""Steps of the wall clock are told from the time that passes."""

from __future__ import annotations

import pytest

from dataflows.runtime.clock import Steps


def test_a_clock_that_was_set_back_is_noticed_once_and_by_how_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much time passes; small corrections, and a step forward, are none."""
    wall, steady = [10_000_000], [500]
    monkeypatch.setattr("dataflows.runtime.clock.now_ms", lambda: wall[0])
    monkeypatch.setattr("dataflows.runtime.clock.monotonic_ms", lambda: steady[0])

    def pass_by(step: int = 0) -> None:
        wall[0] += 60_000 + step
        steady[0] += 60_000

    steps = Steps()
    pass_by()
    assert steps.back(10_000) == 0
    pass_by(-9_000)
    assert steps.back(10_000) == 0
    pass_by(-1_000)
    assert steps.back(10_000) == 10_000
    assert steps.back(10_000) == 0
    pass_by(3_600_000)
    assert steps.back(10_000) == 0
    pass_by(-3_600_000)
    assert steps.back(10_000) == 3_600_000
