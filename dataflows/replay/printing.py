"""Terminal output of a finished replay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dataflows.replay.replay import Replayed
from dataflows.reports.formatting import describe_reason
from dataflows.reports.headline import right_by_tier
from dataflows.reports.numbers import count, duration, moment, share
from dataflows.reports.ranking import strongest_warnings
from dataflows.reports.read import Summary
from dataflows.runtime.console import say
from dataflows.sources.files.log import LogCounts
from schemas.records.decisions import RiskEvent

_KINDS = {"chat_message": "message"}
"""Nouns of the kinds of events whose own name is not one."""


def print_replayed(out: Path, done: Replayed, read: LogCounts, top: int) -> None:
    """Print counts, outcomes, the `top` strongest warnings with reasons, and the path of the report or directory."""
    summary = done.summary
    events: dict[str, int] = summary["events"]
    kinds = ", ".join(count(many, _KINDS.get(kind, kind)) for kind, many in events.items()) or "no events"
    say(f"{read.rows:,} rows: {kinds}")
    aside = {
        "rejects": summary["rejects"]["total"],
        "late": summary["late"],
        "duplicates": summary["duplicates"],
        "optional parts mended": summary["mended_parts"]["total"],
        "rows skipped": read.skipped + read.eventless,
    }
    say("; ".join(f"{many:,} {name}" for name, many in aside.items()), style="dim")
    raised = ", ".join(f"{many:,} {tier}" for tier, many in summary["risk_events"]["raised"].items()) or "none"
    say(f"{summary['decision_points']:,} decision points of {summary['users']:,} users; warnings raised: {raised}")
    if summary["policy"]["budget"] is not None:
        held = f"held back at {summary['held_back']:,} decision points by the budget"
        say(f"{held} of {summary['policy']['budget']:,} newly warned users an hour")
    say(_lead(summary))
    if right := right_by_tier(Summary(summary)):
        say(f"right, of the warnings whose horizon has passed: {right}")
    for problem in summary["faults"]:
        say(f"attention: {problem}", style="bold")
    if top:
        for event in strongest_warnings(out, top):
            _print_warning(event)
    if done.undrawn is not None:
        say(done.undrawn)
    say(f"outputs: {out}" if done.report is None else f"report: {done.report}")


def _lead(summary: dict[str, Any]) -> str:
    escalations, warned = summary["escalations"], summary["escalated_warned_before"]
    if not escalations:
        return "nobody escalated"
    text = f"{escalations:,} escalations, {warned:,} of them warned of before"
    median = summary["lead_time"]["median_ms"]
    return text if median is None else f"{text}, half of those at least {duration(median)} ahead"


def _print_warning(event: RiskEvent) -> None:
    probability = event.probability
    chance = "by rule" if probability is None else f"{share(probability)} within {duration(event.horizon_ms)}"
    say(f"{event.tier}  {event.user_id}  {chance}, as of {moment(event.as_of)} UTC", style="bold")
    for reason in event.reasons:
        say(f"    {describe_reason(reason)}", style="dim")
