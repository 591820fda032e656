"""Two replays side by side: what is gained, lost, moved, and worth reading."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import orjson
import pytest
from click.testing import CliRunner

from dataflows.cli.main import main
from evaluation.alerts import Follow
from evaluation.compare import compare
from evaluation.evaluate import Protocol, evaluate
from evaluation.labels import Question
from evaluation.runs import EvaluationError, read_outputs
from tests.kit.outputs import HOUR, outputs

pytestmark = pytest.mark.slow

POINTS = [(0, 0, 0.9), (1, 1, 0.8), (2, 2, 0.7), (0, 3, 0.9), (3, 4, 0.1), (4, 100, 0.0), (5, 100, 0.0)]
ESCALATED = {0: [(5, 8)], 1: [(6, 9)]}


def test_warnings_gained_and_lost_are_counted_and_shown() -> None:
    """User 0 was announced before and is missed now, user 1 the other way round, and user 2 is warned of in vain."""
    before, after = outputs(POINTS, ESCALATED, warned=[0, 3]), outputs(POINTS, ESCALATED, warned=[1, 2])
    found = compare(before, after, Protocol())
    assert found["warnings"] == {"before": 2, "after": 2, "gained": 2, "lost": 2}
    assert found["tiers"] == {"users_changed": 3, "moves": {"none -> watch": 2, "watch -> none": 1}}
    reading = {
        kind: [(example["user_id"], example["probability"]) for example in examples]
        for kind, examples in found["worth_reading"].items()
    }
    assert reading == {
        "missed_now": [("user-0", 0.9)],
        "announced_now": [("user-1", 0.8)],
        "wrong_now": [("user-2", 0.7)],
    }


def test_what_was_announced_too_late_is_announced_by_neither() -> None:
    """User 0 is warned five hours ahead and then two: with three asked for, only the first warning counts."""
    before, after = outputs(POINTS, ESCALATED, warned=[0]), outputs(POINTS, ESCALATED, warned=[3])
    plain, ahead = compare(before, after, Protocol()), compare(before, after, Protocol(ahead=3 * HOUR))
    assert not plain["worth_reading"]["missed_now"]
    assert [one["user_id"] for one in ahead["worth_reading"]["missed_now"]] == ["user-0"]
    recalls = [found["runs"]["after"]["published"]["recall"] for found in (plain, ahead)]
    assert recalls == [0.5, 0.0]
    assert not ahead["worth_reading"]["wrong_now"], "a warning that came too late is not a wrong one"


def test_a_run_beside_itself_differs_in_nothing(replays: Callable[..., Path]) -> None:
    """No difference, and an interval of no width around it."""
    run = read_outputs(replays())
    found = compare(run, run, Protocol())
    assert found["after_above_before"]["roc_auc"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert found["warnings"]["gained"] == found["warnings"]["lost"] == found["tiers"]["users_changed"] == 0
    assert not any(found["worth_reading"].values())


def test_runs_of_other_targets_are_each_held_against_their_own() -> None:
    """No difference is given where it would have no meaning."""
    run = outputs(POINTS, ESCALATED)
    summary = {**run.summary, "policy": {**run.summary["policy"], "target": "something else"}}
    found = compare(run, replace(run, summary=summary), Protocol())
    assert found["same_target"] is False
    assert found["after_above_before"] is None


OTHERWISE: dict[str, dict[str, Any]] = {
    "a feature": {"features": {"x": np.array([1.0, np.nan, 2.0, 3.0, 4.0, 5.0, 7.0])}},
    "the names of features": {"features": {"y": np.array([1.0, np.nan, 2.0, 3.0, 4.0, 5.0, 6.0])}},
    "a user": {"users": [f"user-{number}" for number in (0, 1, 2, 3, 4, 9)]},
    "an event": {"event_id": [f"event-{number}" for number in (0, 1, 2, 3, 4, 5, 9)]},
    "a time": {"as_of": np.array([0, 1, 2, 3, 4, 100, 101], dtype=np.int64) * HOUR},
}


@pytest.mark.parametrize("otherwise", OTHERWISE.values(), ids=OTHERWISE)
def test_runs_that_differ_in_more_than_scores_are_said_to(otherwise: dict[str, Any]) -> None:
    """A lead is the model's only if both were asked the same; an absent feature equals an absent one."""
    run = outputs(POINTS, ESCALATED, features={"x": [1.0, np.nan, 2.0, 3.0, 4.0, 5.0, 6.0]})
    rescored = replace(run, scores={"model": 1 - run.scores["model"]})
    assert compare(run, rescored, Protocol())["same_points"] is True
    assert compare(run, replace(run, **otherwise), Protocol())["same_points"] is False


def test_users_who_escalate_are_counted_once_however_many_their_points() -> None:
    """User 0 has two positive points, user 1 one."""
    run = outputs(POINTS, {0: [(5, 8)], 1: [(6, 9)]})
    figures = compare(run, run, Protocol())["runs"]["after"]
    assert (figures["positives"], figures["positive_users"], figures["pinned"]) == (3, 2, False)


def test_runs_of_other_logs_are_refused() -> None:
    """In a sentence that names both."""
    run = outputs(POINTS, ESCALATED)
    with pytest.raises(EvaluationError, match="made by hand and another: compare like with like"):
        compare(run, replace(run, name="another"), Protocol())


def test_the_command_compares_learning_with_a_pinned_model(replays: Callable[..., Path]) -> None:
    """In lines, and as a document with --json."""
    before, after = str(replays()), str(replays(pinned=True))
    result = CliRunner().invoke(main, ["compare", before, after])
    assert result.exit_code == 0, result.output
    assert "after above before: ROC-AUC +" in result.output or "after above before: ROC-AUC -" in result.output
    assert "escalations missed before and announced now:" in result.output
    assert "announced at a budget of 5 per 1,000 active users and day: " in result.output
    document = orjson.loads(CliRunner().invoke(main, ["compare", before, after, "--json"]).output)
    run, answered = read_outputs(replays()), Protocol().label(read_outputs(replays())).answered
    recall = Follow(run, answered).at_budget(run.scores[run.champion], 5.0).recall
    assert document["runs"]["before"]["at_budget"]["5"] == recall
    asked = CliRunner().invoke(main, ["compare", before, after, "--ahead", "soon"])
    assert (asked.exit_code, "'soon' is not a duration" in asked.output) == (2, True)
    assert [document["runs"][which]["pinned"] for which in ("before", "after")] == [False, True]
    assert document["same_points"] is True
    assert document["points"] > 1_000
    assert (
        document["warnings"]["before"] - document["warnings"]["lost"] + document["warnings"]["gained"]
        == (document["warnings"]["after"])
    )


def test_users_who_asked_to_be_forgotten_are_not_named() -> None:
    """In whichever run the erasure is; who came back after it may be named again."""
    before, after = outputs(POINTS, ESCALATED, warned=[0, 3]), outputs(POINTS, ESCALATED, warned=[1, 2])
    everybody = dict.fromkeys(range(len(before.users)), 10**6)
    for runs in ((replace(before, erased=everybody), after), (before, replace(after, erased=everybody))):
        assert not any(compare(*runs, Protocol())["worth_reading"].values())
    earlier = replace(after, erased=dict.fromkeys(everybody, -1))
    assert all(compare(before, earlier, Protocol())["worth_reading"].values())


def test_warnings_whose_horizon_lies_beyond_the_log_are_not_wrong_whatever_is_asked_of_points() -> None:
    """The question *next* is about points; a warning speaks of the horizon, and this one has not lapsed."""
    points = [(0, 0, 0.9), (1, 1, 0.8), (2, 90, 0.7), (4, 100, 0.0), (5, 100, 0.0)]
    features = {f"{name}_decay_7d": [0.0] * 5 for name in ("report", "sanction", "message")} | {
        name: [0.0] * 5 for name in ("first_since", "strike_count", "sanction_severity_sum_30d")
    }
    run = outputs(points, {0: [(5, 3)]}, warned=[0, 2], features=features)
    precisions = [
        evaluate(run, Protocol(question=question, boosting=False))["published"]["precision"]
        for question in get_args(Question)
    ]
    assert precisions == [1.0, 1.0]
    shown = compare(replace(run, warnings=run.warnings[:1]), run, Protocol(question="next"))
    assert shown["worth_reading"]["wrong_now"] == []
