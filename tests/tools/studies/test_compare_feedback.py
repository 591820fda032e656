"""The comparison of ways to learn from late labels: its first way is the product's, and none of them looks ahead."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from dataflows.config.policy import load_policy
from dataflows.replay.replay import replay
from dataflows.sources.files.log import LogSource
from detectors.base.log_clock import LogClock
from detectors.policy.policy import Policy
from detectors.policy.sections import ChannelPolicy
from evaluation.calibration import calibration_error, reliability
from evaluation.metrics import brier
from tests.kit.simulated import Simulated
from tools.studies.compare_feedback import (
    StudyLog,
    Values,
    calibrated,
    compared,
    honesty,
    read,
    scored,
    waited,
    waiting,
    ways_of,
)


@pytest.fixture(scope="module")
def policy(simulated: Simulated) -> Policy:
    """The policy of the simulated log, with channels remembered."""
    return load_policy(simulated.policy).model_copy(update={"channels": ChannelPolicy(remembered=99)})


@pytest.fixture(scope="module")
def log(simulated: Simulated, policy: Policy) -> StudyLog:
    """The simulated log as learners are told it."""
    return read(simulated.log, None, policy)


@pytest.mark.slow
def test_fake_negatives_are_scored_as_the_product_scores(
    log: StudyLog, policy: Policy, simulated: Simulated, tmp_path: Path
) -> None:
    """To the last bit, point by point."""
    replay(LogSource(simulated.log), policy, tmp_path, log_name="log.jsonl", report=False)
    served = pq.read_table(tmp_path / "features.parquet", columns=["event_id", "score"])
    assert [point.event_id for point in log.points] == served["event_id"].to_pylist()
    scores = scored(log, log.events, policy)
    assert np.array_equal(scores, served["score"].to_numpy(zero_copy_only=False), equal_nan=True)


def test_who_waits_learns_no_negative_before_its_horizon_is_over(log: StudyLog, policy: Policy) -> None:
    """And never one whose user escalates within it; every other one that matures is learnt once."""
    horizon, clock = policy.target.horizon, LogClock()
    learnt: dict[bytes, int] = {}
    for lesson, before in zip(waiting(log.events, horizon), log.events, strict=True):
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


def test_calibration_knows_no_label_of_the_future(log: StudyLog, policy: Policy) -> None:
    """With labels from the middle on turned round, what was calibrated before any of them was known is the same."""
    values = scored(log, log.events, policy)
    half = len(log.points) // 2
    turned = log.labels.positive.copy()
    turned[half:] ^= True
    other = replace(log, labels=log.labels._replace(positive=turned))
    known = int(np.searchsorted(np.maximum.accumulate([p.as_of for p in log.points]), log.labels.known_at[half]))
    first, second = calibrated(log, values), calibrated(other, values)
    assert np.array_equal(first[: known - 1], second[: known - 1], equal_nan=True)
    assert not np.array_equal(first, second, equal_nan=True)


def test_an_intercept_alone_moves_all_log_odds_of_a_moment_alike(log: StudyLog, policy: Policy) -> None:
    """Points scored while no label became known keep their distances; with a slope they do not."""
    values = scored(log, log.events, policy)

    def log_odds(probabilities: Values) -> Values:
        return np.log(probabilities) - np.log1p(-probabilities)

    sure = ~np.isnan(values) & (values > 0) & (values < 1)
    for sloping, alike in ((False, True), (True, False)):
        moved = log_odds(calibrated(log, values, sloping=sloping)[sure]) - log_odds(values[sure])
        same = np.mean(np.abs(np.diff(moved)) < 1e-12)
        assert (same > 0.2) == alike


def test_who_waits_may_be_surer_than_even(log: StudyLog, policy: Policy) -> None:
    """The odds of fake negatives are a probability and cut at one; those of who waits are odds."""
    found = waited(log, policy)
    cut = scored(log, waiting(log.events, policy.target.horizon), policy)
    known = ~np.isnan(cut)
    assert np.array_equal(known, ~np.isnan(found))
    assert np.allclose(np.minimum(found / (1 - found), 1.0)[known], cut[known], rtol=1e-12, atol=0)
    assert np.max(found[known]) > 0.5


def test_errors_are_those_that_evaluation_measures(log: StudyLog, policy: Policy) -> None:
    """Of all points; and a way's lead over itself is nothing, in every sample."""
    values = scored(log, log.events, policy)
    rows = ~np.isnan(values)
    positive, values = log.labels.positive[rows], values[rows]
    error, squared, none, nothing = honesty(positive, log.users[rows], {"a way": values})["a way"]
    assert error.value == pytest.approx(calibration_error(reliability(positive, values)), rel=1e-9)
    assert squared.value == pytest.approx(brier(positive, values), rel=1e-9)
    assert set(none) == set(nothing) == {0.0}
    assert squared.low < squared.value < squared.high


@pytest.mark.slow
def test_the_table_has_a_row_for_each_way_before_and_after(log: StudyLog, policy: Policy) -> None:
    """Choices are made on the first part only; the leads say nothing of the first way."""
    ways = ways_of(log, policy)
    lines = compared(log, ways)
    gap = lines.index("")
    for table, names in ((lines[2:gap], list(ways)), (lines[gap + 3 :], list(ways)[1:])):
        expected = [f"| {part} | {name} |" for part in ("before", "after") for name in names]
        assert [" | ".join(line.split(" | ")[:2]) + " |" for line in table] == expected
