"""Calibration: what is true by construction comes out as such."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.calibration import calibration_error, reliability


def test_probabilities_that_come_true_have_hardly_an_error() -> None:
    """A hundred thousand coins, each as biased as it says."""
    rng = np.random.default_rng(1)
    probability = rng.beta(1, 20, 100_000)
    error = calibration_error(reliability(rng.random(100_000) < probability, probability))
    assert error is not None
    assert error < 0.004


@pytest.mark.parametrize("shift", [0.02, 0.1])
def test_an_error_is_as_large_as_what_was_added(shift: float) -> None:
    """Every probability too high by so much."""
    rng = np.random.default_rng(2)
    probability = rng.beta(2, 20, 200_000)
    error = calibration_error(reliability(rng.random(200_000) < probability, probability + shift))
    assert error == pytest.approx(shift, abs=0.004)


def test_equal_probabilities_stay_in_one_bin() -> None:
    """However many there are: a bin is what a reader can ask for by its probability."""
    curve = reliability(np.array([True] * 30 + [False] * 70), np.array([0.25] * 90 + [0.5] * 10), bins=10)
    assert [(one.low, one.high, one.points) for one in curve] == [(0.25, 0.25, 90), (0.5, 0.5, 10)]
    assert curve[0].observed == pytest.approx(30 / 90)


def test_no_points_have_no_error() -> None:
    """And no curve."""
    assert reliability(np.empty(0, np.bool_), np.empty(0)) == []
    assert calibration_error([]) is None
