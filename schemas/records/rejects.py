"""Rejects: records that could not become an Event, with the reason."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from schemas.records.base import Record, Subject


class RejectReason(StrEnum):
    """The closed list of reasons why a record does not become an Event."""

    EMPTY_VALUE = "empty_value"
    TOO_LARGE = "too_large"
    UNKNOWN_FRAMING = "unknown_framing"
    TRUNCATED = "truncated"
    UNKNOWN_SCHEMA = "unknown_schema"
    MALFORMED_AVRO = "malformed_avro"
    MALFORMED_JSON = "malformed_json"
    INVALID_UTF8 = "invalid_utf8"
    MISSING_FIELD = "missing_field"
    INVALID_FIELD = "invalid_field"
    NON_FINITE_NUMBER = "non_finite_number"
    NEGATIVE_TIMESTAMP = "negative_timestamp"
    PAST_TIMESTAMP = "past_timestamp"
    FUTURE_TIMESTAMP = "future_timestamp"
    UNMAPPED_ROW = "unmapped_row"
    INTERNAL_ERROR = "internal_error"


class Reject(Record):
    """A record that could not become an Event: original bytes, coordinates, stage and a bounded reason.

    `detail` names the offending field or framing, never a value. `schema_header` is copied from the record's `Raw`.
    """

    reason: RejectReason
    stage: Literal["source", "decode", "profile"]
    detail: Annotated[str, Field(max_length=256)]
    subject: Subject
    topic: str
    partition: int
    offset: int
    seq: int
    received: int | None
    key: bytes | None
    value: bytes | None
    schema_header: bytes | None = None
