"""Decode: records become Events by user, or Rejects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import bytewax.operators as op
from bytewax.dataflow import Stream, operator
from bytewax.operators import KeyedStream

from dataflows.telemetry import Telemetry
from detectors.text.scorer import NAME, TextScorer
from schemas.codec import Codec
from schemas.records import ChatMessage, Event, Position, Raw, Reject, ScorerResult


class Decoded(NamedTuple):
    """An Event and where it came from."""

    event: Event
    at: Position


@dataclass(frozen=True)
class DecodeOut:
    """Events by user, a batch's events of one user in one bundle, and what could not become an event."""

    events: KeyedStream[list[Decoded]]
    rejects: Stream[Reject]


class _Batch(NamedTuple):
    users: dict[str, list[Decoded]]
    rejects: list[Reject]


@operator
def decode(
    step_id: str, up: Stream[Raw | Reject], codec: Codec, telemetry: Telemetry, text: TextScorer | None
) -> DecodeOut:
    """Turn records into Events by user, and Rejects; with a text scorer, messages without scores get its own."""

    def decode_batch(batch: list[Raw | Reject]) -> list[_Batch]:
        users: dict[str, list[Decoded]] = {}
        rejects: list[Reject] = []
        spoken: list[tuple[list[Decoded], int]] = []  # where the messages are that no scorer has seen
        for record in batch:
            if isinstance(record, Reject):
                rejects.append(record)
                continue
            event = codec.decode(record)
            if isinstance(event, Reject):
                rejects.append(event)
            else:
                bundle = users.get(event.user_id)
                if bundle is None:
                    bundle = users[event.user_id] = []
                if text is not None and isinstance(event, ChatMessage) and event.text and not event.scores:
                    spoken.append((bundle, len(bundle)))
                bundle.append(Decoded(event, record.at))
        if text is not None and spoken:
            _score(spoken, text)
        telemetry.decoded([event for bundle in users.values() for event, _ in bundle], rejects)
        return [_Batch(users, rejects)]

    def to_events(batches: list[_Batch]) -> list[tuple[str, list[Decoded]]]:
        return [bundle for batch in batches for bundle in batch.users.items()]

    def to_rejects(batches: list[_Batch]) -> list[Reject]:
        return [reject for batch in batches for reject in batch.rejects]

    # what crosses the engine is bundled, because each item that crosses it costs as much as a feature
    decoded = op.flat_map_batch("records", up, decode_batch)
    return DecodeOut(
        events=op.flat_map_batch("events", decoded, to_events),
        rejects=op.flat_map_batch("rejects", decoded, to_rejects),
    )


def _score(spoken: list[tuple[list[Decoded], int]], scorer: TextScorer) -> None:
    """Put the scorer's results into messages, all of them in one go."""
    messages = [bundle[place].event for bundle, place in spoken]
    values = scorer.score_many([message.text or "" for message in messages if isinstance(message, ChatMessage)])
    for (bundle, place), value in zip(spoken, values.tolist(), strict=True):
        event, at = bundle[place]
        result = ScorerResult(scorer=NAME, version=scorer.version, value=value)
        bundle[place] = Decoded(event.model_copy(update={"scores": (result,)}), at)
