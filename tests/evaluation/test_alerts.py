"""Warnings followed through hand-made runs: who was warned, rightly or not, and how early."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.alerts import Follow
from evaluation.labels import label
from evaluation.runs import Outputs
from tests.kit.outputs import DAY, HOUR, outputs

END = [(8, 100.0, 0.0), (9, 100.0, 0.0)]
"""Two users who show that the log goes on."""


def follow(run: Outputs) -> Follow:
    labels = label("horizon", run.user, run.as_of, run.seq, run.escalations, run.horizon)
    return Follow(run, labels.mature)


def test_a_warning_holds_for_its_time_and_the_user_is_not_warned_again_within_it() -> None:
    """Three points above the threshold within a day are one warning; the next day brings another."""
    run = outputs([(0, 0, 0.9), (1, 1, 0.9), (0, 2, 0.9), (0, 23.9, 0.9), (0, 24, 0.9), *END], {})
    assert sorted(follow(run).warned_at(run.scores["model"], 0.5).tolist()) == [0, 1, 4]


def test_warnings_are_right_if_the_user_escalates_within_the_horizon() -> None:
    """One of two; the lead runs from the first warning, in hours and in events in between."""
    points = [(0, 0, 0.9), (1, 1, 0.9), (0, 2, 0.1), (0, 5, 0.2), *END]
    run = outputs(points, {0: [(6, 7)]})
    found = follow(run).outcome(np.array([0, 1]))
    assert (found.warnings, found.precision, found.recall, found.escalations) == (2, 0.5, 1.0, 1)
    assert (found.lead.median_ms, found.lead.median_events) == (6 * HOUR, 2)
    assert found.lead.at_least == {300_000: 1.0, HOUR: 1.0, DAY: 0.0}


@pytest.mark.parametrize(("hour", "announced"), [(24, True), (24.001, False)])
def test_an_escalation_beyond_the_horizon_counts_for_nothing(hour: float, announced: bool) -> None:
    """Neither the warning is right, nor the escalation announced."""
    run = outputs([(0, 0, 0.9), *END], {0: [(hour, 1)]})
    found = follow(run).outcome(np.array([0]))
    assert (found.precision, found.recall) == ((1.0, 1.0) if announced else (0.0, 0.0))


def test_a_warning_at_the_escalating_event_announces_nothing() -> None:
    """Its place in the log is after what it would have announced."""
    run = outputs([(0, 0, 0.1), (0, 1, 0.9), *END], {0: [(1, 1)]})
    assert follow(run).outcome(np.array([1])).recall == 0.0


def test_warnings_too_near_the_end_are_neither_right_nor_wrong() -> None:
    """Their horizon has not passed."""
    run = outputs([(0, 90, 0.9), *END], {0: [(91, 1)]})
    found = follow(run).outcome(np.array([0]))
    assert (found.warnings, found.precision) == (1, None)


def test_a_budget_is_the_lowest_threshold_that_keeps_to_it() -> None:
    """Ten users on one day, and a hundred warnings per thousand of them: one warning, the highest score."""
    points = [(user, 0.5, user / 10) for user in range(10)]
    run = outputs(points, {9: [(1, 30)]})
    found = follow(run).at_budget(run.scores["model"], 100)
    assert (found.warnings, found.per_budget, found.threshold) == (1, 100.0, 0.9)
    assert found.recall == 1.0
    assert follow(run).at_budget(run.scores["model"], 299).warnings == 3
    assert follow(run).at_budget(np.zeros(10), 100).warnings == 0  # all alike: nobody can be chosen


def test_at_a_precision_the_best_recall_is_found() -> None:
    """Ranked right, wrong, right: at half right all three may be warned of, at all right just the first."""
    points = [(user, 0.0, 1 - user / 10) for user in range(5)]
    run = outputs([*points, *END], {0: [(1, 20)], 2: [(1, 21)]})
    by_hand = follow(run)
    half, whole = (by_hand.at_precision(run.scores["model"], share) for share in (0.5, 1.0))
    assert half is not None
    assert whole is not None
    assert (half.recall, whole.recall) == (1.0, 0.5)
    assert by_hand.at_precision(np.arange(7.0), 0.9) is None


def test_days_of_different_users_are_different_whatever_their_clocks_say() -> None:
    """A time 100,000 days ahead is a day of its own user, not one of the next user's."""
    run = outputs([(0, 0.0, 0.1), (0, 100_000 * 24.0, 0.1), (1, 0.0, 0.1), (1, 1.0, 0.1), (2, 30.0, 0.1)], {})
    assert follow(run).active_days == 4
