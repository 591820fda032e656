"""Our verdict on two schemas is that of the reference implementation, and of reading itself."""

from __future__ import annotations

import json
from typing import Any

import avro.schema
import fastavro
import pytest
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from hypothesis import given
from hypothesis import strategies as st

from schemas.released.compat import unreadable
from tests.kit.records import LAWFUL

PRIMITIVE_NAMES = ["null", "boolean", "int", "long", "float", "double", "string", "bytes"]
PRIMITIVES = st.sampled_from(PRIMITIVE_NAMES)
LETTERS = st.sampled_from("abc")


def enums() -> st.SearchStrategy[dict[str, Any]]:
    """Enums of one name, so that their symbols are compared; some know what to make of a symbol they do not know."""

    def build(symbols: list[str], default: bool) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "enum", "name": "E", "symbols": symbols}
        return {**schema, "default": symbols[0]} if default else schema

    return st.builds(build, st.lists(LETTERS, min_size=1, max_size=3, unique=True), st.booleans())


def fixeds() -> st.SearchStrategy[dict[str, Any]]:
    return st.sampled_from([1, 2]).map(lambda size: {"type": "fixed", "name": "F", "size": size})


def records(inner: st.SearchStrategy[Any], name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Records of a few fields, every other one of which may be absent and then is null."""

    def build(fields: dict[str, tuple[Any, bool]]) -> dict[str, Any]:
        listed = [
            {"name": key, "type": ["null", kind], "default": None} if optional else {"name": key, "type": kind}
            for key, (kind, optional) in fields.items()
        ]
        return {"type": "record", "name": name, "fields": listed}

    plain = inner.filter(lambda kind: kind != "null" and not isinstance(kind, list))
    return st.dictionaries(LETTERS, st.tuples(plain, st.booleans()), max_size=3).map(build)


def unions(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    branches = inner.filter(lambda kind: not isinstance(kind, list))
    return st.lists(branches, min_size=1, max_size=3, unique_by=lambda k: k if isinstance(k, str) else k["type"])


# Each named type appears at one depth only, so that no schema defines a name twice.
LEAVES = PRIMITIVES
INNER = records(LEAVES, "Inner")
KINDS = st.one_of(
    LEAVES,
    LEAVES.map(lambda kind: {"type": "array", "items": kind}),
    LEAVES.map(lambda kind: {"type": "map", "values": kind}),
    unions(LEAVES),
)


@st.composite
def schemas(draw: st.DrawFn) -> dict[str, Any]:
    """A record whose fields are of every kind Avro has."""
    kinds = st.fixed_dictionaries(
        {"plain": KINDS},
        optional={"e": enums(), "f": fixeds(), "r": INNER | st.tuples(st.just("null"), INNER).map(list), "u": KINDS},
    )
    fields = [
        {"name": name, "type": kind, **({"default": None} if isinstance(kind, list) and kind[0] == "null" else {})}
        for name, kind in draw(kinds).items()
    ]
    return {"type": "record", "name": draw(st.sampled_from(["Outer", "Outer", "Outer", "Other"])), "fields": fields}


@LAWFUL
@given(schemas(), schemas())
def test_the_verdict_is_that_of_the_reference_implementation(reader: dict[str, Any], writer: dict[str, Any]) -> None:
    """We name the field, but decide nothing otherwise."""
    reference = ReaderWriterCompatibilityChecker().get_compatibility(
        avro.schema.parse(json.dumps(reader)), avro.schema.parse(json.dumps(writer))
    )
    ours = unreadable(fastavro.parse_schema(reader), fastavro.parse_schema(writer))
    assert (not ours) == (reference.compatibility is SchemaCompatibilityType.compatible), ours


@LAWFUL
@given(schemas())
def test_every_schema_reads_itself(schema: dict[str, Any]) -> None:
    """Whatever it is made of."""
    parsed = fastavro.parse_schema(schema)
    assert unreadable(parsed, parsed) == []


@pytest.mark.parametrize("reader", PRIMITIVE_NAMES)
@pytest.mark.parametrize("writer", PRIMITIVE_NAMES)
def test_a_primitive_is_promoted_as_the_reference_implementation_does(reader: str, writer: str) -> None:
    """Every pair, because the laws above need not happen upon each."""
    wraps = [{"type": "record", "name": "R", "fields": [{"name": "a", "type": kind}]} for kind in (reader, writer)]
    reference = ReaderWriterCompatibilityChecker().get_compatibility(*(avro.schema.parse(json.dumps(w)) for w in wraps))
    ours = unreadable(*(fastavro.parse_schema(wrap) for wrap in wraps))
    assert (not ours) == (reference.compatibility is SchemaCompatibilityType.compatible)
