"""The explanation of a user as one document: a timeline, and the reasons of one point."""

from __future__ import annotations

from math import isinf, isnan
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from dataflows.explain.log_events import log_events
from dataflows.explain.run_files import ExplainError, UserRun, read_user, read_versions
from dataflows.explain.scored_point import Scored, explain_point, track_in, why_unscored
from dataflows.mapping.load import Mapping
from detectors.base.vectors import Matrix, vector_from
from detectors.scoring.tiers import Decider, Thresholds
from evaluation.alerts import Follow
from evaluation.decisions import Decision, decide_again
from evaluation.evaluate import Protocol
from evaluation.labels import Labels
from schemas.records.decisions import ModelVersion, Tier

FORMAT = 1
"""Version of the document."""


class _Points(NamedTuple):
    """A user's decision points: their scores (NaN if absent), features, and the decisions made again."""

    run: UserRun
    scores: list[float]
    matrix: Matrix
    decisions: list[Decision]
    versions: dict[str, ModelVersion]

    def scored(self, number: int) -> Scored:
        """Return one point by its number among the user's points."""
        outputs, row = self.run.outputs, int(self.run.rows[number])
        vector = vector_from(self.matrix[number].tolist())
        return Scored(number, vector, self.scores[number], int(outputs.seq[row]), int(outputs.as_of[row]))


def explain_user(
    directory: Path,
    user_id: str,
    event_id: str | None = None,
    log: Path | None = None,
    mapping: Mapping | None = None,
) -> dict[str, Any]:
    """Return what a replay knows of a user, with the explanation of one point; the same run gives the same bytes.

    The point is the one that event `event_id` triggered; without it, the user's strongest warning, or else the highest
    score. With `log` and `mapping`, those of the replay, the timeline contains the user's events.

    Raises:
        EvaluationError: if the directory does not hold the outputs of a replay.
        ExplainError: if the user, the event or a file is missing, or the log is not that of the run.
        LogError: if the log cannot be read.
    """
    run = read_user(directory, user_id)
    happened = {} if log is None else log_events(run, log, mapping)
    scores = run.outputs.scores[run.outputs.champion][run.rows].tolist()
    chosen, alike = _chosen(run, scores, event_id)
    points = _points(run, scores, chosen)
    labels = Protocol().warned(run.outputs)
    follow = Follow(run.outputs, labels.answered)
    warnings = {
        int(run.outputs.seq[one.row]): _warning(points, number, follow, labels)
        for one in run.outputs.warnings
        for number in np.flatnonzero(run.rows == one.row).tolist()
    }
    explained = explain_point(
        run, points.scored(chosen), points.decisions[chosen], points.versions.get(run.versions[chosen])
    )
    explained["points_with_this_id"] = alike
    document = {
        "format": FORMAT,
        "log": run.outputs.name,
        "policy": run.outputs.summary["policy"],
        "champion": run.outputs.champion,
        "user_id": run.user_id,
        "erased_before": run.user in run.outputs.erased,
        "points": len(run.rows),
        "first_point": int(run.outputs.as_of[run.rows[0]]),
        "last_point": int(run.outputs.as_of[run.rows[-1]]),
        "scored": sum(not isnan(score) for score in points.scores),
        "reproduced": all(
            str(decision.after) == tier for decision, tier in zip(points.decisions, run.tiers, strict=True)
        ),
        "escalations": _escalations(run, follow),
        "warnings": list(warnings.values()),
        "timeline": _timeline(points, warnings, happened),
        "point": explained,
    }
    plain: dict[str, Any] = orjson.loads(orjson.dumps(document))
    return plain


def _points(run: UserRun, scores: list[float], chosen: int) -> _Points:
    """Return the user's points with their decisions, and the versions that are needed to explain them.

    Those are the version of the chosen point and of points without a score; all, if thresholds depend on the version.
    """
    tracked = run.policy.tracked
    wanted = {
        version
        for number, (version, score) in enumerate(zip(run.versions, scores, strict=True))
        if version and (tracked or number == chosen or isnan(score))
    }
    versions = read_versions(run.directory, wanted)
    decider = Decider(run.policy.tiers, run.policy.warnings, run.policy.promises)
    found: dict[str, Thresholds] = {}

    def limits(number: int) -> Thresholds:
        name = run.versions[number] if tracked else ""
        if name not in found:
            found[name] = decider.thresholds(track_in(versions.get(name)))
        return found[name]

    as_of, matrix = run.outputs.as_of[run.rows].tolist(), run.matrix()
    return _Points(run, scores, matrix, decide_again(run.policy, as_of, scores, matrix, limits), versions)


def _chosen(run: UserRun, scores: list[float], event_id: str | None) -> tuple[int, int]:
    """Return the number of the point to explain, and how many points have its event id.

    A message and a moderation event may have the same id: then a warning comes before a higher score.

    Raises:
        ExplainError: if no point of the user has the event id.
    """
    ids = [run.outputs.event_id[row] for row in run.rows.tolist()]
    numbers = [number for number, one in enumerate(ids) if event_id in (None, one)]
    if not numbers:
        raise ExplainError(
            f"{event_id}: user {run.user_id} has no decision point of this event in {run.outputs.name}: choose an "
            "event id from the timeline that --json prints."
        )
    ranks = {one.row: Tier(one.tier).rank for one in run.outputs.warnings if one.user == run.user}

    def strength(number: int) -> tuple[int, float, int]:
        score = scores[number]
        return (ranks.get(int(run.rows[number]), 0), -1.0 if isnan(score) else score, -number)

    chosen = max(numbers, key=strength)
    return chosen, ids.count(ids[chosen])


def _warning(points: _Points, number: int, follow: Follow, labels: Labels) -> dict[str, Any]:
    """Return a warning with its reasons, and whether it was right by the labels that evaluations use."""
    run, decision = points.run, points.decisions[number]
    row = int(run.rows[number])
    event = run.risk[int(run.outputs.seq[row])]
    answer = [one for one in run.outputs.escalations.get(run.user, ()) if follow.announces(row, one)]
    right = follow.right(row)
    unknown = None if right is not None else "too_late" if labels.late[row] else "log_ends"
    return {
        "event_id": event["trigger"]["event_id"],
        "seq": event["seq"],
        "as_of": event["as_of"],
        "tier": event["tier"],
        "previous_tier": event["previous_tier"],
        "probability": event["probability"],
        "by_score": decision.enters_by_score,
        "by_rule": decision.by_rule,
        "enter": _known(decision.enter(decision.after)),
        "expires_at": event["expires_at"],
        "model_note": event["model_note"],
        "reasons": event["reasons"],
        "exemplars": event["exemplars"],
        "right": right,
        "not_counted": unknown,
        "escalated_at": answer[0].as_of if answer else None,
    }


def _escalations(run: UserRun, follow: Follow) -> list[dict[str, Any]]:
    """Return the user's escalations in order, when each was overturned, and the first warning that announced it."""
    overturned = {line["cause"]: line["as_of"] for line in run.outcomes if line["kind"] != "escalated"}
    upheld = {(one.as_of, one.seq): one for one in run.outputs.escalations.get(run.user, ())}
    warned = sorted(one.row for one in run.outputs.warnings if one.user == run.user)
    found = []
    for line in run.outcomes:
        if line["kind"] == "escalated":
            one = upheld.get((line["as_of"], line["seq"]))
            rows = () if one is None else (row for row in warned if row in run.rows and follow.announces(row, one))
            first = next(iter(rows), None)
            found.append(
                {
                    "as_of": line["as_of"],
                    "seq": line["seq"],
                    "upheld": one is not None,
                    "overturned_at": None if one is not None else overturned.get(line["cause"]),
                    "warned_at": None if first is None else int(run.outputs.as_of[first]),
                }
            )
    return found


def _timeline(
    points: _Points, warnings: dict[int, dict[str, Any]], happened: dict[int, dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return everything that happened, in the order of the log; a place holds an event and all that came of it."""
    run = points.run
    places = {int(run.outputs.seq[row]): number for number, row in enumerate(run.rows.tolist())}
    outcomes: dict[int, list[dict[str, Any]]] = {}
    for line in run.outcomes:
        outcomes.setdefault(line["seq"], []).append({"kind": line["kind"], "as_of": line["as_of"]})
    found = []
    for seq in sorted(places.keys() | outcomes.keys() | happened.keys() | run.risk.keys()):
        number, event = places.get(seq), happened.get(seq)
        point = None if number is None else _point(points, number)
        changed = run.risk.get(seq)
        made = {
            "seq": seq,
            "as_of": next(one["as_of"] for one in (point, event, *outcomes.get(seq, ())) if one is not None),
            "event": event,
            "point": point,
            "outcomes": outcomes.get(seq, []),
            "warning": warnings.get(seq),
            "lowered": None,
        }
        if changed is not None and seq not in warnings:
            made["lowered"] = {key: changed[key] for key in ("tier", "previous_tier", "expires_at")}
        found.append(made)
    return found


def _point(points: _Points, number: int) -> dict[str, Any]:
    run, decision, score = points.run, points.decisions[number], points.scores[number]
    row, version = int(run.rows[number]), points.versions.get(run.versions[number])
    cause = None
    if isnan(score):
        vector = vector_from(points.matrix[number].tolist())
        cause = "no_version" if version is None else why_unscored(run, version, vector)
    above = [(tier, enter) for tier, enter, _ in decision.thresholds.tiers if tier.rank > decision.after.rank]
    return {
        "event_id": run.outputs.event_id[row],
        "as_of": int(run.outputs.as_of[row]),
        "probability": None if isnan(score) else score,
        "unscored": cause,
        "tier": run.tiers[number],
        "next_tier": str(above[0][0]) if above else None,
        "next_enter": _known(above[0][1]) if above else None,
        "rules": [active.rule.name for active in decision.fired],
        "held_back": decision.held_back,
    }


def _known(threshold: float) -> float | None:
    return None if isinf(threshold) else threshold
