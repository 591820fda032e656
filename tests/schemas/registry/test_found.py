"""A schema the registry has: read, kept, or refused because it must not be decoded with."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from confluent_kafka.schema_registry import Schema, SchemaReference

from schemas.codec.inputs import Codec, Decoder, Encoder, RegistrySettings
from schemas.records.base import CHAT
from schemas.records.rejects import RejectReason
from schemas.registry.client import client
from tests.kit.records import MESSAGE, raw, rejected
from tests.kit.scripted_registry import DATUM, NAME, TEXT, CodecOf, Scripted, by_id


def test_what_one_process_writes_to_a_mock_registry_another_codec_reads() -> None:
    """`mock://name` is one registry for everyone who says that name."""
    settings = RegistrySettings(url="mock://shared")
    value = Encoder(CHAT, settings, registered_as=NAME).encode(MESSAGE)
    assert value[0] == 0
    assert Codec(settings).decode(raw(value)) == MESSAGE
    assert Decoder(CHAT, settings).decode(value) == MESSAGE
    other = rejected(Codec(RegistrySettings(url="mock://another")).decode(raw(value)))
    assert other.reason is RejectReason.UNKNOWN_SCHEMA


def test_a_schema_named_by_guid_is_read() -> None:
    """Magic byte 1, as newer clients write."""
    settings = RegistrySettings(url="mock://guid")
    guid = client(settings).register_schema_full_response(NAME, Schema(TEXT, "AVRO")).guid
    assert guid is not None
    assert Codec(settings).decode(raw(b"\x01" + UUID(guid).bytes + DATUM)) == MESSAGE


def test_a_schema_made_of_several_is_read() -> None:
    """The score's type lives in a registry subject of its own."""
    settings = RegistrySettings(url="mock://references")
    outer: dict[str, Any] = json.loads(TEXT)
    scores = next(field for field in outer["fields"] if field["name"] == "scores")
    inner = {**scores["type"]["items"], "namespace": "forewarn"}
    scores["type"]["items"] = "forewarn.ScorerResult"
    client(settings).register_schema("scorer-result", Schema(json.dumps(inner), "AVRO"))
    references = [SchemaReference("forewarn.ScorerResult", "scorer-result", 1)]
    number = client(settings).register_schema(NAME, Schema(json.dumps(outer), "AVRO", references))
    assert Codec(settings).decode(raw(by_id(number))) == MESSAGE
    twice = client(settings).register_schema("twice-value", Schema(json.dumps(outer), "AVRO", references * 2))
    assert Codec(settings).decode(raw(by_id(twice))) == MESSAGE
    lost = client(settings).register_schema(
        NAME, Schema(json.dumps(outer), "AVRO", [SchemaReference("forewarn.ScorerResult", "nowhere", 1)])
    )
    reject = rejected(Codec(settings).decode(raw(by_id(lost))))
    assert reject.detail == f"schema id {lost} refers to a schema that the registry does not have"


@pytest.mark.parametrize(
    ("schema", "kind", "detail"),
    [
        ('{"type": "object"}', "JSON", "is not Avro"),
        ("{", "AVRO", "is not a readable Avro schema"),
        ('"string"', "AVRO", "is not a record"),
        (
            '{"type":"record","name":"A","fields":[{"name":"a","type":["null","A"]}]}',
            "AVRO",
            "is not safe to decode: it contains itself",
        ),
        (
            '{"type":"record","name":"A","fields":[{"name":"a","type":{"type":"array","items":"null"}}]}',
            "AVRO",
            "is not safe to decode: it has an array whose items take no bytes",
        ),
    ],
)
def test_a_registered_schema_that_cannot_or_must_not_be_used_rejects(schema: str, kind: str, detail: str) -> None:
    """Decoding a type that contains itself can end the process, and an array of nothing eats its memory."""
    settings = RegistrySettings(url=f"mock://unusable-{detail}")
    number = client(settings).register_schema(NAME, Schema(schema, kind))
    codec = Codec(settings)
    for datum in (b"\x02" * 500_000, b"\x80" * 8 + b"\x01"):
        reject = rejected(codec.decode(raw(by_id(number, datum))))
        assert (reject.reason, reject.detail) == (RejectReason.UNKNOWN_SCHEMA, f"schema id {number} {detail}")


def test_a_schema_that_unfolds_without_end_rejects() -> None:
    """Twenty types of ten fields each, every one of the next type: 10**20 values from no bytes at all."""
    schema: dict[str, Any] = {"type": "record", "name": "T0", "fields": []}
    for depth in range(1, 21):
        fields = [{"name": "f0", "type": schema}]
        fields += [{"name": f"f{i}", "type": f"T{depth - 1}"} for i in range(1, 10)]
        schema = {"type": "record", "name": f"T{depth}", "fields": fields}
    settings = RegistrySettings(url="mock://unfolds")
    number = client(settings).register_schema(NAME, Schema(json.dumps(schema), "AVRO"))
    reject = rejected(Codec(settings).decode(raw(by_id(number, b""))))
    assert reject.detail == f"schema id {number} is not safe to decode: it unfolds into more than 10000 types"


def test_the_schemas_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever owns a registry of many schemas can name them all; each is read, and few are kept."""
    monkeypatch.setattr("schemas.codec.framing._REMEMBERED", 2)
    settings = RegistrySettings(url="mock://bounded")
    codec = Codec(settings)
    for n in range(5):
        number = client(settings).register_schema(f"{n}-value", Schema(TEXT.replace("The author,", f"{n},"), "AVRO"))
        assert codec.decode(raw(by_id(number))) == MESSAGE
    assert len(codec._framing[CHAT].__self__._by_key) <= 2


def test_a_known_id_is_asked_for_and_parsed_once(
    registry: Scripted, codec_of: CodecOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an id means never changes, and to parse a schema costs a hundred records."""
    registry.put("GET /schemas/ids/7", 200, {"schema": TEXT})
    codec = codec_of(registry.settings)
    lookups = codec._registry
    assert lookups is not None
    looked_up: list[int | UUID] = []
    writer = lookups.writer
    monkeypatch.setattr(lookups, "writer", lambda key: (looked_up.append(key), writer(key))[1])
    assert {codec.decode(raw(by_id(7))) == MESSAGE for _ in range(10)} == {True}
    assert (looked_up, registry.asked) == ([7], ["GET /schemas/ids/7"])
