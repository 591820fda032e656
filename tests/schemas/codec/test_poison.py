"""Poison cannot stop it: any bytes, however damaged, end as an Event or a Reject, and their neighbours are unharmed."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.codec.framing import SINGLE_OBJECT
from schemas.codec.inputs import Codec, Encoder, RegistrySettings, encode_json
from schemas.records.base import CHAT, MODERATION, Subject
from schemas.records.events import ChatMessage, ModerationEvent
from schemas.records.rejects import Reject, RejectReason
from schemas.released.catalogue import released
from tests.kit.records import CHAT_ROW, LAWFUL, MESSAGE, NOON, SANCTION, SANCTION_ROW, raw, rejected

REGISTRY = RegistrySettings(url="mock://poison")
CODEC = Codec(REGISTRY)
RECORDS: list[tuple[Subject, ChatMessage | ModerationEvent]] = [(CHAT, MESSAGE), (MODERATION, SANCTION)]
FRAMES: list[tuple[Subject, ChatMessage | ModerationEvent, bytes]] = [
    *((subject, record, Encoder(subject).encode(record)) for subject, record in RECORDS),
    *((s, record, Encoder(s, REGISTRY, registered_as=f"{s}-value").encode(record)) for s, record in RECORDS),
    *((subject, record, encode_json(record)) for subject, record in RECORDS),
]
HEADERS = [
    b"",
    b"{",
    b"\x00",
    b"\x00\x00\x00\x00\x01",
    b"\x01",
    SINGLE_OBJECT,
    *(SINGLE_OBJECT + released().fingerprint(subject, 1) for subject in (CHAT, MODERATION)),
]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
ROWS = st.sampled_from([CHAT_ROW, SANCTION_ROW]).flatmap(
    lambda row: st.dictionaries(st.sampled_from(sorted(row)), ANYTHING, max_size=3).map(
        lambda change: {**row, **change}
    )
)


def is_event_or_reject(subject: Subject, value: Any, received: int | None = None) -> bool:
    event = CODEC.decode(raw(value, subject, received=received))
    if isinstance(event, Reject):
        # Built without validation, so its own promises are checked here: closed reason, short detail, original bytes.
        assert Reject.model_validate(event.model_dump()) == event
        assert event.reason is not RejectReason.INTERNAL_ERROR
        return not isinstance(value, bytes) or event.value == value
    return isinstance(event, ChatMessage if subject == CHAT else ModerationEvent)


@LAWFUL
@given(st.sampled_from([CHAT, MODERATION]), st.sampled_from(HEADERS), st.binary(max_size=400))
def test_any_bytes_end_as_an_event_or_a_reject(subject: Subject, header: bytes, rest: bytes) -> None:
    """Behind every header that makes the codec read on."""
    assert is_event_or_reject(subject, header + rest)


@LAWFUL
@given(st.sampled_from([CHAT, MODERATION]), ANYTHING | ROWS, st.none() | st.integers())
def test_any_row_ends_as_an_event_or_a_reject(subject: Subject, row: Any, received: int | None) -> None:
    """Whatever a log row was turned into, and whenever it is said to have arrived."""
    assert is_event_or_reject(subject, row, received)


@LAWFUL
@given(st.sampled_from(FRAMES), st.data())
def test_every_bit_flip_ends_as_an_event_or_a_reject(
    frame: tuple[Subject, ChatMessage | ModerationEvent, bytes], data: st.DataObject
) -> None:
    """Damage that leaves most of a frame whole."""
    subject, _, value = frame
    damaged = bytearray(value)
    for bit in data.draw(st.lists(st.integers(0, 8 * len(value) - 1), min_size=1, max_size=4)):
        damaged[bit // 8] ^= 1 << bit % 8
    assert is_event_or_reject(subject, bytes(damaged))


def test_every_cut_of_an_avro_frame_is_truncated() -> None:
    """At every byte: a shorter frame is never read as another record."""
    for subject, _, value in FRAMES[:4]:
        for end in range(1, len(value)):
            assert rejected(CODEC.decode(raw(value[:end], subject))).reason is RejectReason.TRUNCATED


def test_every_cut_of_a_json_record_is_refused() -> None:
    """At every byte, also inside a character of several."""
    for subject, _, value in FRAMES[4:]:
        reasons = {rejected(CODEC.decode(raw(value[:end], subject))).reason for end in range(1, len(value))}
        assert reasons <= {RejectReason.MALFORMED_JSON, RejectReason.INVALID_UTF8}


@LAWFUL
@given(st.sampled_from(FRAMES[:4]), st.binary(min_size=1, max_size=20))
def test_bytes_after_an_avro_datum_are_malformed(
    frame: tuple[Subject, ChatMessage | ModerationEvent, bytes], rest: bytes
) -> None:
    """What is left over means that the datum was not what its header says."""
    subject, _, value = frame
    assert rejected(CODEC.decode(raw(value + rest, subject))).reason is RejectReason.MALFORMED_AVRO


def test_an_avro_string_that_is_not_utf8_is_invalid_utf8() -> None:
    """The first byte of the first string is made one that UTF-8 never has."""
    value = FRAMES[0][2].replace(b"m-1", b"\xff-1")
    assert rejected(CODEC.decode(raw(value))).reason is RejectReason.INVALID_UTF8


def test_lengths_that_promise_the_world_cost_nothing() -> None:
    """Strings and arrays said to be of 2**62 items, and of negative length, are refused at once."""
    header = SINGLE_OBJECT + released().fingerprint(CHAT, 1)
    for length in (b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x03", b"\x80" * 9 + b"\x01", b"\xff" * 30):
        ids = b"\x02a\x00\x02u\x02c\x00"
        for datum in (length, ids + length, ids + length + b"\x02a" * 5, length + b"a" * 100):
            assert isinstance(CODEC.decode(raw(header + datum)), Reject)


@LAWFUL
@given(st.lists(st.sampled_from(FRAMES) | st.binary(max_size=60), max_size=20))
def test_good_records_among_bad_ones_are_unharmed(
    stream: list[tuple[Subject, ChatMessage | ModerationEvent, bytes] | bytes],
) -> None:
    """No poison leaves anything behind in the codec that changes the next record."""
    codec = Codec(REGISTRY)
    for seq, item in enumerate(stream):
        if isinstance(item, bytes):
            codec.decode(raw(item, seq=seq))
        else:
            subject, record, value = item
            assert codec.decode(raw(value, subject, received=NOON, seq=seq)) == record
