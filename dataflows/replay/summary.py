"""The summary of a replay in figures. It contains no wall-clock value, so that two runs compare byte for byte."""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from dataflows.replay.quality import figures, measure
from dataflows.runtime.silence import silence_sentences
from dataflows.runtime.telemetry import Telemetry
from detectors.monitoring.quality import Live
from detectors.policy.policy import Policy
from detectors.profiles.results import Outcome, cause_of
from detectors.scoring.shard import Publication
from evaluation.labels import OutcomeRecord, label, period_of, upheld
from evaluation.metrics import average_precision, brier, roc_auc
from schemas.records.decisions import ModelVersion, RiskEvent

Times = NDArray[np.int64]


def _progressive(labels: NDArray[np.bool_], scores: NDArray[np.float64], matured: NDArray[np.bool_]) -> dict[str, Any]:
    """Return the quality of scores given before their labels, over matured points that have a score."""
    usable = matured & ~np.isnan(scores)
    labels, scores = labels[usable], scores[usable]
    return {
        "points": len(labels),
        "positives": int(labels.sum()),
        "roc_auc": roc_auc(labels, scores),
        "average_precision": average_precision(labels, scores),
        "brier": brier(labels, scores),
    }


def _lead(publications: list[Publication], outcomes: list[Outcome], points: dict[str, Times]) -> dict[str, Any]:
    """Count the escalations that a warning preceded, and measure how long before.

    Only warnings since the user's previous escalation count. The lead runs from the first of them to the escalation: in
    ms, and in decision points.
    """
    warnings: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for at, event in publications:
        if isinstance(event, RiskEvent) and event.tier.rank > event.previous_tier.rank:
            warnings[event.user_id].append((at.seq, event.as_of))
    leads, events, escalations = [], [], 0
    previous: dict[str, int] = {}
    for outcome in outcomes:
        if outcome.kind != "escalated":
            continue
        escalations += 1
        since = previous.get(outcome.user_id, -1)
        previous[outcome.user_id] = outcome.at.seq
        warned = [as_of for seq, as_of in warnings.get(outcome.user_id, []) if since < seq < outcome.at.seq]
        if warned:
            leads.append(outcome.as_of - warned[0])
            times = points.get(outcome.user_id, np.empty(0, dtype=np.int64))
            events.append(int(np.sum((times > warned[0]) & (times <= outcome.as_of))))
    return {
        "escalations": escalations,
        "escalated_warned_before": len(leads),
        "lead_time": {
            "median_ms": median(leads) if leads else None,
            "median_events": median(events) if events else None,
            "at_least_an_event": sum(1 for count in events if count > 0),
        },
    }


def summarise(
    *,
    log_name: str,
    policy: Policy,
    telemetry: Telemetry,
    served: pa.Table,
    shadow: pa.Table,
    places: Times,
    offsets: Times,
    publications: list[Publication],
    outcomes: list[Outcome],
    versions: dict[str, ModelVersion],
    pinned: bool,
) -> dict[str, Any]:
    """Return the summary of a replay as a JSON document.

    `places` are the log positions of the points in `served`, row by row; `offsets` are the offsets of their records.
    """
    users: list[str] = served["user_id"].to_pylist()
    as_of: Times = served["as_of"].cast(pa.int64()).to_numpy()
    code = {user: number for number, user in enumerate(dict.fromkeys(users))}
    records = dict(zip(offsets[::-1].tolist(), places[::-1].tolist(), strict=True))  # each record's first position
    escalations = upheld(
        OutcomeRecord(
            code[o.user_id], o.kind, o.as_of, o.at.seq, cause_of(o), min(o.at.seq, records.get(o.at.offset, o.at.seq))
        )
        for o in outcomes
        if o.user_id in code
    )
    numbers = np.array([code[user] for user in users], dtype=np.int64)
    labels = label("horizon", numbers, as_of, places, escalations, policy.target.horizon)
    escalated = {outcome.user_id for outcome in outcomes}
    points: dict[str, list[int]] = defaultdict(list)
    for user, time in zip(users, as_of.tolist(), strict=True):
        if user in escalated:
            points[user].append(time)
    period = period_of(numbers[np.argsort(places)], as_of[np.argsort(places)])
    decisions, rejects = telemetry.counts("decisions"), telemetry.counts("rejects")
    mended = telemetry.counts("mended_parts")
    outcomes_seen = telemetry.counts("outcomes")
    raised = telemetry.counts("raised")
    champion = policy.learning.champion if not pinned else next(iter(versions))
    challengers = [] if pinned else list(policy.learning.challengers)
    models: dict[str, Any] = {"champion": champion, "challengers": challengers, "pinned": pinned}
    for name, table, column in ((champion, served, "score"), *((name, shadow, name) for name in challengers)):
        version = versions.get(name)
        scores = table[column].to_numpy(zero_copy_only=False)
        models[name] = {
            "version": None if version is None else version.version,
            "examples": 0 if version is None else version.examples,
            "positives": 0 if version is None else version.positives,
            "progressive": _progressive(labels.positive, scores, labels.mature),
        }
    live = Live(horizon=policy.target.horizon, lateness=policy.allowed_lateness)
    summary = {
        "log": log_name,
        "first_event": None if period is None else period[0],
        "last_event": None if period is None else period[1],
        "events": telemetry.counts("events"),
        "users": len(set(users)),
        "decision_points": decisions.get("decision_points", 0),
        "duplicates": outcomes_seen.get("duplicate", 0),
        "late": outcomes_seen.get("late", 0),
        "erased": outcomes_seen.get("erased", 0),
        "rejects": {"total": sum(rejects.values()), **rejects},
        "mended_parts": {"total": sum(mended.values()), **mended},
        "risk_events": {"total": telemetry.counts("published").get("risk_event", 0), "raised": raised},
        "unscored": telemetry.counts("unscored"),
        "silent": telemetry.counts("silent"),
        "clock_ahead": telemetry.counts("clock_ahead"),
        "examples": telemetry.counts("examples"),
        "text_failures": telemetry.counts("text_failures"),
        "held_back": decisions.get("held_back", 0),
        "overturned": decisions.get("overturned", 0),
        **_lead(publications, outcomes, {user: np.array(times) for user, times in points.items()}),
        "models": models,
        "live": figures(measure(live, served, places, offsets, publications, outcomes), telemetry),
        "policy": {
            "name": policy.name,
            "version": policy.version,
            "target": policy.target.name,
            "horizon_ms": policy.target.horizon,
            "expiry_ms": policy.warnings.expiry,
            "promised": {str(t): tier.precision for t, tier in policy.tiers.items() if tier.precision is not None},
            "budget": policy.warnings.budget,
        },
    }
    summary["faults"] = silence_sentences(summary)
    document: dict[str, Any] = orjson.loads(orjson.dumps(summary))
    return document
