"""The codec's laws: what becomes an Event, what a Reject and why, and that nothing is raised."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Any

import orjson
import pytest

from schemas.codec.inputs import EARLIEST_TIME, OLDEST_MS, Codec, Decoder, Encoder, encode_json
from schemas.records.base import CHAT, MAX_TIME, MODERATION
from schemas.records.events import ChatMessage
from schemas.records.rejects import Reject, RejectReason
from tests.kit.records import CHAT_ROW, MESSAGE, NOON, SANCTION, raw, rejected

CODEC = Codec()


def test_the_same_record_is_read_from_a_mapping_json_and_avro() -> None:
    """Three ways in, one meaning."""
    for value in (CHAT_ROW, MappingProxyType(CHAT_ROW), orjson.dumps(CHAT_ROW), Encoder(CHAT).encode(MESSAGE)):
        assert CODEC.decode(raw(value)) == MESSAGE


def test_moderation_events_are_read_under_their_own_subject() -> None:
    """The subject of the raw record, not a guess, decides what it is read as."""
    assert CODEC.decode(raw(Encoder(MODERATION).encode(SANCTION), MODERATION)) == SANCTION
    reject = rejected(CODEC.decode(raw(encode_json(SANCTION), CHAT)))
    assert (reject.reason, reject.detail) == (RejectReason.MISSING_FIELD, "channel")


def test_avro_of_another_subject_is_an_unknown_schema() -> None:
    """A moderation event on the chat topic is not mistaken for a damaged chat message."""
    assert rejected(CODEC.decode(raw(Encoder(MODERATION).encode(SANCTION)))).reason is RejectReason.UNKNOWN_SCHEMA


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "empty_value"),
        (b"", "empty_value"),
        (b" \n", "empty_value"),
        (b"hello", "unknown_framing"),
        (b'"text"', "unknown_framing"),
        (b"\xef\xbb\xbf{}", "missing_field"),
        (b"\xef\xbb\xbf", "empty_value"),
        (b"\xef\xbb\xbfhello", "unknown_framing"),
        (b"\x02\x00\x00\x00\x01", "unknown_framing"),
        (b"\xc3\x02", "unknown_framing"),
        (b"\xc3", "truncated"),
        (b"\xc3\x01\x00", "truncated"),
        (b"\x00\x00\x00", "truncated"),
        (b"\x01" + bytes(15), "truncated"),
        (b"\x00\x00\x00\x00\x01\x02", "unknown_schema"),
        (b"\x01" + bytes(16), "unknown_schema"),
        (b"\xc3\x01" + bytes(8), "unknown_schema"),
        (b"{", "malformed_json"),
        (b"{}{}", "malformed_json"),
        (b'{"user_id": "\\ud800"}', "malformed_json"),
        (b'{"a":' * 100_000, "malformed_json"),
        (b'{"user_id": "\xff"}', "invalid_utf8"),
        (b'{"extra": NaN}', "non_finite_number"),
        (b'{"extra": -Infinity}', "non_finite_number"),
        (b'{"extra": 1e999}', "non_finite_number"),
        (b'{"text": "NaN", "extra": nope}', "malformed_json"),
        (b"{}", "missing_field"),
    ],
)
def test_bytes_that_are_no_record_say_why(value: Any, reason: str) -> None:
    """Each reason is given for what its name says, and the original bytes are kept."""
    reject = rejected(CODEC.decode(raw(value)))
    assert (reject.reason.value, reject.value) == (reason, value)


@pytest.mark.parametrize(
    ("change", "reason", "detail"),
    [
        ({"user_id": ""}, "invalid_field", "user_id: string_too_short"),
        ({"user_id": None}, "invalid_field", "user_id: string_type"),
        ({"user_id": "\ud800"}, "invalid_utf8", "user_id"),
        ({"event_time": 1.5}, "invalid_field", "event_time: int_type"),
        ({"event_time": True}, "invalid_field", "event_time: int_type"),
        ({"event_time": "1"}, "invalid_field", "event_time: int_type"),
        ({"event_time": math.nan}, "non_finite_number", "event_time"),
        ({"event_time": -1}, "negative_timestamp", "event_time"),
        ({"event_time": MAX_TIME + 1}, "future_timestamp", "event_time: beyond the year 9999"),
        ({"event_time": -math.inf}, "non_finite_number", "event_time"),
    ],
)
def test_a_bad_field_is_named_with_its_place(change: dict[str, Any], reason: str, detail: str) -> None:
    """The detail is the field's place and the kind of mistake."""
    reject = rejected(CODEC.decode(raw({**CHAT_ROW, **change})))
    assert (reject.reason.value, reject.detail) == (reason, detail)


def test_the_wrong_detail_for_a_kind_is_an_invalid_field() -> None:
    """A report without its report names the kind, because that is where the two disagree."""
    row = {"event_id": "x", "event_time": 1, "user_id": "u", "kind": "report"}
    reject = rejected(CODEC.decode(raw(row, MODERATION)))
    assert (reject.reason.value, reject.detail) == ("invalid_field", "kind: not the detail that is present")


@pytest.mark.parametrize("framing", ["mapping", "json", "avro"])
def test_a_time_ahead_of_arrival_by_more_than_the_skew_is_refused(framing: str) -> None:
    """The bound is exact, and holds for every way in."""
    value = {"mapping": CHAT_ROW, "json": encode_json(MESSAGE), "avro": Encoder(CHAT).encode(MESSAGE)}[framing]
    codec = Codec(allowed_skew_ms=1_000)
    assert codec.decode(raw(value, received=MESSAGE.event_time - 1_000)) == MESSAGE
    reject = rejected(codec.decode(raw(value, received=MESSAGE.event_time - 1_001)))
    assert reject.reason is RejectReason.FUTURE_TIMESTAMP


@pytest.mark.parametrize("time", [NOON // 1_000, NOON // 1_000_000, 20_454, 29_454_480, 0])
def test_a_time_decades_before_its_arrival_is_refused(time: int) -> None:
    """Seconds, days and minutes that are read as milliseconds, and nothing at all."""
    reject = rejected(CODEC.decode(raw({**CHAT_ROW, "event_time": time}, received=NOON)))
    assert reject.reason is RejectReason.PAST_TIMESTAMP
    reject = rejected(Codec(earliest_ms=EARLIEST_TIME).decode(raw({**CHAT_ROW, "event_time": time})))
    assert reject.reason is RejectReason.PAST_TIMESTAMP


def test_the_bounds_of_the_past_are_exact_and_a_redriven_record_may_be_older() -> None:
    """Twenty years before arrival, and 1980 where a dataflow asks, which a redrive does not change."""
    codec = Codec(earliest_ms=EARLIEST_TIME)
    for time, taken in ((NOON - OLDEST_MS, True), (NOON - OLDEST_MS - 1, False), (EARLIEST_TIME, False)):
        record = raw({**CHAT_ROW, "event_time": time}, received=NOON)
        assert isinstance(codec.decode(record), ChatMessage) is taken
        assert isinstance(codec.decode(record._replace(redriven=True)), ChatMessage)
        assert isinstance(codec.decode(record._replace(received=None)), ChatMessage)
    before = raw({**CHAT_ROW, "event_time": EARLIEST_TIME - 1})
    for record in (before, before._replace(received=EARLIEST_TIME, redriven=True)):
        assert rejected(codec.decode(record)).reason is RejectReason.PAST_TIMESTAMP
    assert isinstance(CODEC.decode(before), ChatMessage)


def test_a_record_whose_arrival_is_unknown_cannot_be_from_the_future() -> None:
    """Without a reference, only a time that is no time at all is refused."""
    event = CODEC.decode(raw({**CHAT_ROW, "event_time": MAX_TIME}, received=None))
    assert isinstance(event, ChatMessage)


def test_a_value_is_too_large_from_the_first_byte_beyond_the_limit() -> None:
    """The limit itself is still read; what lies beyond is kept whole in the Reject."""
    value = encode_json(MESSAGE)
    assert Codec(max_bytes=len(value)).decode(raw(value)) == MESSAGE
    reject = rejected(Codec(max_bytes=len(value) - 1).decode(raw(value)))
    assert (reject.reason, reject.value) == (RejectReason.TOO_LARGE, value)


def test_a_reject_keeps_the_coordinates_and_the_key() -> None:
    """Whoever reads the dead letters can find the record in the log."""
    record = raw(b"junk", MODERATION, received=17, seq=2)
    reject = rejected(CODEC.decode(record))
    assert (reject.subject, reject.topic, reject.partition, reject.offset, reject.seq) == (MODERATION, *record.at)
    assert (reject.key, reject.received, reject.stage) == (b"u-1", 17, "decode")


def test_a_reject_crosses_a_topic_unchanged() -> None:
    """What decode builds without validation is valid, in Avro and in JSON."""
    for value in (b"\xff\x00", None, b'{"user_id": 1}'):
        reject = rejected(CODEC.decode(raw(value)))
        assert Decoder("reject").decode(Encoder("reject").encode(reject)) == reject
        assert Decoder("reject").decode(encode_json(reject)) == reject


def test_a_rejected_row_is_kept_as_json_with_its_nan() -> None:
    """Orjson would have written null, and hidden what was wrong."""
    reject = rejected(CODEC.decode(raw({"event_time": math.nan, "text": "naïve \ud800"})))
    assert reject.value == '{"event_time":NaN,"text":"naïve \\ud800"}'.encode()


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError


def test_a_row_that_has_no_json_form_is_kept_as_near_as_can_be() -> None:
    """Odd keys, odd values, a row that contains itself, a value that cannot even be shown."""
    circle: dict[str, Any] = {}
    circle["self"] = circle
    for row, kept in (
        ({("a", 1): 2}, b"{('a', 1): 2}"),
        ({"a": b"\xff"}, b'{"a":"b\'\\\\xff\'"}'),
        (circle, b"{'self': {...}}"),
        ({"a": Hostile()}, b"a dict that cannot be shown"),
    ):
        assert rejected(CODEC.decode(raw(row))).value == kept


@pytest.mark.parametrize("value", [7, "text", ["list"], bytearray(b"{}"), object()])
def test_a_value_that_is_neither_bytes_nor_a_mapping_is_refused(value: Any) -> None:
    """A source that hands over the wrong thing is told so, once per record."""
    assert rejected(CODEC.decode(raw(value))).reason is RejectReason.UNKNOWN_FRAMING


@pytest.mark.parametrize("name", ["OurOwnError", "E" * 300])
def test_a_fault_of_ours_is_a_reject_as_well(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The catch-all names the exception's class and nothing else, and no more of it than a detail holds."""
    codec, fault = Codec(), type(name, (Exception,), {})

    def broken(_: object) -> ChatMessage:
        raise fault("with a user's words in it")

    monkeypatch.setitem(codec._validate, CHAT, broken)
    reject = rejected(codec.decode(raw({"a": 1})))
    assert (reject.reason, reject.detail) == (RejectReason.INTERNAL_ERROR, name[:256])


def test_a_record_of_no_known_subject_is_a_reject_as_well() -> None:
    """Not even a source that makes up subjects can raise into the runtime."""
    assert rejected(CODEC.decode(raw(CHAT_ROW, "gossip"))).reason is RejectReason.INTERNAL_ERROR


def test_no_value_of_a_record_reaches_a_detail() -> None:
    """Message text and ids never leave the dataflow, not by way of an error either."""
    secret = "s3cret" * 100
    for name in CHAT_ROW:
        for bad in (secret, {secret: secret}, [secret], [{secret: secret}], [{"scorer": secret, "value": secret}]):
            event = CODEC.decode(raw({**CHAT_ROW, name: bad}))
            if isinstance(event, Reject):
                assert "s3cret" not in event.detail
