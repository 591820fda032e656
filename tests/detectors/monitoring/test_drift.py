"""Drift: seen where a distribution changed, and not where it stayed, however the rows were cut into batches."""

from __future__ import annotations

from math import nan

import numpy as np
from numpy.typing import NDArray

from detectors.monitoring.bins import BINS, EDGES, SHIFTED, bin_of, stability
from detectors.monitoring.drift import WINDOW, Drift

Matrix = NDArray[np.float64]
COLUMNS = 4
"""A count, a gap in seconds, a share that is sometimes absent, and one that never changes."""


def rows(number: int, seed: int) -> Matrix:
    rng = np.random.default_rng(seed)
    share = rng.random(number)
    share[rng.random(number) < 0.3] = nan
    return np.column_stack([rng.poisson(0.7, number), rng.exponential(900.0, number), share, np.zeros(number)])


def test_a_steady_log_does_not_drift() -> None:
    """Two hundred windows of four columns and not one false alarm."""
    told = Drift(COLUMNS).take(rows(201 * WINDOW, seed=1))
    assert told == [[]] * 200


def test_each_planted_change_is_seen_in_its_column_once() -> None:
    """A count that doubles, a gap that shrinks, a share that is absent more often: told, then the new way is usual."""
    for column, change in enumerate(
        (
            lambda values: values * 2 + 1,
            lambda values: values / 4,
            lambda values: np.where(values < 0.5, nan, values),
        )
    ):
        before, after = rows(5 * WINDOW, seed=2), rows(5 * WINDOW, seed=3)
        after[:, column] = change(after[:, column])
        told = Drift(COLUMNS).take(np.concatenate([before, after]))
        assert told == [[], [], [], [], [column], [], [], [], []]


def test_a_column_that_comes_to_life_has_drifted() -> None:
    """One that was always absent has no deciles, and is seen when it has values."""
    never, now = rows(2 * WINDOW, seed=4), rows(WINDOW, seed=5)
    never[:, 3] = nan
    assert Drift(COLUMNS).take(np.concatenate([never, now])) == [[], [3]]


def test_batches_make_no_difference_and_neither_does_a_state_in_between() -> None:
    """Row by row, in lumps, dumped and restored: the same windows, to the last column."""
    log = np.concatenate([rows(3 * WINDOW, seed=6), rows(3 * WINDOW, seed=7) * 3])
    straight = Drift(COLUMNS).take(log)
    assert sum(map(len, straight)) >= 3
    rng = np.random.default_rng(8)
    for most in (2, 60, 3_000):
        drift, told, done = Drift(COLUMNS), [], 0
        while done < len(log):
            size = int(rng.integers(0, most))
            told += drift.take(log[done : done + size])
            done += size
            if rng.random() < 0.1:
                state = drift.state()
                drift = Drift(COLUMNS)
                drift.restore(state)
                assert drift.state() == state
        assert told == straight


def test_a_state_of_other_columns_is_left_aside() -> None:
    """Then the reference is gathered anew."""
    drift, other = Drift(COLUMNS), Drift(2)
    other.take(rows(700, seed=1)[:, :2])
    drift.restore(other.state())
    assert drift.take(rows(2 * WINDOW, seed=1)) == [[]]


def test_the_index_is_the_sum_it_says_it_is() -> None:
    """Against the formula, bin by bin, and zero for the same counts."""
    before, after = np.array([40, 50, 10]), np.array([10, 60, 0])
    expected = 0.0
    for b, a in zip(before, after, strict=True):
        p, q = (b + 0.5) / 101.5, (a + 0.5) / 71.5
        expected += (q - p) * np.log(q / p)
    assert np.isclose(stability(before, after), expected)
    assert stability(np.array([before, before]), np.array([before, after])).tolist() == [0.0, float(expected)]
    assert expected > SHIFTED


def test_a_probability_is_in_the_bin_of_the_next_edge() -> None:
    """Ends belong to the bin they end, and there is a bin for every probability."""
    for number, edge in enumerate(EDGES):
        assert bin_of(edge) == number
        assert float(BINS[number]) == edge
        assert bin_of(edge * 0.999) == number
    assert bin_of(0.0) == 0
