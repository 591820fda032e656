"""Metrics against naive recomputations over pairs and thresholds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.metrics import average_precision, brier, roc_auc
from tests.kit.streams import LAWFUL
from tests.kit.thorough import examples

SCORED = st.lists(
    st.tuples(st.booleans(), st.one_of(st.sampled_from((0.0, 0.1, 0.5, 0.9, 1.0)), st.floats(0, 1))),
    max_size=40,
)


def arrays(scored: list[tuple[bool, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores."""
    return np.array([label for label, _ in scored], dtype=bool), np.array([score for _, score in scored], dtype=float)


@settings(LAWFUL, max_examples=examples(200))
@given(SCORED)
def test_roc_auc_is_the_share_of_pairs_in_the_right_order(scored: list[tuple[bool, float]]) -> None:
    """Over all pairs of a positive and a negative, ties counting half; None without such a pair."""
    wins = [(good > bad) + (good == bad) / 2 for label, good in scored for other, bad in scored if label and not other]
    wanted = sum(wins) / len(wins) if wins else None
    assert roc_auc(*arrays(scored)) == (None if wanted is None else pytest.approx(wanted, abs=1e-12))


@settings(LAWFUL, max_examples=examples(200))
@given(SCORED)
def test_average_precision_is_the_sum_over_thresholds(scored: list[tuple[bool, float]]) -> None:
    """For every distinct score from the top: the precision at it times the recall it gains."""
    positives = sum(label for label, _ in scored)
    total, found = 0.0, 0
    for threshold in sorted({score for _, score in scored}, reverse=True):
        above = [label for label, score in scored if score >= threshold]
        total += sum(above) / len(above) * (sum(above) - found)
        found = sum(above)
    wanted = pytest.approx(total / positives, abs=1e-12) if positives else None
    assert average_precision(*arrays(scored)) == wanted


@settings(LAWFUL, max_examples=examples(100))
@given(SCORED)
def test_brier_is_the_mean_squared_error(scored: list[tuple[bool, float]]) -> None:
    """Of the probability against the outcome; None of nothing."""
    errors = [(score - label) ** 2 for label, score in scored]
    wanted = pytest.approx(sum(errors) / len(errors), abs=1e-12) if errors else None
    assert brier(*arrays(scored)) == wanted


def test_metrics_do_not_depend_on_the_order_of_points() -> None:
    """Ties in particular: shuffling changes nothing."""
    rng = np.random.default_rng(3)
    labels, scores = rng.random(500) < 0.2, rng.integers(0, 9, 500) / 8
    order = rng.permutation(500)
    for metric in (roc_auc, average_precision, brier):
        assert metric(labels, scores) == pytest.approx(metric(labels[order], scores[order]), abs=1e-12)
