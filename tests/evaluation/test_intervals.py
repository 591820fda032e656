"""Figures and intervals against what is slower and plainer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.intervals import compare_scores, draws, interval
from evaluation.metrics import Ranking, average_precision, roc_auc

ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 3)), max_size=40)


@given(ROWS)
def test_weighed_figures_are_those_of_rows_repeated(rows: list[tuple[bool, int, int]]) -> None:
    """A row that weighs three counts as three rows, ties and all."""
    positive = np.array([row[0] for row in rows], dtype=np.bool_)
    score, weight = (np.array([row[place] for row in rows], dtype=np.float64) for place in (1, 2))
    repeated = np.repeat(np.arange(len(rows)), weight.astype(int))
    auc, average = Ranking(positive, score).figures(weight)
    for found, plainer in ((auc, roc_auc), (average, average_precision)):
        expected = plainer(positive[repeated], score[repeated])
        assert found == pytest.approx(np.nan if expected is None else expected, nan_ok=True)


def test_users_are_drawn_and_not_points() -> None:
    """All points of a user count equally often, as many users are drawn as there are, and every call draws alike."""
    user = np.array([7, 7, 3, 3, 3, 9])
    first, again = list(draws(user, 20)), list(draws(user, 20))
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    for weight in first:
        by_user = {one: set(weight[user == one].tolist()) for one in (3, 7, 9)}
        assert all(len(values) == 1 for values in by_user.values())
        assert sum(values.pop() for values in by_user.values()) == 3
    assert len({tuple(weight) for weight in first}) > 1


def test_an_interval_over_users_is_wider_than_one_over_as_many_independent_points() -> None:
    """A hundred points of one user are not a hundred pieces of evidence."""
    rng = np.random.default_rng(1)
    owner = np.repeat(np.arange(40), 50)
    habit = rng.normal(size=40)
    positive = rng.random(2_000) < 0.1
    positive[owner < 4] = True
    score = habit[owner] + rng.normal(size=2_000) * 0.1
    clustered = compare_scores(positive, owner, {"score": score}).roc_auc["score"]
    independent = compare_scores(positive, np.arange(2_000), {"score": score}).roc_auc["score"]
    assert clustered.value == independent.value
    width = (clustered.high or 0) - (clustered.low or 0)
    assert width > 2 * ((independent.high or 0) - (independent.low or 0))


def test_a_lead_is_judged_within_the_same_draws() -> None:
    """Two scores that err together differ for sure, although their intervals overlap."""
    rng = np.random.default_rng(2)
    positive = rng.random(3_000) < 0.05
    noise = rng.normal(size=3_000)
    better = positive + noise
    worse = positive * 0.9 + noise
    compared = compare_scores(positive, np.arange(3_000), {"better": better, "worse": worse})
    assert (compared.roc_auc["better"].low or 0) < (compared.roc_auc["worse"].high or 0)
    assert (compared.roc_auc_above["worse"].low or 0) > 0


def test_what_is_not_defined_has_no_figure_and_no_interval() -> None:
    """One class only; or one that most samples miss."""
    none = compare_scores(np.zeros(5, dtype=np.bool_), np.arange(5), {"score": np.arange(5.0)})
    assert none.roc_auc["score"] == (None, None, None)
    assert interval(0.7, np.array([0.7, *[np.nan] * 9])) == (0.7, None, None)
