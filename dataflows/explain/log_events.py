"""A user's events in the replayed log, without anything that people wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dataflows.explain.run_files import ExplainError, UserRun
from dataflows.mapping.load import Mapping
from dataflows.sources.files.log import read_log
from schemas.codec.inputs import EARLIEST_TIME, Codec
from schemas.records.base import Raw
from schemas.records.events import ChatMessage, Event


def log_events(run: UserRun, log: Path, mapping: Mapping | None) -> dict[int, dict[str, Any]]:
    """Return the user's events by place in the log, since the user's latest erasure.

    Raises:
        LogError: if the log cannot be read.
        ExplainError: if the log, read by this mapping, is not the one that was replayed.
    """
    since = run.outputs.erased.get(run.user, -1)
    points = {int(run.outputs.seq[row]): run.outputs.event_id[row] for row in run.rows.tolist()}
    found, key, codec = {}, run.user_id.encode(), Codec(earliest_ms=EARLIEST_TIME)
    for item in read_log(log, mapping):
        if isinstance(item, Raw) and item.key == key and item.at.seq > since:
            event = codec.decode(item)
            if isinstance(event, Event) and points.get(item.at.seq, event.event_id) == event.event_id:
                found[item.at.seq] = _plain(event)
    if missing := points.keys() - found.keys():
        raise ExplainError(
            f"{log}: not the log of this run, or read by another mapping: it has no event "
            f"{points[min(missing)]} of {run.user_id} in that place; give those of the replay."
        )
    return found


def _plain(event: Event) -> dict[str, Any]:
    """Return kind, time, channel, action and severity: free text and other people's ids are left out."""
    if isinstance(event, ChatMessage):
        return {"kind": "message", "event_id": event.event_id, "as_of": event.event_time, "channel": event.channel}
    plain: dict[str, Any] = {"kind": event.kind, "event_id": event.event_id, "as_of": event.event_time}
    if event.report is not None and event.report.channel is not None:
        plain["channel"] = event.report.channel
    if event.sanction is not None:
        plain |= {"action": event.sanction.action, "severity": event.sanction.severity}
    return plain
