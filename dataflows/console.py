"""What a replay says in the terminal when it is done."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from dataflows.replay import Replayed
from dataflows.report.ranking import strongest_warnings
from dataflows.sources.log import LogCounts
from dataflows.wording import describe_reason, duration, visible
from schemas.records import RiskEvent


def print_replayed(console: Console, out: Path, done: Replayed, read: LogCounts, top: int) -> None:
    """What was read, what came of it, the strongest warnings with their reasons, and where the report is."""
    summary = done.summary
    events: dict[str, int] = summary["events"]
    kinds = ", ".join(f"{count:,} {_plural(kind, count)}" for kind, count in events.items()) or "no events"
    console.print(f"{read.rows:,} rows: {kinds}", highlight=False)
    aside = {
        "rejects": summary["rejects"]["total"],
        "late": summary["late"],
        "duplicates": summary["duplicates"],
        "rows skipped": read.skipped + read.eventless,
    }
    console.print("; ".join(f"{count:,} {name}" for name, count in aside.items()), style="dim", highlight=False)
    raised = ", ".join(f"{count:,} {tier}" for tier, count in summary["risk_events"]["raised"].items()) or "none"
    console.print(
        f"{summary['decision_points']:,} decision points of {summary['users']:,} users; warnings raised: {raised}",
        highlight=False,
    )
    if summary["policy"]["budget"] is not None:
        held = f"held back at {summary['held_back']:,} decision points by the budget"
        console.print(f"{held} of {summary['policy']['budget']:,} newly warned users an hour", highlight=False)
    console.print(_lead(summary), highlight=False)
    for fault in summary["faults"]:
        console.print(f"[bold]attention:[/bold] {escape(fault)}", highlight=False)
    if top:
        for event in strongest_warnings(out, top):
            _print_warning(console, event)
    console.print(f"report: {escape(str(done.report))}", highlight=False)


def _lead(summary: dict[str, Any]) -> str:
    escalations, warned = summary["escalations"], summary["escalated_warned_before"]
    if not escalations:
        return "nobody escalated"
    text = f"{escalations:,} escalations, {warned:,} of them warned of before"
    median = summary["lead_time"]["median_ms"]
    return text if median is None else f"{text}, half of those at least {duration(median)} ahead"


def _print_warning(console: Console, event: RiskEvent) -> None:
    when = datetime.fromtimestamp(event.as_of / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    chance = "by rule" if event.probability is None else f"{event.probability:.1%} within {duration(event.horizon_ms)}"
    who = escape(visible(event.user_id))
    console.print(f"[bold]{event.tier}[/bold]  {who}  {chance}, as of {when}", highlight=False)
    for reason in event.reasons:
        console.print(f"    {escape(describe_reason(reason))}", style="dim", highlight=False)


def _plural(kind: str, count: int) -> str:
    word = {"chat_message": "message"}.get(kind, kind)
    return word if count == 1 else f"{word}s"
