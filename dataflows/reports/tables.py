"""The tables of the report, as rows of text that the template escapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dataflows.reports.formatting import describe_feature
from dataflows.reports.headline import EVENT_WORDS
from dataflows.reports.numbers import NOT_RECORDED, duration, moment, percent, quantity, signed
from dataflows.reports.read import Run, Summary, Version
from dataflows.runtime.escaping import visible
from schemas.records.decisions import Reason, RiskEvent, Tier
from schemas.records.rejects import RejectReason

Row = tuple[str, ...]

_REJECT_WORDS = {
    RejectReason.EMPTY_VALUE: "the record was empty",
    RejectReason.TOO_LARGE: "the record was larger than is accepted",
    RejectReason.UNKNOWN_FRAMING: "neither Avro framing nor JSON",
    RejectReason.TRUNCATED: "the record ended too early",
    RejectReason.UNKNOWN_SCHEMA: "written with a schema nobody registered",
    RejectReason.MALFORMED_AVRO: "not what its Avro schema says",
    RejectReason.MALFORMED_JSON: "not JSON",
    RejectReason.INVALID_UTF8: "text that is not UTF-8",
    RejectReason.MISSING_FIELD: "a required field was missing",
    RejectReason.INVALID_FIELD: "a field had a value it cannot have",
    RejectReason.NON_FINITE_NUMBER: "a number that is infinite or not a number",
    RejectReason.NEGATIVE_TIMESTAMP: "a time before 1970",
    RejectReason.PAST_TIMESTAMP: "a time decades ago: seconds or days where milliseconds belong",
    RejectReason.FUTURE_TIMESTAMP: "a time too far in the future",
    RejectReason.UNMAPPED_ROW: "the mapping made no event of the row",
    RejectReason.INTERNAL_ERROR: "a fault of forewarn's own: please report it",
}
_NOTES = {
    "ok": "",
    "ahead": "The pinned model had already learnt from events at or after this moment: not a forecast.",
    "no_version": "No version of the model was old enough to be asked: a rule decided.",
    "insufficient_history": "The model would not say for lack of history: a rule decided.",
}
_METRICS = {
    "points": "points judged",
    "positives": "positives among them",
    "roc_auc": "ROC AUC",
    "log_loss": "log loss",
    "average_precision": "average precision",
    "brier": "Brier score",
}


@dataclass(frozen=True, slots=True)
class Why:
    """A reason in words, its contribution, and its side: `for`, `against` or `rule`."""

    said: str
    contribution: str
    side: str


@dataclass(frozen=True, slots=True)
class Warned:
    """A row of the table of strongest warnings."""

    user: str
    tier: str
    probability: str
    as_of: str
    expires_at: str
    reasons: list[Why]
    note: str


def strongest_rows(events: list[RiskEvent]) -> list[Warned]:
    """Return the rows of the strongest warnings, with their reasons in words."""
    return [
        Warned(
            user=event.user_id,
            tier=str(event.tier),
            probability="no score" if event.probability is None else percent(event.probability),
            as_of=moment(event.as_of),
            expires_at=moment(event.expires_at),
            reasons=[_why(reason) for reason in event.reasons],
            note=_NOTES[event.model_note],
        )
        for event in events
    ]


def _why(reason: Reason) -> Why:
    said = describe_feature(reason.feature, reason.value)
    if reason.contribution is None:
        return Why(said, f"rule {visible(reason.detector.replace('_', ' '))}", "rule")
    return Why(said, signed(reason.contribution), "for" if reason.contribution >= 0 else "against")


def tier_counts(run: Run) -> list[Row]:
    """Return a row per tier, highest first: warnings raised, users warned, decision points in it and their share."""
    raised = run.risk.raised
    rows: list[Row] = []
    for tier in reversed(Tier):
        own = [event for event in raised if event.tier == tier]
        users = len({event.user_id for event in own})
        code = run.points.tiers.index(tier) if tier in run.points.tiers else -1
        spent = int(np.count_nonzero(run.points.tier == code))
        whole = len(run.points.tier)
        warnings = [quantity(many if run.risk.recorded else None) if tier.rank else "" for many in (len(own), users)]
        points = quantity(spent if run.points.recorded else None)
        rows.append((str(tier), *warnings, points, percent(spent / whole) if whole else ""))
    return rows


def events(summary: Summary) -> list[Row]:
    """Return the number of events read by kind, for the kinds that were recorded."""
    read = summary.numbers("events")
    kinds = {kind: f"{noun}s" for kind, noun in EVENT_WORDS.items()} | {"moderation_event": "all moderation events"}
    return [(said, quantity(read[kind])) for kind, said in kinds.items() if kind in read]


def losses(summary: Summary) -> list[Row]:
    """Return rows on rejected records and on events that were not counted or were mended: reason, meaning, count."""
    rejects = summary.numbers("rejects")
    words = {str(reason): said for reason, said in _REJECT_WORDS.items()}
    rows = [
        (f"rejected: {visible(reason.replace('_', ' '))}", words.get(reason, ""), quantity(rejects[reason]))
        for reason in sorted(rejects, key=lambda reason: (-rejects[reason], reason))
        if reason != "total" and rejects[reason]
    ]
    return [
        ("rejected, all reasons", "kept with their original bytes", quantity(rejects.get("total"))),
        *rows,
        ("late", "behind the user's clock by more than the allowed lateness", quantity(summary.number("late"))),
        ("duplicates", "an event id seen before, counted once", quantity(summary.number("duplicates"))),
        *_mended(summary),
    ]


def _mended(summary: Summary) -> list[Row]:
    """Return rows on optional parts that were left out, clipped or replaced so that their records could be counted."""
    parts = summary.numbers("mended_parts")
    return [
        (
            f"mended: {visible(part.replace('_', ' '))}",
            "counted without it, or with it corrected",
            quantity(parts[part]),
        )
        for part in sorted(parts)
        if part != "total" and parts[part]
    ]


def models(summary: Summary, versions: dict[str, list[Version]]) -> tuple[list[str], list[Row]]:
    """Return column names of the progressive metrics recorded, and a row for every model, the champion first.

    The metrics are the last columns of a row.
    """
    names, roles = _models(summary)
    recorded = [summary.get("models", name, "progressive") for name in names]
    metrics = list(dict.fromkeys(metric for found in recorded if isinstance(found, dict) for metric in found))
    rows: list[Row] = []
    for name in names:
        own = versions.get(name, [])
        version = summary.text("models", name, "version") or (own[-1].version if own else NOT_RECORDED)
        examples, positives = (summary.number("models", name, key) for key in ("examples", "positives"))
        if own:
            examples = own[-1].examples if examples is None else examples
            positives = own[-1].positives if positives is None else positives
        values = [summary.number("models", name, "progressive", metric) for metric in metrics]
        rows.append(
            (
                visible(name),
                roles[name],
                visible(own[-1].family.replace("_", " ")) if own else NOT_RECORDED,
                visible(version),
                quantity(examples),
                quantity(positives),
                *(_measure(value) for value in values),
            )
        )
    return [_METRICS.get(metric, visible(metric.replace("_", " "))) for metric in metrics], rows


def _measure(value: float | None) -> str:
    """Return a metric to four significant digits, because models differ in the third; return a count in full."""
    return f"{value:.4g}" if isinstance(value, float) and abs(value) < 1_000 else quantity(value)


def _models(summary: Summary) -> tuple[list[str], dict[str, str]]:
    champion, challengers = summary.text("models", "champion"), summary.get("models", "challengers")
    roles = {} if champion is None else {champion: "champion"}
    for name in challengers if isinstance(challengers, list) else []:
        roles.setdefault(str(name), "challenger")
    recorded: Any = summary.get("models")
    for name in recorded if isinstance(recorded, dict) else {}:
        if isinstance(recorded[name], dict):
            roles.setdefault(name, "model")
    return list(roles), roles


def policy(summary: Summary) -> list[Row]:
    """Return the rows on the policy of the run."""
    said = {key: visible(summary.text("policy", key) or NOT_RECORDED) for key in ("name", "version", "target")}
    return [
        ("policy", said["name"]),
        ("policy version", said["version"]),
        ("target", said["target"]),
        ("horizon", duration(summary.number("policy", "horizon_ms"))),
    ]
