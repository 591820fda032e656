"""Decode: turns records into Events, or Rejects."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import bytewax.operators as op
from bytewax.dataflow import Stream, operator

from dataflows.kafka.placement import Placement
from dataflows.runtime.telemetry import Telemetry
from detectors.base.log_clock import LogClock
from detectors.features.context import Context
from detectors.monitoring.scorers import Scored, looked_at
from detectors.text.scorer import NAME, TextScorer
from schemas.codec.inputs import Codec
from schemas.records.base import Position, Raw
from schemas.records.events import ChatMessage, Event, ScorerResult
from schemas.records.rejects import Reject

DAY = 86_400_000
"""Events count as dated ahead from one day on (ms)."""


class Decoded(NamedTuple):
    """An Event, its position and, if channels are remembered, the channel context of a message."""

    event: Event
    at: Position
    context: Context | None = None


@dataclass(frozen=True)
class DecodeOut:
    """The events of a batch in read order, as one list, and the records that could not become an Event.

    `scored` is a sample of toxicity scorers' results, one list per batch, in the same order.
    """

    events: Stream[list[Decoded]]
    scored: Stream[list[Scored]]
    rejects: Stream[Reject]


class _Batch(NamedTuple):
    events: list[Decoded]
    rejects: list[Reject]
    scored: list[Scored]


@operator
def decode(
    step_id: str,
    up: Stream[Raw | Reject],
    codec: Codec,
    telemetry: Telemetry,
    text: TextScorer | None,
    placement: Placement | None,
) -> DecodeOut:
    """Decode records into Events or Rejects; with a text scorer, add its scores to messages that have none.

    `placement` checks that records have their user's key and partition.
    """
    clocks: dict[int, LogClock] = {}

    def decode_batch(batch: list[Raw | Reject]) -> list[_Batch]:
        events: list[Decoded] = []
        rejects: list[Reject] = []
        # a named tuple's own constructor adds a Python frame, and costs twice as much
        decode_one, new = codec.decode, tuple.__new__
        placed: list[tuple[Raw, Event]] = []
        for record in batch:
            if isinstance(record, Reject):
                rejects.append(record)
                continue
            event = decode_one(record)
            if isinstance(event, Reject):
                rejects.append(event)
            else:
                events.append(new(Decoded, (event, record.at, None)))
                placed.append((record, event))
        if placement is not None:
            placement.look(placed)
        if text is not None:
            _score(events, text, telemetry)
        telemetry.add("clock_ahead", _ahead(events, clocks))
        telemetry.decoded([event for event, _, _ in events], rejects, codec.take_mended())
        return [_Batch(events, rejects, _scored(events))]

    def to_events(batches: list[_Batch]) -> list[list[Decoded]]:
        return [batch.events for batch in batches if batch.events]

    def to_scored(batches: list[_Batch]) -> list[list[Scored]]:
        return [batch.scored for batch in batches if batch.scored]

    def to_rejects(batches: list[_Batch]) -> list[Reject]:
        return [reject for batch in batches for reject in batch.rejects]

    # streams carry lists, because each item that crosses the engine costs as much as a feature
    decoded = op.flat_map_batch("records", up, decode_batch)
    return DecodeOut(
        events=op.flat_map_batch("events", decoded, to_events),
        scored=op.flat_map_batch("scored", decoded, to_scored),
        rejects=op.flat_map_batch("rejects", decoded, to_rejects),
    )


def _ahead(events: list[Decoded], clocks: dict[int, LogClock]) -> Counter[str]:
    """Count the events dated beyond the times that the users of their partition support, by topic."""
    ahead: Counter[str] = Counter()
    for event, at, _ in events:
        clock = clocks.get(at.partition)
        if clock is None:
            clock = clocks[at.partition] = LogClock()
        time = event.event_time
        clock.advance(event.user_id, time)
        if 0 <= clock.now < time - DAY and time > clock.reach(DAY):
            ahead[at.topic] += 1
    return ahead


def _scored(events: list[Decoded]) -> list[Scored]:
    """Return a sample of scorer results, those of our own scorer included."""
    return [
        Scored(one.scorer, one.version, one.value)
        for event, at, _ in events
        if isinstance(event, ChatMessage) and event.scores and looked_at(at.seq)
        for one in event.scores
    ]


def _score(events: list[Decoded], scorer: TextScorer, telemetry: Telemetry) -> None:
    """Add the scorer's results to all messages without scores, in one call.

    If the scorer fails, the messages stay without a result, and the failure is counted.
    """
    spoken = {
        place: event.text
        for place, (event, _, _) in enumerate(events)
        if isinstance(event, ChatMessage) and event.text and not event.scores
    }
    if not spoken:
        return
    try:
        values = scorer.score_many(list(spoken.values())).tolist()
    except Exception as error:
        telemetry.add("text_failures", Counter({NAME: len(spoken)}))
        telemetry.watch.failed("The text scorer", f"The text scorer fails ({type(error).__name__}): no toxicity.")
        return
    telemetry.watch.worked("The text scorer")
    for place, value in zip(spoken, values, strict=True):
        event, at, _ = events[place]
        result = ScorerResult(scorer=NAME, version=scorer.version, value=value)
        events[place] = Decoded(event.model_copy(update={"scores": (result,)}), at)
