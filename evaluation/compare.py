"""Comparison of two replays of one log: gains and losses of a change of policy, features or model."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import orjson

from evaluation.alerts import Follow
from evaluation.calibration import calibration_error, reliability
from evaluation.evaluate import BUDGETS, Protocol, usable_rows
from evaluation.intervals import Figure, compare_scores
from evaluation.labels import Labels
from evaluation.runs import EvaluationError, Outputs, Warned
from schemas.records.decisions import Tier

Announced = dict[tuple[str, int], Warned]
"""Announced escalations by user and time (ms), each with the first warning that announced it."""
EXAMPLES = 10
"""Most counterexamples of each kind: enough to be useful, few enough to be read."""


def compare(before: Outputs, after: Outputs, protocol: Protocol) -> dict[str, Any]:
    """Return the figures of both runs with intervals, gained and lost warnings, tier changes, and examples to read.

    Figures are over the points that both runs scored; their difference is over the same draws of users. If the runs'
    targets differ, each run is evaluated against its own target, and no difference is given.

    Raises:
        EvaluationError: if the runs are of different logs, or no point can be compared.
    """
    if before.name != after.name:
        raise EvaluationError(
            f"The runs are of different logs, {before.name} and {after.name}: compare like with like."
        )
    rows = _joined(before, after)
    runs = {"before": before, "after": after}
    same_target = before.summary["policy"]["target"] == after.summary["policy"]["target"]
    same_target = same_target and before.horizon == after.horizon
    labels = {which: protocol.label(run) for which, run in runs.items()}
    warned = {which: protocol.warned(run) for which, run in runs.items()}
    follows = {which: Follow(run, warned[which].answered, protocol.ahead) for which, run in runs.items()}
    usable = np.ones(len(rows), dtype=np.bool_)
    for column, (which, run) in enumerate(runs.items()):
        usable &= usable_rows(run, labels[which], protocol)[rows[:, column]]
        usable &= ~np.isnan(run.scores[run.champion][rows[:, column]])
    rows = rows[usable]
    if not len(rows):
        raise EvaluationError("No point of both runs has a score and a matured label: there is nothing to compare.")
    document: dict[str, Any] = {
        "log": before.name,
        "protocol": protocol.document(),
        "points": len(rows),
        "same_target": same_target,
        "same_points": _same_points(before, after),
        "runs": {
            which: _figures(run, labels[which], follows[which], rows[:, column])
            for column, (which, run) in enumerate(runs.items())
        },
        "after_above_before": _difference(before, after, labels["after"], rows) if same_target else None,
        **_changed(before, after, follows, warned["after"]),
    }
    plain: dict[str, Any] = orjson.loads(orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS))
    return plain


def compare_warnings(before: Outputs, after: Outputs) -> dict[str, Any]:
    """Return what two runs of one log warned of: results of both, warnings and users gained and lost, and examples."""
    labels = {which: Protocol().warned(run) for which, run in (("before", before), ("after", after))}
    follows = {"before": Follow(before, labels["before"].answered), "after": Follow(after, labels["after"].answered)}
    was, now = ({run.users[one.user] for one in run.warnings} for run in (before, after))
    users = {"before": len(was), "after": len(now), "gained": len(now - was), "lost": len(was - now)}
    return {
        "published": {"before": _published(before, follows["before"]), "after": _published(after, follows["after"])},
        "users": users,
        **_changed(before, after, follows, labels["after"]),
    }


def _changed(before: Outputs, after: Outputs, follows: dict[str, Follow], labels: Labels) -> dict[str, Any]:
    """Return the warnings gained and lost, the moves between tiers, and examples; `labels` are those of `after`."""
    announced = {which: _announced(run, follows[which]) for which, run in (("before", before), ("after", after))}
    return {
        "warnings": _warnings(before, after),
        "tiers": _tiers(before, after),
        "worth_reading": {
            "missed_now": _only_first(announced["before"], announced["after"], _nameable(before, after)),
            "announced_now": _only_first(announced["after"], announced["before"], _nameable(after, before)),
            "wrong_now": _wrong_only_in(after, before, labels),
        },
    }


def _published(run: Outputs, follow: Follow) -> dict[str, Any]:
    published = follow.outcome(np.array([one.row for one in run.warnings], dtype=np.int64))
    return {**published._asdict(), "lead": published.lead._asdict()}


def _joined(before: Outputs, after: Outputs) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the rows of the same points in both runs, shape (points, 2)."""
    rows = {_place(before, row): row for row in range(len(before))}
    pairs = [(rows[place], row) for row in range(len(after)) if (place := _place(after, row)) in rows]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _place(run: Outputs, row: int) -> tuple[str, int, str]:
    """Return the identity of a point in a log: its user, its place, and its event's id."""
    return run.users[run.user[row]], int(run.seq[row]), run.event_id[row]


def _same_points(before: Outputs, after: Outputs) -> bool:
    """Return whether both runs have the same users, points and times, and the same features to the last bit."""
    return (
        before.users == after.users
        and before.event_id == after.event_id
        and np.array_equal(before.seq, after.seq)
        and np.array_equal(before.user, after.user)
        and np.array_equal(before.as_of, after.as_of)
        and before.features.keys() == after.features.keys()
        and all(
            np.array_equal(values, after.features[name], equal_nan=True) for name, values in before.features.items()
        )
    )


def _figures(run: Outputs, labels: Labels, follow: Follow, rows: np.ndarray[Any, np.dtype[np.int64]]) -> dict[str, Any]:
    score = run.scores[run.champion][rows]
    compared = compare_scores(labels.positive[rows], run.user[rows], {"score": score})
    return {
        "policy": run.summary["policy"],
        "champion": run.champion,
        "pinned": run.summary["models"]["pinned"],
        "positives": int(labels.positive[rows].sum()),
        "positive_users": len(np.unique(run.user[rows][labels.positive[rows]])),
        "roc_auc": compared.roc_auc["score"]._asdict(),
        "average_precision": compared.average_precision["score"]._asdict(),
        "calibration_error": calibration_error(reliability(labels.positive[rows], score)),
        "published": _published(run, follow),
        "at_budget": {f"{budget:g}": follow.at_budget(run.scores[run.champion], budget).recall for budget in BUDGETS},
    }


def _difference(
    before: Outputs, after: Outputs, labels: Labels, rows: np.ndarray[Any, np.dtype[np.int64]]
) -> dict[str, Any]:
    scores = {
        "after": after.scores[after.champion][rows[:, 1]],
        "before": before.scores[before.champion][rows[:, 0]],
    }
    compared = compare_scores(labels.positive[rows[:, 1]], after.user[rows[:, 1]], scores)
    lead: dict[str, Figure] = {
        "roc_auc": compared.roc_auc_above["before"],
        "average_precision": compared.average_precision_above["before"],
    }
    return {name: figure._asdict() for name, figure in lead.items()}


def _warnings(before: Outputs, after: Outputs) -> dict[str, int]:
    """Count warnings of both runs; they are the same if they have the same trigger and tier."""
    was, now = ({(_place(run, one.row), one.tier) for one in run.warnings} for run in (before, after))
    return {"before": len(was), "after": len(now), "gained": len(now - was), "lost": len(was - now)}


def _tiers(before: Outputs, after: Outputs) -> dict[str, Any]:
    """Count users whose highest tier differs between the runs, in total and by move."""
    was, now = _highest(before), _highest(after)
    moved = Counter(
        f"{was.get(user, 'none')} -> {now.get(user, 'none')}"
        for user in was.keys() | now.keys()
        if was.get(user, "none") != now.get(user, "none")
    )
    return {"users_changed": moved.total(), "moves": dict(sorted(moved.items()))}


def _highest(run: Outputs) -> dict[str, str]:
    ranks = {tier.value: tier.rank for tier in Tier}
    found: dict[str, str] = {}
    for one in run.warnings:
        user = run.users[one.user]
        if ranks[one.tier] > ranks[found.get(user, "none")]:
            found[user] = one.tier
    return found


def _announced(run: Outputs, follow: Follow) -> Announced:
    """Return the escalations that a warning announced, by user and time, each with the first such warning."""
    by_user: dict[int, list[Warned]] = {}
    for one in sorted(run.warnings, key=lambda warned: int(run.seq[warned.row])):
        by_user.setdefault(one.user, []).append(one)
    found: dict[tuple[str, int], Warned] = {}
    for user, upheld in run.escalations.items():
        for escalation in upheld:
            for one in by_user.get(user, ()):
                if follow.announces(one.row, escalation):
                    found.setdefault((run.users[user], escalation.as_of), one)
    return found


def _nameable(run: Outputs, other: Outputs) -> set[int]:
    """Return the rows of warnings whose user may be named: no erasure of that user later in the log, in either run."""
    gone = {run.users[user]: place for user, place in run.erased.items()}
    for user, place in other.erased.items():
        name = other.users[user]
        gone[name] = max(place, gone.get(name, -1))
    return {one.row for one in run.warnings if run.seq[one.row] > gone.get(run.users[one.user], -1)}


def _only_first(mine: Announced, theirs: Announced, nameable: set[int]) -> list[dict[str, Any]]:
    found = [
        {"user_id": user, "escalated_at": as_of, **_shown(one)}
        for (user, as_of), one in mine.items()
        if (user, as_of) not in theirs and one.row in nameable
    ]
    return sorted(found, key=_strongest)[:EXAMPLES]


def _wrong_only_in(run: Outputs, other: Outputs, labels: Labels) -> list[dict[str, Any]]:
    """Return wrong warnings with a known label that the other run did not give, strongest first."""
    theirs, nameable = {_place(other, one.row) for one in other.warnings}, _nameable(run, other)
    found = [
        {"user_id": run.users[one.user], **_shown(one)}
        for one in run.warnings
        if labels.answered[one.row]
        and not labels.positive[one.row]
        and _place(run, one.row) not in theirs
        and one.row in nameable
    ]
    return sorted(found, key=_strongest)[:EXAMPLES]


def _shown(one: Warned) -> dict[str, Any]:
    return {"warned_at": one.as_of, "tier": one.tier, "probability": one.probability, "reasons": list(one.reasons)}


def _strongest(example: dict[str, Any]) -> tuple[float, int, str]:
    return -(example["probability"] or 0.0), example["warned_at"], example["user_id"]
