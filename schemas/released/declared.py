"""Logical types of a writer's schema: time units, and types that are neither a time nor an id.

Avro states a logical type as `logicalType`; Debezium and Kafka Connect state it as the `connect.name` of a plain type.
It decides what a number means: the value of a `timestamp-micros` is a thousand times that of the same
`timestamp-millis`, and a `date` counts days. Unknown names are ignored, as the Avro specification (1.12) requires.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastavro.schema import expand_schema

from schemas.released.catalogue import AvroSchema

TIMES = frozenset({"event_time"})
"""Fields of input records that are a time in milliseconds."""

PER_MILLISECOND = {
    "timestamp-millis": 1,
    "timestamp-micros": 1_000,
    "timestamp-nanos": 1_000_000,
    "local-timestamp-millis": 1,
    "local-timestamp-micros": 1_000,
    "local-timestamp-nanos": 1_000_000,
}
"""Accepted units of a time, and how many of each make a millisecond. A local time is taken as UTC."""

_LOGICAL = {
    *PER_MILLISECOND,
    *("date", "time-millis", "time-micros", "decimal", "big-decimal", "duration", "uuid"),
}
_CONNECT = {
    "org.apache.kafka.connect.data.Timestamp": "timestamp-millis",
    "org.apache.kafka.connect.data.Date": "date",
    "org.apache.kafka.connect.data.Time": "time-millis",
    "org.apache.kafka.connect.data.Decimal": "decimal",
    "io.debezium.time.Timestamp": "timestamp-millis",
    "io.debezium.time.MicroTimestamp": "timestamp-micros",
    "io.debezium.time.NanoTimestamp": "timestamp-nanos",
    "io.debezium.time.Date": "date",
    "io.debezium.time.Time": "time-millis",
    "io.debezium.time.MicroTime": "time-micros",
    "io.debezium.time.NanoTime": "time-nanos",
    "io.debezium.time.MicroDuration": "duration",
    "io.debezium.time.NanoDuration": "duration",
    "io.debezium.time.Interval": "duration",
    "io.debezium.time.Year": "year",
}
KEPT = "declares"
"""The key under which `schemas.released.datum.bare` keeps a declaration; fastavro does not act on it."""


def declaration(schema: dict[str, Any]) -> str | None:
    """Return the name of the logical type that a type declares; None if it declares none."""
    logical, connect = schema.get("logicalType"), schema.get("connect.name")
    if isinstance(logical, str) and logical in _LOGICAL:
        return logical
    return _CONNECT.get(connect) if isinstance(connect, str) else None


def unit_of_times(writer: AvroSchema, reader: AvroSchema) -> tuple[dict[str, int], str | None]:
    """Return the divisors of the writer's times that are not in milliseconds, by path, and why no record can be read.

    The reason is None if records can be read. It names the field and the declared type: a time that is no point in
    time, or a declared type where ours is plain.
    """
    divisors: dict[str, int] = {}
    for path, ours, theirs in _pairs(expand_schema(reader), expand_schema(writer), ""):
        declared = {branch.get(KEPT) if isinstance(branch, dict) else None for branch in _branches(theirs)}
        if path in TIMES:
            if unknown := sorted(name for name in declared if name and name not in PER_MILLISECOND):
                return {}, f"{path} is declared a {unknown[0]}, which is no point in time in milliseconds"
            units = {PER_MILLISECOND[name] if name else 1 for name in declared}
            if len(units) > 1:
                return {}, f"{path} is a union of times in different units"
            divisors[path] = units.pop()
            continue
        plain = {"uuid", None} if "string" in _branches(ours) else {None}
        if other := sorted(name for name in declared - plain if name):
            return {}, f"{path} is declared a {other[0]}"
    return {path: divisor for path, divisor in divisors.items() if divisor > 1}, None


def _pairs(ours: Any, theirs: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield the path and both types of every value in both schemas, descending into records, arrays and maps."""
    inner = _composite(ours), _composite(theirs)
    if inner[0] is None or inner[1] is None or inner[0]["type"] != inner[1]["type"]:
        yield path, ours, theirs
    elif inner[0]["type"] == "array":
        yield from _pairs(inner[0]["items"], inner[1]["items"], f"{path}[]")
    elif inner[0]["type"] == "map":
        yield from _pairs(inner[0]["values"], inner[1]["values"], f"{path}{{}}")
    else:
        written = {field["name"]: field["type"] for field in inner[1]["fields"]}
        for field in inner[0]["fields"]:
            if field["name"] in written:
                where = f"{path}.{field['name']}" if path else field["name"]
                yield from _pairs(field["type"], written[field["name"]], where)


def _composite(schema: Any) -> dict[str, Any] | None:
    """Return the only record, array or map in a type or among a union's branches; None if there is not exactly one."""
    found = [branch for branch in _branches(schema) if isinstance(branch, dict)]
    found = [branch for branch in found if branch["type"] in ("record", "array", "map")]
    return found[0] if len(found) == 1 else None


def _branches(schema: Any) -> list[Any]:
    return [branch for branch in schema if branch != "null"] if isinstance(schema, list) else [schema]
