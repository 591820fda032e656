"""What Bytewax's windows must hold when all are closed, counted from the log in one go."""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

from tests.bench.peers.agreement import events_of
from tests.bench.peers.bytewax_windows import SPANS
from tests.bench.peers.checks import CHAT
from tests.bench.peers.job import LATENESS


def counted(log: Path) -> dict[str, list[int]]:
    """For each span: windows with anything in them, and the events, characters and distinct values in those.

    Something that happens at times in a row is in as many windows as there are, less those it was in before.
    """
    latest: dict[Any, int] = {}
    sums = {span: [0, 0, 0, 0] for span in SPANS}
    for time, subject, event in sorted(_counting(log), key=itemgetter(0)):
        user = event["user_id"]
        if subject == CHAT:
            values = {("channel", event["channel"]), *(("to", to) for to in event.get("recipients") or ())}
        else:
            values = {("kind", event["kind"])}
        for span, (of, length, offset) in SPANS.items():
            if (of == CHAT) == (subject == CHAT):
                each, last, total = length // offset, time // offset, sums[span]
                total[1] += each
                total[2] += len(event.get("text") or "") * each
                for what, column in ((None, 0), *((value, 3) for value in values)):
                    key = (span, user, what)
                    total[column] += min(each, last - latest.get(key, -each))
                    latest[key] = last
    return sums


def _counting(log: Path) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Events with their times in seconds, without what is there twice or behind the watermark of its kind."""
    seen: set[tuple[str, str]] = set()
    clocks: dict[tuple[str, str], int] = {}
    for subject, event in events_of(log):
        of, time, known = (event["user_id"], subject), event["event_time"], (event["user_id"], event["event_id"])
        if known not in seen:
            seen.add(known)
            clocks[of] = max(time, clocks.get(of, time))
            if time >= clocks[of] - LATENESS:
                yield time // 1000, subject, event
