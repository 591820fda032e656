"""Earliness, recovery and stability on runs that can be followed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.alerts import Follow
from evaluation.curves import earliness, numbered, recovery, stability
from evaluation.labels import label
from evaluation.runs import Outputs
from tests.kit.outputs import outputs

NO_DECAYS = {"sanction_decay_7d": [0.0] * 8}


def test_points_are_numbered_user_by_user() -> None:
    """In the order of the log."""
    run = outputs([(1, 0, 0.1), (0, 1, 0.1), (1, 2, 0.1), (1, 3, 0.1), (0, 4, 0.1)], {})
    assert numbered(run).tolist() == [1, 1, 2, 3, 2]


def test_earliness_looks_at_each_user_once_for_each_number_of_events() -> None:
    """User 0 escalates: the first event does not tell him from user 1, the second does, and is warned of."""
    points = [(0, 0, 0.2), (1, 0, 0.2), (0, 1, 0.8), (1, 1, 0.1), (2, 90.0, 0.0), (3, 90.0, 0.0)]
    run = outputs(points, {0: [(2, 5)]})
    labels = label("horizon", run.user, run.as_of, run.seq, run.escalations, run.horizon)
    found = earliness(run, run.scores["model"], labels, labels.mature, Follow(run, labels.mature), 0.5)
    one, two, three = found[:3]
    assert (one.users, one.positives, one.roc_auc.value, one.recall) == (2, 1, 0.5, 0.0)
    assert (two.users, two.positives, two.roc_auc.value, two.recall) == (2, 1, 1.0, 1.0)
    assert (three.users, three.roc_auc.value, three.recall) == (0, None, 1.0)


def decayed(run: Outputs, reported: list[int]) -> list[float]:
    """The 7-day decay of reports at each point, for one user who is reported at some rows."""
    half_life = 7 * 86_400_000
    value, last, found = 0.0, int(run.as_of[0]), []
    for row, time in enumerate(run.as_of.tolist()):
        value = value * 0.5 ** ((time - last) / half_life) + (row in reported)
        last = time
        found.append(value)
    return found


def test_recovery_compares_a_score_with_itself_at_the_violation() -> None:
    """Reported at the second point and again at the sixth, which ends the good conduct."""
    scores = [0.1, 0.8, 0.6, 0.4, 0.2, 0.9, 0.9, 0.45]
    points = [(0, 24.0 * day, score) for day, score in enumerate(scores)]
    plain = outputs(points, {})
    run = outputs(points, {}, features={"report_decay_7d": decayed(plain, [1, 5]), **NO_DECAYS})
    found = recovery(run, run.scores["model"])
    assert found["1 events"] == {"stretches": 2, "left": pytest.approx((0.6 / 0.8 + 1.0) / 2)}
    assert found["3 events"] == {"stretches": 1, "left": pytest.approx(0.2 / 0.8)}
    assert found["1 days"] == found["1 events"]
    assert found["3 days"] == found["3 events"]
    assert found["7 days"] == {"stretches": 0, "left": None}


def test_stability_counts_changes_of_those_who_had_any() -> None:
    """And puts them against how many were there."""
    run = outputs([(0, 0, 0.1), (1, 0, 0.1), (2, 0, 0.1)], {})
    run.tier_changes[:] = np.array([0, 2, 4])
    found = stability(run, 3)
    assert (found["users_with_changes"], found["median_per_user"]) == (2, 3.0)
    assert found["per_1000_active_user_days"] == pytest.approx(2_000)
