"""Field types, subjects, positions and the base of every record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

MAX_TIME = 253_402_300_799_999
"""The last millisecond of the year 9999; a later time is invalid."""


LONGEST_TEXT = 65_536


MOST_RECIPIENTS = 1_024


MOST_SCORES = 64


Id = Annotated[str, Field(min_length=1, max_length=256)]


Label = Annotated[str, Field(min_length=1, max_length=128)]


TimeMs = Annotated[int, Field(strict=True, ge=0, le=MAX_TIME)]


Finite = Annotated[float, Field(allow_inf_nan=False)]


Probability = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]


CHAT: Literal["chat_message"] = "chat_message"


MODERATION: Literal["moderation_event"] = "moderation_event"


Subject = Literal["chat_message", "moderation_event"]


class Position(NamedTuple):
    """The source of a record: topic, partition and offset, and its dense count within the source partition.

    `seq` counts every record that the source partition has emitted, from 0, without gaps. From it the learner derives
    that no earlier record is still in transit.
    """

    topic: str
    partition: int
    offset: int
    seq: int


class Raw(NamedTuple):
    """One record as a source read it: bytes, or the mapping made from a log row.

    `received` is the time at which the record reached the log (ms), against which its event time is checked; None if
    the log does not store it. `schema_header` is the value of the record's header `__value_schema_id`, in which some
    serialisers name the schema of a bare datum. `redriven` is true if a redrive sent the record again; the record is
    then older than its arrival.
    """

    subject: Subject
    value: bytes | Mapping[str, Any] | None
    key: bytes | None
    at: Position
    received: int | None
    schema_header: bytes | None = None
    redriven: bool = False


class Record(BaseModel):
    """The base of every record: immutable; unknown fields are ignored so that records of newer writers can be read."""

    model_config = ConfigDict(frozen=True, extra="ignore", str_strip_whitespace=False)
