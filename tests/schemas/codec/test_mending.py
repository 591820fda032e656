"""An optional part never costs the record: it is left out, clipped or replaced, and counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from math import inf, nan
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_writer
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec.framing import SINGLE_OBJECT
from schemas.codec.inputs import Codec
from schemas.records.base import CHAT, MODERATION, Subject
from schemas.records.events import ChatMessage, ModerationEvent
from schemas.records.mending import LOOKED_AT, PARTS, optional_part
from schemas.records.rejects import RejectReason
from schemas.released.catalogue import released
from tests.kit.records import CHAT_ROW, LAWFUL, NOON, SANCTION_ROW, raw, rejected
from tests.schemas.codec.test_evolution import CODEC as EVOLVED
from tests.schemas.codec.test_evolution import frame, plain, with_fields

RESULT = {"scorer": "s", "version": "1", "value": 0.5}
CHAT_MENDINGS: dict[str, tuple[str, Any, Any]] = {
    "a text that is a number": ("text", 7, None),
    "a text with half a surrogate pair": ("text", "so \ud83d", "so \ufffd"),
    "a text with the other half": ("text", "\ude00 so", "\ufffd so"),
    "a text that is over-long": ("text", "x" * 65_537, "x" * 65_536),
    "an over-long text of emoji": ("text", "🙂" * 65_537, "🙂" * 65_536),
    "recipients that are null": ("recipients", None, ()),
    "recipients that are a text": ("recipients", "u-2", ()),
    "recipients with a null": ("recipients", ["u-2", None, "u-3"], ("u-2", "u-3")),
    "recipients with an empty id": ("recipients", ["", "u-3"], ("u-3",)),
    "recipients with an over-long id": ("recipients", ["u" * 257, "u-3"], ("u-3",)),
    "recipients with half a surrogate pair": ("recipients", ["u\ud800", "u-3"], ("u-3",)),
    "too many recipients": ("recipients", [f"u-{n}" for n in range(1_025)], tuple(f"u-{n}" for n in range(1_024))),
    "too many recipients after a null": (
        "recipients",
        [None, *(f"u-{n}" for n in range(1_025))],
        tuple(f"u-{n}" for n in range(1_024)),
    ),
    "scores that are null": ("scores", None, []),
    "scores that are an object": ("scores", {"s": 1}, []),
    "scores with a null": ("scores", [None, RESULT], [0.5]),
    "a score just above one": ("scores", [{**RESULT, "value": 1.00000536}], [1.0]),
    "a score just below zero": ("scores", [{**RESULT, "value": -1e-7}], [0.0]),
    "a score at the tolerance": ("scores", [{**RESULT, "value": 1.0001}], [1.0]),
    "a score beyond it": ("scores", [{**RESULT, "value": 1.00011}, RESULT], [0.5]),
    "a score of 40": ("scores", [{**RESULT, "value": 40}], []),
    "a score that is not a number": ("scores", [{**RESULT, "value": nan}, RESULT], [0.5]),
    "a score without bound": ("scores", [{**RESULT, "value": inf}], []),
    "a score that is null": ("scores", [{**RESULT, "value": None}], []),
    "a score without a version": ("scores", [{"scorer": "s", "value": 0.5}, RESULT], [0.5]),
    "too many scores": ("scores", [{**RESULT, "value": n / 100} for n in range(65)], [n / 100 for n in range(64)]),
    "a locale that is over-long": ("locale", "x" * 36, None),
    "a locale that is a list": ("locale", ["en"], None),
    "an age band that is a number": ("age_band", 13, None),
}
SANCTION = SANCTION_ROW["sanction"]
MODERATION_MENDINGS: dict[str, tuple[str, Any, Any]] = {
    "an empty reporter": ("report.reporter_id", {"reporter_id": ""}, None),
    "a reporter that is a number": ("report.reporter_id", {"reporter_id": 5}, None),
    "an over-long category": ("report.category", {"category": "c" * 129}, None),
    "a channel of half a pair": ("report.channel", {"channel": "\ud800"}, None),
    "a message id that is an object": ("report.message_id", {"message_id": {}}, None),
    "a source nobody knows": ("sanction.source", {**SANCTION, "source": "crowd"}, "unknown"),
    "a source that is null": ("sanction.source", {**SANCTION, "source": None}, "unknown"),
    "an over-long reason": ("reversal.reason", {"sanction_id": "s", "reason": "r" * 129}, None),
}


def as_mapping(row: dict[str, Any]) -> Any:
    """The row as a log's mapping hands it on."""
    return row


def as_json(row: dict[str, Any]) -> bytes:
    """The row as a producer writes it who escapes what is no ASCII, and says NaN."""
    return json.dumps(row).encode()


def as_json_behind_a_mark(row: dict[str, Any]) -> bytes:
    """The row as JSON with a byte order mark and white space before it."""
    return b"\xef\xbb\xbf \n" + json.dumps(row).encode()


def as_json_of_bytes(row: dict[str, Any]) -> bytes:
    """The row as JSON in which half a surrogate pair is the bytes that UTF-8 does not allow for it."""
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("framed", [as_mapping, as_json, as_json_behind_a_mark, as_json_of_bytes])
@pytest.mark.parametrize("name", CHAT_MENDINGS)
def test_a_chat_message_is_kept_without_a_part_that_cannot_be_taken(name: str, framed: Callable[..., Any]) -> None:
    """Only the part differs from the message without the fault, and only it is counted, however it came."""
    part, given_, wanted = CHAT_MENDINGS[name]
    codec = Codec()
    event = codec.decode(raw(framed({**CHAT_ROW, part: given_})))
    assert isinstance(event, ChatMessage), event
    found = [score.value for score in event.scores] if part == "scores" else getattr(event, part)
    if framed is as_json_of_bytes and isinstance(wanted, str):
        found = found.replace("\ufffd" * 3, "\ufffd")  # a half is three bytes, none of which is UTF-8
    assert found == wanted
    whole = ChatMessage.model_validate(CHAT_ROW).model_dump(exclude={part})
    assert event.model_dump(exclude={part}) == whole
    assert codec.take_mended() == {f"chat_message.{part}": 1}
    assert codec.take_mended() == {}


@pytest.mark.parametrize("framed", [as_mapping, as_json])
@pytest.mark.parametrize("name", MODERATION_MENDINGS)
def test_a_moderation_event_is_kept_without_a_part_that_cannot_be_taken(name: str, framed: Callable[..., Any]) -> None:
    """Inside the detail of every kind that has an optional part."""
    part, detail, wanted = MODERATION_MENDINGS[name]
    kind, _, inner = part.partition(".")
    codec = Codec()
    row = {"event_id": "x", "event_time": NOON, "user_id": "u", "kind": kind, kind: detail}
    event = codec.decode(raw(framed(row), MODERATION))
    assert isinstance(event, ModerationEvent), event
    assert getattr(getattr(event, kind), inner) == wanted
    assert codec.take_mended() == {f"moderation_event.{part}": 1}


def test_every_optional_part_has_a_mending_that_is_tried_here() -> None:
    """Parts come from the records themselves, so that a new one cannot be forgotten."""
    assert PARTS[CHAT] == {part for part, _, _ in CHAT_MENDINGS.values()}
    assert PARTS[MODERATION] == {part for part, _, _ in MODERATION_MENDINGS.values()}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"user_id": "u\ud800"}, RejectReason.INVALID_UTF8),
        ({"user_id": None}, RejectReason.INVALID_FIELD),
        ({"user_id": "u" * 257}, RejectReason.INVALID_FIELD),
        ({"event_id": 5}, RejectReason.INVALID_FIELD),
        ({"event_time": nan}, RejectReason.NON_FINITE_NUMBER),
        ({"event_time": None}, RejectReason.INVALID_FIELD),
        ({"channel": "c" * 129}, RejectReason.INVALID_FIELD),
    ],
)
def test_a_mandatory_field_is_never_mended(change: dict[str, Any], reason: RejectReason) -> None:
    """Not even beside a part that could be, which is not counted then."""
    codec = Codec()
    assert rejected(codec.decode(raw({**CHAT_ROW, **change}))).reason is reason
    assert isinstance(rejected(codec.decode(raw({**CHAT_ROW, **change, "recipients": None}))).reason, RejectReason)
    assert codec.take_mended() == {}


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "report", "report": None},
        {"kind": "report", "report": "spam"},
        {"kind": "sanction", "sanction": {"action": "ban", "severity": 9, "policy": "p", "source": "crowd"}},
        {"kind": "sanction", "sanction": {"action": "slap", "severity": 1, "policy": "p"}},
        {"kind": "exposure", "exposure": {"intervention": "i", "arm": "a", "probability": nan}},
        {"kind": "erasure", "report": {"category": 5}},
        {"kind": "praise"},
    ],
)
def test_what_a_kind_needs_is_never_mended(change: dict[str, Any]) -> None:
    """A detail is what the event is, so that without it there is none."""
    codec = Codec()
    rejected(codec.decode(raw({"event_id": "x", "event_time": NOON, "user_id": "u", **change}, MODERATION)))
    assert codec.take_mended() == {}


@pytest.mark.parametrize(
    ("change", "datum", "part"),
    [
        ({"text": "bytes"}, {"text": b"so \xff"}, "text"),
        ({"text": "int"}, {"text": 5}, "text"),
        ({"locale": ["null", "boolean"]}, {"locale": True}, "locale"),
        ({"recipients": ["null", {"type": "array", "items": "string"}]}, {"recipients": None}, "recipients"),
        ({"recipients": {"type": "array", "items": ["null", "string"]}}, {"recipients": ["u", None]}, "recipients"),
        ({"recipients": "string"}, {"recipients": "u-2,u-3"}, "recipients"),
        ({"scores": ["null", "double"]}, {"scores": 0.5}, "scores"),
        ({}, {"scores": [{"scorer": "s", "version": "1", "value": 1.0000001}]}, "scores"),
        ({}, {"recipients": [f"u-{n}" for n in range(1_025)]}, "recipients"),
    ],
)
def test_avro_is_mended_alike(change: dict[str, Any], datum: dict[str, Any], part: str) -> None:
    """What a writer's schema says of an optional part does not cost the record either."""
    EVOLVED.take_mended()
    event = EVOLVED.decode(raw(frame(with_fields(plain(CHAT), **change), {**CHAT_ROW, **datum})))
    assert isinstance(event, ChatMessage), event
    assert (event.user_id, event.event_time) == ("u-1", NOON)
    assert EVOLVED.take_mended() == {f"chat_message.{part}": 1}


def test_an_avro_string_that_is_not_utf8_costs_the_part_it_is_in() -> None:
    """And the record where the part is its user."""
    schema = parse_schema(released().schema(CHAT))
    codec = Codec()
    for broken, kept in (("gg, na", True), ("u-1", False)):
        stream = BytesIO()
        stream.write(SINGLE_OBJECT + released().fingerprint(CHAT, 1))
        schemaless_writer(stream, schema, CHAT_ROW)
        value = stream.getvalue().replace(broken.encode(), b"\xff" * len(broken), 1)
        event = codec.decode(raw(value))
        if kept:
            assert isinstance(event, ChatMessage)
            assert event.text == "\ufffd" * 6 + "ïve 🙂"
        else:
            assert rejected(event).reason is RejectReason.INVALID_UTF8
    assert codec.take_mended() == {"chat_message.text": 1}


def test_of_a_list_of_refused_entries_only_the_first_are_looked_at() -> None:
    """Whoever fills the largest record with nulls does not hold up the partition."""
    first, last = ["u-2", *([None] * 100)], ["u-3"]
    codec = Codec()
    near = codec.decode(raw({**CHAT_ROW, "recipients": [*first, *last]}))
    far = codec.decode(raw({**CHAT_ROW, "recipients": [*first, *([None] * LOOKED_AT), *last]}))
    assert isinstance(near, ChatMessage)
    assert isinstance(far, ChatMessage)
    assert (near.recipients, far.recipients) == (("u-2", "u-3"), ("u-2",))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=6,
)


@LAWFUL
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(sorted(PARTS[CHAT]), anything)))
def test_no_value_of_an_optional_part_costs_a_chat_message(parts: dict[str, Any]) -> None:
    """Whatever type it has, and however deep it is."""
    event = Codec().decode(raw({"event_id": "e", "event_time": NOON, "user_id": "u", "channel": "c", **parts}))
    assert isinstance(event, ChatMessage)


@LAWFUL
@given(st.sampled_from(sorted(PARTS[MODERATION])), anything)
def test_no_value_of_an_optional_part_costs_a_moderation_event(part: str, value: Any) -> None:
    """Of whatever kind."""
    kind, _, inner = part.partition(".")
    needed: dict[str, Any] = {"sanction": SANCTION_ROW["sanction"], "reversal": {"sanction_id": "s"}, "report": {}}
    row = {"event_id": "e", "event_time": NOON, "user_id": "u", "kind": kind, kind: {**needed[kind], inner: value}}
    subject: Subject = MODERATION
    assert isinstance(Codec().decode(raw(row, subject)), ModerationEvent)


def test_a_row_that_is_mended_is_not_changed() -> None:
    """A log's mapping may still be needed as it was, for a Reject or for another reader."""
    row = {**CHAT_ROW, "recipients": None, "scores": [{**RESULT, "value": 1.0000001}]}
    before = json.dumps(row)
    Codec().decode(raw(row))
    assert json.dumps(row) == before
    assert optional_part(CHAT, "scores.0.value") == "scores"
    assert optional_part(MODERATION, "report") is None
