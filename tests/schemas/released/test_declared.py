"""What a writer's schema declares of a number decides its value: units of time, dates, and what is no id."""

from __future__ import annotations

from io import BytesIO
from typing import Any
from uuid import UUID

import orjson
import pytest
from confluent_kafka.schema_registry import Schema
from fastavro import parse_schema, schemaless_writer

from schemas.codec.inputs import Codec
from schemas.records.base import CHAT, Position, Raw
from schemas.records.events import ChatMessage
from schemas.records.rejects import RejectReason
from schemas.registry.client import client
from schemas.registry.settings import RegistrySettings
from tests.kit.records import MESSAGE, NOON, rejected

WHERE = RegistrySettings(url="mock://declared")
CODEC = Codec(WHERE)


def logical(kind: str, logical_type: str, **more: Any) -> dict[str, Any]:
    """A type with a logical type."""
    return {"type": kind, "logicalType": logical_type, **more}


def decoded(
    fields: dict[str, Any], datum: dict[str, Any], *, header: bool = False, of_field: dict[str, Any] | None = None
) -> Any:
    """What becomes of a datum that a writer with these types of fields wrote, named in the value or in a header.

    `of_field` stands beside the type of `event_time`.
    """
    types = {"event_id": "string", "event_time": "long", "user_id": "string", "channel": "string", **fields}
    schema = {
        "type": "record",
        "name": "ChatMessage",
        "namespace": "forewarn",
        "fields": [
            {"name": name, "type": kind, **((of_field or {}) if name == "event_time" else {})}
            for name, kind in types.items()
        ],
    }
    stream = BytesIO()
    row = {"event_id": "m-1", "event_time": NOON, "user_id": "u-1", "channel": "lobby", **datum}
    schemaless_writer(stream, parse_schema(orjson.loads(orjson.dumps(stripped(schema)))), row)
    registered = client(WHERE).register_schema_full_response("declared", Schema(orjson.dumps(schema).decode(), "AVRO"))
    if header:
        named = b"\x01" + UUID(registered.guid).bytes
        return CODEC.decode(Raw(CHAT, stream.getvalue(), None, Position("t", 0, 0, 0), None, named))
    framed = b"\x00" + int(registered.schema_id).to_bytes(4) + stream.getvalue()
    return CODEC.decode(Raw(CHAT, framed, None, Position("t", 0, 0, 0), None))


def stripped(schema: Any) -> Any:
    """The schema without logical types, so that the writer here takes plain numbers."""
    if isinstance(schema, list):
        return [stripped(one) for one in schema]
    if isinstance(schema, dict) and isinstance(schema.get("type"), dict) and "name" not in schema:
        return stripped(schema["type"])
    if isinstance(schema, dict):
        return {key: stripped(value) for key, value in schema.items() if key != "logicalType"}
    return schema


@pytest.mark.parametrize(
    ("declared", "stated"),
    [
        (logical("long", "timestamp-millis"), NOON),
        (logical("long", "timestamp-micros"), NOON * 1_000 + 999),
        (logical("long", "timestamp-nanos"), NOON * 1_000_000 + 999_999),
        (logical("long", "local-timestamp-millis"), NOON),
        (logical("long", "local-timestamp-micros"), NOON * 1_000),
        (logical("long", "local-timestamp-nanos"), NOON * 1_000_000),
        (["null", logical("long", "timestamp-micros")], NOON * 1_000),
        ([logical("long", "timestamp-nanos"), "null"], NOON * 1_000_000),
        ({"type": logical("long", "timestamp-micros")}, NOON * 1_000),
        ({"type": "long", "connect.name": "io.debezium.time.MicroTimestamp", "connect.version": 1}, NOON * 1_000),
        (["null", {"type": "long", "connect.name": "io.debezium.time.NanoTimestamp"}], NOON * 1_000_000),
        ({"type": "long", "connect.name": "io.debezium.time.Timestamp"}, NOON),
        (logical("long", "stardate"), NOON),
    ],
)
@pytest.mark.parametrize("header", [False, True])
def test_a_time_is_read_in_the_unit_it_is_declared_in(declared: Any, stated: int, *, header: bool) -> None:
    """Alone, nullable or nested, by Avro or by Debezium; a name that nobody knows says nothing."""
    event = decoded({"event_time": declared}, {"event_time": stated}, header=header)
    assert isinstance(event, ChatMessage), event
    assert event.event_time == NOON


@pytest.mark.parametrize(
    ("field", "declared", "stated", "named"),
    [
        ("event_time", logical("int", "date"), 20_454, "date"),
        ("event_time", ["null", logical("int", "date")], 20_454, "date"),
        ("event_time", logical("int", "time-millis"), 43_200_000, "time-millis"),
        ("event_time", logical("long", "time-micros"), 43_200_000_000, "time-micros"),
        ("event_time", {"type": "int", "connect.name": "io.debezium.time.Date"}, 20_454, "date"),
        ("event_time", {"type": "long", "connect.name": "io.debezium.time.NanoTime"}, 5, "time-nanos"),
        ("event_time", logical("bytes", "decimal", precision=20), b"\x01", "decimal"),
        ("event_time", logical("string", "uuid"), str(UUID(int=5)), "uuid"),
        ("user_id", logical("bytes", "decimal", precision=9, scale=0), b"ann", "decimal"),
        ("event_id", ["null", logical("bytes", "decimal", precision=9)], b"e1", "decimal"),
        ("user_id", logical("fixed", "decimal", name="Cents", size=4, precision=9), bytes(4), "decimal"),
        ("user_id", logical("fixed", "duration", name="Span", size=12), bytes(12), "duration"),
    ],
)
def test_what_is_declared_another_thing_is_an_unknown_schema(
    field: str, declared: Any, stated: Any, named: str
) -> None:
    """The detail names the field and the type, because only the writer can say what it meant."""
    reject = rejected(decoded({field: declared}, {field: stated}))
    assert reject.reason is RejectReason.UNKNOWN_SCHEMA
    assert f"{field} is declared a {named}" in reject.detail


def test_a_union_of_times_in_different_units_is_an_unknown_schema() -> None:
    """Which branch was written is gone by the time the number is read."""
    reject = rejected(decoded({"event_time": ["int", logical("long", "timestamp-micros")]}, {}))
    assert reject.reason is RejectReason.UNKNOWN_SCHEMA
    assert "event_time is a union of times in different units" in reject.detail


def test_a_logical_type_that_stands_beside_the_type_is_meant() -> None:
    """A common mistake of writers: Avro ignores it there, and the numbers are what it says all the same."""
    micros = {"logicalType": "timestamp-micros"}
    assert decoded({}, {"event_time": NOON * 1_000}, of_field=micros).event_time == NOON
    nullable = decoded({"event_time": ["null", "long"]}, {"event_time": NOON * 1_000}, of_field=micros)
    assert nullable.event_time == NOON
    assert rejected(decoded({"event_time": "int"}, {"event_time": 5}, of_field={"logicalType": "date"}))


def test_ids_may_be_uuids_and_utf8_bytes() -> None:
    """A UUID in a string is the string, and bytes are promoted to one as Avro has it."""
    event = decoded({"event_id": logical("string", "uuid"), "user_id": "bytes"}, {"event_id": "6f", "user_id": b"ann"})
    assert (event.event_id, event.user_id) == ("6f", "ann")


def headed(value: bytes, header: bytes, codec: Codec = CODEC) -> Any:
    """What becomes of a value whose record has such a header."""
    return codec.decode(Raw(CHAT, value, None, Position("t", 0, 0, 0), None, header))


def test_a_json_value_beside_a_schema_header_is_json() -> None:
    """Serialisers of JSON name their schema in the header too, and no registry is needed to read JSON."""
    value = MESSAGE.model_dump_json().encode()
    full = client(WHERE).register_schema_full_response("json", Schema('{"type": "object"}', "JSON"))
    assert headed(value, b"\x01" + UUID(full.guid).bytes) == MESSAGE
    assert headed(value, b"\x01" + bytes(16)) == MESSAGE
    assert headed(b"\xef\xbb\xbf" + value, b"\x01" + bytes(16), Codec()) == MESSAGE


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"", RejectReason.UNKNOWN_FRAMING),
        (b"\x01", RejectReason.UNKNOWN_FRAMING),
        (b"\x02" + bytes(16), RejectReason.UNKNOWN_FRAMING),
        (b"\x01" + bytes(17), RejectReason.UNKNOWN_FRAMING),
        (b"\x01" + bytes(range(16)), RejectReason.UNKNOWN_SCHEMA),
        (b"\x00\x00\x0f\x42\x40", RejectReason.UNKNOWN_SCHEMA),
    ],
)
def test_a_header_that_names_no_schema_is_a_reject_that_keeps_it(header: bytes, reason: RejectReason) -> None:
    """With the header, so that a redrive can send the record again as it was."""
    for codec in (CODEC, Codec()):
        reject = rejected(headed(b"\x06m-1", header, codec))
        assert (reject.reason, reject.schema_header) == (reason, header)
