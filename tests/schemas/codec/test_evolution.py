"""Writers older and newer than ourselves are read, with a registry and without."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import orjson
import pytest

from schemas.codec.framing import SINGLE_OBJECT
from schemas.codec.inputs import Codec, Encoder, RegistrySettings
from schemas.records.base import CHAT, MODERATION, Subject
from schemas.records.rejects import RejectReason
from schemas.registry import connect
from schemas.released.catalogue import released
from schemas.released.datum import bare
from tests.kit.records import (
    CHAT_ROW,
    MESSAGE,
    NOON,
    SANCTION,
    SANCTION_ROW,
    copy_of_released,
    raw,
    rejected,
    release,
)

REGISTRY = RegistrySettings(url="mock://evolution")
CODEC = Codec(REGISTRY)


def plain(subject: str) -> dict[str, Any]:
    """A released schema as a writer of our topics might have copied it."""
    found: dict[str, Any] = orjson.loads(released().text(subject, 1))
    return found


def with_fields(schema: dict[str, Any], **types: Any) -> dict[str, Any]:
    """The schema with the types of some fields replaced."""
    fields = [{**field, "type": types.get(field["name"], field["type"])} for field in schema["fields"]]
    return {**schema, "fields": fields}


def frame(schema: dict[str, Any], row: dict[str, Any], *, prefix: bytes | None = None) -> bytes:
    """The row as a writer with this schema frames it: registered, unless another prefix is given."""
    if prefix is None:
        number = connect(REGISTRY).register("chat.messages-value", orjson.dumps(schema).decode())
        prefix = b"\x00" + number.to_bytes(4, "big")
    stream, parsed = BytesIO(prefix), fastavro.parse_schema(bare(schema))
    stream.seek(len(prefix))
    fastavro.schemaless_writer(stream, parsed, row)
    return stream.getvalue()


def test_an_older_writer_leaves_what_it_does_not_know_at_its_default() -> None:
    """A writer from before recipients, scores and age bands."""
    older = plain(CHAT)
    older["fields"] = [f for f in older["fields"] if f["name"] not in {"recipients", "scores", "age_band"}]
    expected = MESSAGE.model_copy(update={"recipients": (), "scores": (), "age_band": None})
    assert CODEC.decode(raw(frame(older, CHAT_ROW))) == expected


def test_a_newer_writer_may_say_more_than_we_know() -> None:
    """Its new fields are skipped, wherever they stand, in the record or in a list within."""
    newer = plain(CHAT)
    extra = {"name": "mood", "type": ["null", {"type": "map", "values": "double"}], "default": None}
    newer["fields"] = [extra, *newer["fields"], {**extra, "name": "thread", "type": ["null", "string"]}]
    scores = next(field for field in newer["fields"] if field["name"] == "scores")
    scores["type"]["items"]["fields"].insert(0, {"name": "device", "type": "string", "default": ""})
    row = {**CHAT_ROW, "mood": {"calm": 0.5}, "thread": "t-1", "scores": [{**CHAT_ROW["scores"][0], "device": "edge"}]}
    assert CODEC.decode(raw(frame(newer, row))) == MESSAGE


@pytest.mark.parametrize(
    "types",
    [
        {"event_time": {"type": "long", "logicalType": "timestamp-millis"}},
        {"user_id": {"type": "string", "logicalType": "uuid"}},
        {"user_id": {"type": "string", "avro.java.string": "String"}},
        {"text": "string"},
        {"text": ["string", "null"]},
        {"channel": {"type": "enum", "name": "Channel", "symbols": ["lobby", "arena"]}},
    ],
)
def test_other_peoples_ways_to_write_the_same_are_read(types: dict[str, Any]) -> None:
    """Logical types, JVM hints, defaults that do not fit, unions in another order; but an enum is no Avro string."""
    event = CODEC.decode(raw(frame(with_fields(plain(CHAT), **types), CHAT_ROW)))
    if "channel" in types:
        reject = rejected(event)
        assert reject.reason is RejectReason.UNKNOWN_SCHEMA
        assert reject.detail.endswith("cannot be read as forewarn.ChatMessage: channel")
    else:
        assert event == MESSAGE


def test_a_writer_may_use_its_own_namespace_and_fewer_words() -> None:
    """Records are one by their unqualified name; docs do not matter."""
    schema: dict[str, Any] = orjson.loads(
        orjson.dumps({**plain(CHAT), "namespace": "com.example.chat"}).replace(b'"doc"', b'"note"')
    )
    assert CODEC.decode(raw(frame(schema, CHAT_ROW))) == MESSAGE


def test_numbers_are_promoted() -> None:
    """A time written as int and a score written as float are read as what we hold."""
    schema = with_fields(plain(CHAT), event_time="int")
    assert CODEC.decode(raw(frame(schema, {**CHAT_ROW, "event_time": 5}))) == MESSAGE.model_copy(
        update={"event_time": 5}
    )


def test_a_writer_without_a_field_we_need_is_told_which() -> None:
    """Every record of that writer lacks it, and says so."""
    schema = plain(CHAT)
    schema["fields"] = [field for field in schema["fields"] if field["name"] != "user_id"]
    reject = rejected(CODEC.decode(raw(frame(schema, CHAT_ROW))))
    assert reject.reason is RejectReason.MISSING_FIELD
    assert reject.detail.startswith("user_id: schema id ")


def test_a_writer_of_something_else_is_told_so() -> None:
    """A payments schema on the chat topic has no field of ours in the wrong place: it is another record."""
    schema = {"type": "record", "name": "Payment", "fields": [{"name": "amount", "type": "long"}]}
    assert rejected(CODEC.decode(raw(frame(schema, {"amount": 1})))).reason is RejectReason.UNKNOWN_SCHEMA


@pytest.mark.parametrize(("subject", "row"), [(CHAT, CHAT_ROW), (MODERATION, SANCTION_ROW)])
def test_every_released_version_is_read_without_a_registry(
    subject: Subject, row: dict[str, Any], tmp_path: Path
) -> None:
    """A distribution that knows v2 reads v1 frames and v2 frames alike."""
    second = plain(subject)
    second["fields"].append({"name": "region", "type": ["null", "string"], "default": None, "doc": "Where."})
    catalogue = release(copy_of_released(tmp_path), subject, 2, second)
    codec, expected = Codec(catalogue=catalogue), MESSAGE if subject == CHAT else SANCTION
    newer = frame(second, {**row, "region": "eu"}, prefix=SINGLE_OBJECT + catalogue.fingerprint(subject, 2))
    assert codec.decode(raw(newer, subject, received=NOON)) == expected
    assert codec.decode(raw(Encoder(subject).encode(expected), subject, received=NOON)) == expected
    # And one that knows only v1 says that it does not know v2, rather than misread it.
    assert rejected(Codec().decode(raw(newer, subject))).reason is RejectReason.UNKNOWN_SCHEMA
