"""The headline numbers of a run in words. A number that was not recorded is shown as such, never as zero."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dataflows.reports.numbers import NOT_RECORDED, count, duration, moment, percent, quantity
from dataflows.reports.read import Summary
from dataflows.runtime.escaping import visible
from schemas.records.decisions import Tier

_FIRST_YEAR = 31_536_000_000

EVENT_WORDS = {
    "chat_message": "message",
    "report": "report",
    "sanction": "sanction",
    "reversal": "reversal",
    "exposure": "intervention",
    "erasure": "erasure",
}


@dataclass(frozen=True, slots=True)
class Tile:
    """A headline number: its label, the formatted number, and a note on its meaning."""

    label: str
    value: str
    note: str


def warnings_raised(summary: Summary) -> float | None:
    """Return the number of warnings raised over all tiers; None if tiers were not recorded."""
    raised = summary.get("risk_events", "raised")
    return sum(summary.numbers("risk_events", "raised").values()) if isinstance(raised, dict) else None


def events_read(summary: Summary) -> float | None:
    """Return the number of events read; None if it was not recorded.

    A count of `moderation_event`, if present, already includes reports, sanctions and the like.
    """
    kinds = summary.numbers("events")
    parts = [kind for kind in kinds if kind in ("chat_message", "moderation_event") or "moderation_event" not in kinds]
    return sum(kinds[kind] for kind in parts) if parts else None


def share(part: float | None, whole: float | None) -> float | None:
    """Return a part of a whole as a fraction; None if either is missing or the whole is zero."""
    return part / whole if part is not None and whole else None


def tiles(summary: Summary) -> list[Tile]:
    """Return the headline numbers, in the order of the data flow."""
    warned = share(summary.number("escalated_warned_before"), summary.number("escalations"))
    rejects = summary.number("rejects", "total")
    median = summary.number("lead_time", "median_ms")
    return [
        Tile("events", quantity(events_read(summary)), "read from the log"),
        Tile("users", quantity(summary.number("users")), "seen in it"),
        Tile("decision points", quantity(summary.number("decision_points")), "moments a score was due"),
        Tile("warnings raised", quantity(warnings_raised(summary)), "a user entered a higher tier"),
        Tile("escalations", quantity(summary.number("escalations")), "what the warnings are about"),
        Tile(
            "warned before",
            quantity(summary.number("escalated_warned_before")),
            "of these escalations" if warned is None else f"{percent(warned)} of these escalations",
        ),
        Tile(
            "median lead",
            "none" if median is None and summary.get("lead_time") is not None else duration(median),
            "from first warning to escalation",
        ),
        Tile("rejected", quantity(rejects), "records that were no event"),
    ]


def headline(summary: Summary, warned: int | None = None) -> list[str]:
    """Return the headline in sentences; `warned` is the number of users that warnings were raised about, if known."""
    said = (
        *(_period(summary), _volume(summary), _warnings(summary, warned)),
        *(_right(summary), _ahead(summary), _losses(summary)),
    )
    return [sentence for sentence in said if sentence]


def right_by_tier(summary: Summary) -> str:
    """Return how many warnings of each tier were right, of those whose horizon has passed; empty if there are none."""
    matured = {tier: int(summary.number("live", "warnings", tier, "matured") or 0) for tier in reversed(Tier)}
    right = {tier: int(summary.number("live", "warnings", tier, "right") or 0) for tier in matured}
    parts = [
        f"{right[tier]:,} of {many:,} {tier} ({percent(right[tier] / many)})" for tier, many in matured.items() if many
    ]
    return _listed(parts) if parts else ""


def problems(summary: Summary) -> list[str]:
    """Return the summary's sentences on scoring that stopped, shrank or degraded."""
    stored = summary.get("faults")
    return [visible(problem) for problem in stored if isinstance(problem, str)] if isinstance(stored, list) else []


def _period(summary: Summary) -> str:
    first, last = summary.number("first_event"), summary.number("last_event")
    if first is None or last is None:
        return "The time the log covers was not recorded."
    said = f"The log runs from {moment(first)} to {moment(last)} UTC, {duration(last - first)} in all."
    if last < _FIRST_YEAR:
        said += " Its times count from an origin of its own, which is shown as the start of 1970."
    return said


def _volume(summary: Summary) -> str:
    kinds = summary.numbers("events")
    read = [count(int(kinds[kind]), noun) for kind, noun in EVENT_WORDS.items() if kinds.get(kind)]
    users, points = summary.number("users"), summary.number("decision_points")
    said = f"It held {_listed(read)}" if read else "What events it held was " + NOT_RECORDED
    said += f" of {count(int(users), 'user')}." if users is not None else "; the number of users was not recorded."
    if points is None:
        return f"{said} The number of decision points was not recorded."
    if points == 0:
        return f"{said} At no point was a score due."
    return f"{said} A score was due {count(int(points), 'time')}."


def _warnings(summary: Summary, warned: int | None) -> str:
    total = warnings_raised(summary)
    if total is None:
        return "The number of warnings was not recorded."
    if total == 0:
        return "No warning was raised."
    by_tier = summary.numbers("risk_events", "raised")
    parts = [f"{quantity(by_tier[tier])} {tier}" for tier in reversed(Tier) if by_tier.get(tier)]
    others = summary.number("risk_events", "total")
    lowered = int(others - total) if others is not None and others > total else 0
    by = f": {_listed(parts)}" if parts else ""
    said = f"{count(int(total), 'warning')} {'was' if total == 1 else 'were'} raised{by}."
    users = share(warned, summary.number("users"))
    if warned and users is not None:
        said += f" They were about {count(warned, 'user')}, {percent(users)} of all."
    return said + (f" Another {count(lowered, 'risk event')} lowered or ended one." if lowered else "")


def _right(summary: Summary) -> str:
    right = right_by_tier(summary)
    return f"Of the warnings whose horizon has passed, an escalation followed {right}." if right else ""


def _ahead(summary: Summary) -> str:
    escalations, warned = summary.number("escalations"), summary.number("escalated_warned_before")
    target = visible(summary.text("policy", "target") or "escalates")
    if escalations is None:
        return "The number of escalations was not recorded, so nothing can be said about whether warnings came early."
    if escalations == 0:
        return f"Nobody reached the target ({target}), so this log cannot show whether warnings come early."
    reached = f"The target ({target}) was reached {count(int(escalations), 'time')}"
    if warned is None:
        return f"{reached}; how often a warning came before it was not recorded."
    if warned == 0:
        return f"{reached}, never after a warning."
    said = f"{reached}, {count(int(warned), 'time')} ({percent(warned / escalations)}) after a warning"
    median, events = summary.number("lead_time", "median_ms"), summary.number("lead_time", "median_events")
    lead = [] if median is None else [duration(median)]
    lead += [] if events is None else [f"{quantity(events)} of the user's events"]
    return f"{said}; half of these warnings came at least {' and '.join(lead)} ahead." if lead else f"{said}."


def _losses(summary: Summary) -> str:
    parts = (("rejected", ("rejects", "total")), ("late", ("late",)), ("duplicated", ("duplicates",)))
    found = [(word, summary.number(*path)) for word, path in parts]
    if all(value == 0 for _, value in found):
        return "Every record became an event, on time and once."
    return "Records " + ", ".join(f"{word}: {quantity(value)}" for word, value in found) + "."


_AMOUNT = re.compile(r"(?<=\d) (?=(?:ms|s|min|h|days?|%)(?!\w))")


def bound(text: str) -> str:
    """Return text in which no line can break between a number and its unit."""
    return _AMOUNT.sub("\N{NO-BREAK SPACE}", text)


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
