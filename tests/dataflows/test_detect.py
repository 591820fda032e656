"""The spine as a whole: poison beside good events, erasure, ties in time, and processes that stop and start."""

from __future__ import annotations

import pickletools
import sqlite3
from collections.abc import Iterator
from math import nan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dataflows.testing import START, DriverResult, FlowDriver, hand_made_model, small_policy
from detectors.learn import Lesson
from detectors.user import User
from schemas.codec import Codec
from schemas.encoder import Encoder
from schemas.records import (
    CHAT,
    MODERATION,
    ChatMessage,
    Event,
    Position,
    Raw,
    Reject,
    RejectReason,
    Subject,
    Tombstone,
)
from schemas.registry import RegistrySettings
from tests.dataflows.essence import everything, told
from tests.dataflows.small_platform import POLICY, USERS, life

STRANGE: dict[str, Any] = {"event_id": "strange", "event_time": START, "user_id": "mallory", "channel": "lobby"}
MESSAGE = ChatMessage.model_validate({**STRANGE, "text": "half of this"})
AVRO = Encoder("chat_message").encode(MESSAGE)
MODEL = hand_made_model(0.15, {"report_count_24h": 1.0})
YEAR = 365 * 86_400_000

Poison = tuple[Subject, Any, int | None]


def as_json(**changes: Any) -> bytes:
    return orjson.dumps({**STRANGE, **changes})


POISON: dict[str, tuple[Poison, RejectReason]] = {
    "null": ((CHAT, None, None), RejectReason.EMPTY_VALUE),
    "no bytes": ((MODERATION, b"", None), RejectReason.EMPTY_VALUE),
    "white space": ((CHAT, b" \r\n\t ", None), RejectReason.EMPTY_VALUE),
    "half of JSON": ((CHAT, as_json()[:-9], None), RejectReason.MALFORMED_JSON),
    "two of JSON": ((CHAT, as_json() * 2, None), RejectReason.MALFORMED_JSON),
    "half of Avro": ((CHAT, AVRO[:-5], None), RejectReason.TRUNCATED),
    "half a header": ((CHAT, AVRO[:6], None), RejectReason.TRUNCATED),
    "half a Confluent header": ((MODERATION, b"\x00\x00\x00", None), RejectReason.TRUNCATED),
    "too much of Avro": ((CHAT, AVRO + b"!", None), RejectReason.MALFORMED_AVRO),
    "wrong magic": ((CHAT, b"\xc3\x02" + AVRO[2:], None), RejectReason.UNKNOWN_FRAMING),
    "no magic": ((MODERATION, b"hello", None), RejectReason.UNKNOWN_FRAMING),
    "an unknown fingerprint": ((CHAT, AVRO[:2] + bytes(8) + AVRO[10:], None), RejectReason.UNKNOWN_SCHEMA),
    "an unknown schema id": ((CHAT, b"\x00\x00\x0f\x42\x40" + AVRO[10:], None), RejectReason.UNKNOWN_SCHEMA),
    "an unknown schema guid": ((CHAT, b"\x01" + bytes(range(16)) + AVRO[10:], None), RejectReason.UNKNOWN_SCHEMA),
    "another topic's record": ((MODERATION, AVRO, None), RejectReason.UNKNOWN_SCHEMA),
    "huge": ((CHAT, as_json(text="x" * 2_000_000), None), RejectReason.TOO_LARGE),
    "invalid UTF-8": ((CHAT, as_json().replace(b"mallory", b"mal\xffry"), None), RejectReason.INVALID_UTF8),
    "NaN": ((CHAT, as_json().replace(b"1767225600000", b"NaN"), None), RejectReason.NON_FINITE_NUMBER),
    "NaN in a row": (
        (CHAT, {**STRANGE, "scores": [{"scorer": "s", "version": "1", "value": nan}]}, None),
        RejectReason.NON_FINITE_NUMBER,
    ),
    "a negative time": ((CHAT, as_json(event_time=-1), None), RejectReason.NEGATIVE_TIMESTAMP),
    "a future time": ((CHAT, as_json(event_time=START + YEAR), START), RejectReason.FUTURE_TIMESTAMP),
    "a time beyond all time": ((CHAT, as_json(event_time=10**16), None), RejectReason.FUTURE_TIMESTAMP),
    "a field missing": ((CHAT, b'{"event_id": "strange"}', None), RejectReason.MISSING_FIELD),
    "a field of another type": ((CHAT, as_json(user_id=7), None), RejectReason.INVALID_FIELD),
    "a list": ((MODERATION, b"[1, 2]", None), RejectReason.UNKNOWN_FRAMING),
}


def fed(poison: list[Poison], *, codec: Codec | None = None) -> FlowDriver:
    """The small platform's life with the poison dealt between its events, before the first and after the last."""
    driver = FlowDriver(POLICY, codec=codec)
    good = list(life(driver))
    for number in range(len(good) + 1):
        for subject, value, received in poison[number * len(poison) // (len(good) + 1) :][: len(poison)]:
            if (number + 1) * len(poison) // (len(good) + 1) <= poison.index((subject, value, received)):
                break
            driver.send(subject, value, received=received)
        if number < len(good):
            good[number]()
    return driver
