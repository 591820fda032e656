"""Decode: records become Events by user, or Rejects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import bytewax.operators as op
from bytewax.dataflow import Stream, operator
from bytewax.operators import KeyedStream

from dataflows.telemetry import Telemetry
from schemas.codec import Codec
from schemas.records import Event, Position, Raw, Reject


class Decoded(NamedTuple):
    """An Event and where it came from."""

    event: Event
    at: Position


@dataclass(frozen=True)
class DecodeOut:
    """Events by user, and what could not become one."""

    events: KeyedStream[Decoded]
    rejects: Stream[Reject]


@operator
def decode(step_id: str, up: Stream[Raw | Reject], codec: Codec, telemetry: Telemetry) -> DecodeOut:
    """Turn records into Events by user, and Rejects."""

    def decode_batch(batch: list[Raw | Reject]) -> list[tuple[str, Decoded] | Reject]:
        out: list[tuple[str, Decoded] | Reject] = []
        for record in batch:
            if isinstance(record, Reject):
                out.append(record)
                continue
            event = codec.decode(record)
            if isinstance(event, Reject):
                out.append(event)
            else:
                out.append((event.user_id, Decoded(event, record.at)))
        telemetry.decoded(out)
        return out

    def to_events(batch: list[tuple[str, Decoded] | Reject]) -> list[tuple[str, Decoded]]:
        return [item for item in batch if not isinstance(item, Reject)]

    def to_rejects(batch: list[tuple[str, Decoded] | Reject]) -> list[Reject]:
        return [item for item in batch if isinstance(item, Reject)]

    decoded = op.flat_map_batch("records", up, decode_batch)
    return DecodeOut(
        events=op.flat_map_batch("events", decoded, to_events),
        rejects=op.flat_map_batch("rejects", decoded, to_rejects),
    )
