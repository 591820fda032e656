"""Decode: records become Events by user, or Rejects."""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple

import bytewax.operators as op
from bytewax.dataflow import Stream, operator
from bytewax.operators import KeyedStream

from dataflows.telemetry import Telemetry
from detectors.channels import Context
from detectors.live.scorers import Scored, looked_at
from detectors.text.scorer import NAME, TextScorer
from schemas.codec import Codec
from schemas.records import ChatMessage, Event, Position, Raw, Reject, ScorerResult


class Decoded(NamedTuple):
    """An Event, where it came from and, where channels are remembered, what a message found in its channel."""

    event: Event
    at: Position
    context: Context | None = None


@dataclass(frozen=True)
class DecodeOut:
    """Events by user, a batch's events of one user in one bundle, and what could not become an event.

    `scored` is a sample of what toxicity scorers said, a batch's in one bundle, in the order of the log.
    """

    events: KeyedStream[list[Decoded]]
    scored: Stream[list[Scored]]
    rejects: Stream[Reject]


class _Batch(NamedTuple):
    users: dict[str, list[Decoded]]
    rejects: list[Reject]
    scored: list[Scored]


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
        telemetry.decoded([event for bundle in users.values() for event, _, _ in bundle], rejects)
        return [_Batch(users, rejects, _scored(users))]

    def to_events(batches: list[_Batch]) -> list[tuple[str, list[Decoded]]]:
        return [bundle for batch in batches for bundle in batch.users.items()]

    def to_scored(batches: list[_Batch]) -> list[list[Scored]]:
        return [batch.scored for batch in batches if batch.scored]

    def to_rejects(batches: list[_Batch]) -> list[Reject]:
        return [reject for batch in batches for reject in batch.rejects]

    # what crosses the engine is bundled, because each item that crosses it costs as much as a feature
    decoded = op.flat_map_batch("records", up, decode_batch)
    return DecodeOut(
        events=op.flat_map_batch("events", decoded, to_events),
        scored=op.flat_map_batch("scored", decoded, to_scored),
        rejects=op.flat_map_batch("rejects", decoded, to_rejects),
    )


def _scored(users: dict[str, list[Decoded]]) -> list[Scored]:
    """A sample of what scorers said, ours among them, in the order of the log."""
    chosen = [
        (at.seq, event.scores)
        for bundle in users.values()
        for event, at, _ in bundle
        if isinstance(event, ChatMessage) and event.scores and looked_at(at.seq)
    ]
    chosen.sort(key=itemgetter(0))
    return [Scored(one.scorer, one.version, one.value) for _, results in chosen for one in results]


def _score(spoken: list[tuple[list[Decoded], int]], scorer: TextScorer) -> None:
    """Put the scorer's results into messages, all of them in one go."""
    messages = [bundle[place].event for bundle, place in spoken]
    values = scorer.score_many([message.text or "" for message in messages if isinstance(message, ChatMessage)])
    for (bundle, place), value in zip(spoken, values.tolist(), strict=True):
        event, at, _ = bundle[place]
        result = ScorerResult(scorer=NAME, version=scorer.version, value=value)
        bundle[place] = Decoded(event.model_copy(update={"scores": (result,)}), at)
