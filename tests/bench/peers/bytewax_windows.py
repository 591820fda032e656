"""As much of the job as Bytewax's own windowing operators do: each span a sliding window, folded event by event.

They answer when a window closes, not at an event: a window is closed by a later event of the same user, or by the end
of the input. So what they cannot do is the job itself: there are no features as of an event, hence nothing to score at
an event, no point to learn from and no tier to change. Neither can they hold decayed sums, the time since something,
sessions beside windows, the last few texts across windows, or a ledger from which a reversal takes a sanction; all of
that would be a stateful step as in `bytewax_state`, and with it nothing would be left for the windows.

What is measured: reading, checking, dropping duplicates (a stateful step), and counts, sums, largest and distinct
values over 5 minutes by 15 seconds, 1 hour by 5 minutes and 24 hours by 1 hour for messages, 7 days by 6 hours and 30
days by 1 day for moderation. An event is folded into every window it lies in: 20, 12 and 24, or 28 and 30. Closed
windows are added up and go nowhere.
"""

from __future__ import annotations

import gc
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import bytewax.operators.windowing as win
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main

from tests.bench.peers.bytewax_state import EPOCH, Numbered, Source
from tests.bench.peers.checks import CHAT
from tests.bench.peers.kafka import place, report
from tests.bench.peers.profile import SEEN_CAP

SPANS = {
    "5m": (CHAT, 300, 15),
    "1h": (CHAT, 3_600, 300),
    "24h": (CHAT, 86_400, 3_600),
    "7d": ("", 604_800, 21_600),
    "30d": ("", 2_592_000, 86_400),
}
"""What is counted over each span: messages or moderation, for so many seconds, by so many."""
START = datetime(1970, 1, 1, tzinfo=UTC)


class Folded:
    """What a window of messages or of moderation events holds."""

    __slots__ = ("channels", "count", "highest", "kinds", "length", "recipients", "toxicity")

    def __init__(self) -> None:
        self.count = self.length = 0
        self.toxicity = self.highest = 0.0
        self.channels: set[str] = set()
        self.recipients: set[str] = set()
        self.kinds: Counter[str] = Counter()

    def add_message(self, event: dict[str, Any]) -> None:
        """Fold in one message."""
        self.count += 1
        self.length += len(event.get("text") or "")
        self.channels.add(event["channel"])
        self.recipients.update(event.get("recipients") or ())
        if event.get("scores"):
            toxicity = max([score["value"] for score in event["scores"]])
            self.toxicity += toxicity
            self.highest = max(self.highest, toxicity)

    def add_moderation(self, event: dict[str, Any]) -> None:
        """Fold in one moderation event."""
        self.count += 1
        self.kinds[event["kind"]] += 1

    def merge(self, other: Folded) -> Folded:
        """Sliding windows are never merged, but the operator asks how."""
        raise NotImplementedError(other)


class Closed(DynamicSink[Any], StatelessSinkPartition[Any]):
    """Adds up the windows that were closed, by span: how many, and the events, characters and values in them."""

    def __init__(self) -> None:
        self.sums: dict[str, list[int]] = {span: [0, 0, 0, 0] for span in SPANS}

    def build(self, _step_id: str, _worker_index: int, _worker_count: int) -> Closed:
        return self

    def write_batch(self, items: list[Any]) -> None:
        for span, folded in items:
            sums = self.sums[span]
            sums[0] += 1
            sums[1] += folded.count
            sums[2] += folded.length
            sums[3] += len(folded.channels) + len(folded.recipients) + len(folded.kinds)


def fresh(seen: dict[str, None] | None, value: Numbered) -> tuple[dict[str, None], list[Numbered]]:
    """The event, if its user's latest ones do not hold it."""
    seen = {} if seen is None else seen
    event_id = value[2]["event_id"]
    if event_id in seen:
        return seen, []
    seen[event_id] = None
    if len(seen) > SEEN_CAP:
        del seen[next(iter(seen))]
    return seen, [value]


def fold_message(folded: Folded, value: Numbered) -> Folded:
    """Fold in a message."""
    folded.add_message(value[2])
    return folded


def fold_moderation(folded: Folded, value: Numbered) -> Folded:
    """Fold in a moderation event."""
    folded.add_moderation(value[2])
    return folded


def main() -> None:
    """Read both topics to their end."""
    where = place()
    gc.set_threshold(100_000, 20, 20)
    closed = Closed()
    clock = win.EventClock(
        ts_getter=lambda value: datetime.fromtimestamp(value[2]["event_time"] / 1000, UTC),
        wait_for_system_duration=timedelta(hours=1),
        to_system_utc=lambda _: None,  # old events close windows, not the wall clock
    )
    flow = Dataflow("peer")
    events = op.input("inputs", flow, Source(where))
    sides = op.branch("sides", op.stateful_flat_map("fresh", events, fresh), lambda item: item[1][1] == CHAT)
    for span, (subject, length, offset) in SPANS.items():
        windower = win.SlidingWindower(timedelta(seconds=length), timedelta(seconds=offset), START)
        folded = win.fold_window(
            f"over_{span}",
            sides.trues if subject else sides.falses,
            clock,
            windower,
            Folded,
            fold_message if subject else fold_moderation,
            Folded.merge,
            ordered=False,
        )
        named = op.map(f"named_{span}", folded.down, lambda item, span=span: (span, item[1][1]))
        op.output(f"closed_{span}", named, closed)
    store = Path(where.state)
    store.mkdir(parents=True)
    init_db_dir(store, 1)
    run_main(flow, epoch_interval=EPOCH, recovery_config=RecoveryConfig(str(store)))
    report(windows=closed.sums)


if __name__ == "__main__":
    main()
