"""The comparison of ways to learn from late labels: its first way is the product's, and none of them looks ahead."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from dataflows.policy_file import load_policy
from detectors.learn import LogClock
from detectors.policy import Policy
from tests.dataflows.conftest import Replays, Simulated
from tools.compare_feedback import Told, calibrated, compared, scored, told, waiting, ways_of


@pytest.fixture(scope="module")
def policy(simulated: Simulated) -> Policy:
    """The policy of the simulated log."""
    return load_policy(simulated.policy)


@pytest.fixture(scope="module")
def log(simulated: Simulated, policy: Policy) -> Told:
    """The simulated log as learners are told it."""
    return told(simulated.log, None, policy)


def test_fake_negatives_are_scored_as_the_product_scores(log: Told, policy: Policy, replays: Replays) -> None:
    """To the last bit, point by point."""
    served = pq.read_table(replays() / "features.parquet", columns=["event_id", "score"])
    assert [point.event_id for point in log.points] == served["event_id"].to_pylist()
    scores = scored(log, log.lessons, policy)
    assert np.array_equal(scores, served["score"].to_numpy(zero_copy_only=False), equal_nan=True)


def test_who_waits_learns_no_negative_before_its_horizon_is_over(log: Told, policy: Policy) -> None:
    """And never one whose user escalates within it; every other one that matures is learnt once."""
    horizon, clock = policy.target.horizon, LogClock()
    learnt: dict[bytes, int] = {}
    for lesson, before in zip(waiting(log.lessons, horizon), log.lessons, strict=True):
        if lesson.time >= 0:
            clock.advance(lesson.user_id, lesson.time)
        assert [e for e in lesson.examples if e.label] == [e for e in before.examples if e.label]
        for example in lesson.examples:
            if not example.label:
                assert example.known_at < clock.now
                learnt[example.vector.tobytes()] = learnt.get(example.vector.tobytes(), 0) + 1
    mature = np.array([point.as_of for point in log.points]) + horizon < clock.now
    negative = [p for p, m, y in zip(log.points, mature, log.labels.positive, strict=True) if m and not y]
    assert sum(learnt.values()) == pytest.approx(len(negative), rel=0.02)
    positive = {p.vector.tobytes() for p, y in zip(log.points, log.labels.positive, strict=True) if y}
    assert len(positive & learnt.keys()) < 0.02 * len(positive)


def test_calibration_knows_no_label_of_the_future(log: Told, policy: Policy) -> None:
    """With labels from the middle on turned round, what was calibrated before any of them was known is the same."""
    values = scored(log, log.lessons, policy)
    half = len(log.points) // 2
    turned = log.labels.positive.copy()
    turned[half:] ^= True
    other = replace(log, labels=log.labels._replace(positive=turned))
    known = int(np.searchsorted(np.maximum.accumulate([p.as_of for p in log.points]), log.labels.known_at[half]))
    first, second = calibrated(log, values), calibrated(other, values)
    assert np.array_equal(first[: known - 1], second[: known - 1], equal_nan=True)
    assert not np.array_equal(first, second, equal_nan=True)


def test_the_table_has_a_row_for_each_way_before_and_after(log: Told, policy: Policy) -> None:
    """Choices are made on the first part only."""
    lines = compared(log, ways_of(log, policy))
    assert len(lines) == 2 + 2 * 4
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| before"] * 4 + ["| after"] * 4
