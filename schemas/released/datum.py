"""Reading of one Avro datum through a writer's schema into ours.

fastavro decodes the datum. This module classifies its errors, checks for left-over bytes, and checks whether a writer's
schema is safe to decode with.
"""

from __future__ import annotations

from functools import cached_property
from io import BytesIO
from typing import Any

from fastavro import schemaless_reader
from fastavro.read import SchemaResolutionError

from schemas.records.mending import optional_part
from schemas.records.refusal import UnreadableError
from schemas.records.rejects import RejectReason
from schemas.released.catalogue import AvroSchema, fingerprint
from schemas.released.compat import Problem, unreadable
from schemas.released.declared import KEPT, declaration, unit_of_times

MAX_NODES = 10_000
"""Most types that a writer's schema may expand into; ours have about thirty."""


class DatumReader:
    """A reader of datums written with one writer's schema, into the mapping that our schema describes.

    `origin` names the writer in details, such as `schema id 7`. A writer's schema with the same canonical form as ours
    needs no schema resolution. Times are returned in milliseconds, whatever unit the writer's schema declares.
    """

    def __init__(self, subject: str, writer: AvroSchema, reader: AvroSchema, origin: str) -> None:
        self._subject = subject
        self._writer = writer
        self._ours = reader
        self._reader = None if fingerprint(writer) == fingerprint(reader) else reader
        self._origin = origin
        self._divisors, self._meant = unit_of_times(writer, reader)

    def read(self, value: bytes, start: int) -> Any:
        """Return the datum that fills `value` from `start` to its end.

        Raises:
            UnreadableError: if the bytes are not one such datum, or if the writer's schema does not resolve into ours.
        """
        if self._meant is not None:
            raise UnreadableError(RejectReason.UNKNOWN_SCHEMA, f"{self._origin}: {self._meant}")
        try:
            datum = self._datum(value, start, self._reader)
        except SchemaResolutionError:
            if self._unresolved is not None:
                raise UnreadableError(*self._unresolved) from None
            datum = self._datum(value, start, None)  # only optional parts differ; they are mended after validation
        for field, divisor in self._divisors.items():
            if isinstance(datum[field], int):
                datum[field] //= divisor
        return datum

    def _datum(self, value: bytes, start: int, reader: AvroSchema | None, unicode_errors: str = "strict") -> Any:
        stream = BytesIO(value)
        stream.seek(start)
        try:
            datum = schemaless_reader(stream, self._writer, reader, handle_unicode_errors=unicode_errors)
        except SchemaResolutionError:
            raise
        except EOFError:
            raise UnreadableError(RejectReason.TRUNCATED, "the Avro datum ends early") from None
        except UnicodeDecodeError:
            if unicode_errors == "strict":  # read again, so that validation finds the invalid string
                return self._datum(value, start, reader, "surrogateescape")
            # The writer's bytes are a string in our schema. fastavro decodes them strictly, so return the bytes.
            return self._datum(value, start, None, unicode_errors)
        except Exception as error:
            if stream.tell() == len(value) and value[-1] & 0x80:
                # The last byte has the continuation bit, so the bytes end inside a number (fastavro: IndexError).
                raise UnreadableError(RejectReason.TRUNCATED, "the Avro datum ends early") from None
            raise UnreadableError(RejectReason.MALFORMED_AVRO, f"the Avro datum: {type(error).__name__}") from None
        if stream.tell() != len(value):
            raise UnreadableError(RejectReason.MALFORMED_AVRO, "bytes are left over after the Avro datum")
        return datum

    @cached_property
    def _unresolved(self) -> tuple[RejectReason, str] | None:
        """Return why the writer's schema does not resolve into ours; None if only optional parts differ.

        The result depends only on the two schemas, so it is computed once.
        """
        name = self._ours["name"]
        problems = unreadable(self._ours, self._writer)
        problem = next((problem for problem in problems if not self._optional(problem)), None)
        if problem is None:
            if problems:
                return None
            return RejectReason.UNKNOWN_SCHEMA, f"{self._origin} cannot be read as {name}"
        if problem.missing:
            return RejectReason.MISSING_FIELD, f"{problem.path}: {self._origin} does not write it"
        return RejectReason.UNKNOWN_SCHEMA, f"{self._origin} cannot be read as {name}: {problem.path}"

    def _optional(self, problem: Problem) -> bool:
        path = problem.path.replace("[]", "").replace("{}", "")
        return optional_part(self._subject, path) is not None


def bare(schema: Any) -> Any:
    """Return a writer's schema reduced to what decoding needs.

    Logical types are removed, so that fastavro reads numbers as they were written; the declared type is kept under the
    key `KEPT`. Defaults are removed: only a reader needs them, and writers state them wrongly in ways that fastavro
    refuses.
    """
    if isinstance(schema, list):
        return [bare(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    declared = declaration(schema)
    if isinstance(schema.get("type"), list | dict) and "name" not in schema:  # a nested type, which fastavro refuses
        return _declaring(bare(schema["type"]), declared)
    kept = {key: value for key, value in schema.items() if key not in ("logicalType", "default", "doc", KEPT)}
    for inner in ("type", "items", "values"):
        if isinstance(kept.get(inner), list | dict):
            kept[inner] = bare(kept[inner])
    if isinstance(kept.get("fields"), list):
        kept["fields"] = [_bare_field(field) for field in kept["fields"]]
    return _declaring(kept, declared)


def _bare_field(field: Any) -> Any:
    """Return a bare field with its declaration moved to its type: writers state the logical type there by mistake."""
    bared = bare(field)
    if isinstance(bared, dict) and (declared := bared.pop(KEPT, None)) is not None:
        bared["type"] = _declaring(bared.get("type"), declared)
    return bared


def _declaring(schema: Any, declared: str | None) -> Any:
    if declared is None:
        return schema
    if isinstance(schema, list):
        return [branch if branch == "null" else _declaring(branch, declared) for branch in schema]
    return {KEPT: declared, **(schema if isinstance(schema, dict) else {"type": schema})}


def hazard(schema: Any, names: dict[str, Any]) -> str | None:
    """Return why a writer's schema is unsafe to decode any bytes with; None if it is safe.

    Two shapes let a short datum end the process. One is a type that contains itself, because fastavro recurses on the C
    stack without a limit. The other is an array whose items take no bytes, because a few bytes of length request any
    number of items. A schema that expands into more than `MAX_NODES` types is unsafe, too.
    """
    try:
        _, nodes = _extent(schema, names, {})
    except _HazardError as found:
        return str(found)
    return f"it unfolds into more than {MAX_NODES} types" if nodes > MAX_NODES else None


class _HazardError(Exception):
    pass


def _extent(schema: Any, names: dict[str, Any], seen: dict[str, tuple[int, int] | None]) -> tuple[int, int]:
    """Return the fewest bytes a datum takes, capped at 1, and the number of types that the schema expands into."""
    if isinstance(schema, list):
        return 1, 1 + sum(_extent(branch, names, seen)[1] for branch in schema)
    if isinstance(schema, str):
        if schema not in names:
            return (0 if schema == "null" else 1), 1
        schema = names[schema]
    kind = schema["type"]
    if kind in ("array", "map"):
        inner, nodes = _extent(schema["items" if kind == "array" else "values"], names, seen)
        if kind == "array" and inner == 0:
            raise _HazardError("it has an array whose items take no bytes")
        return 1, 1 + nodes
    if kind == "fixed":
        return min(1, schema["size"]), 1
    if kind not in ("record", "error"):
        return _extent(kind, {}, seen) if isinstance(kind, str) else _extent(kind, names, seen)
    name = schema["name"]
    if name not in seen:
        seen[name] = None
        inside = [_extent(field["type"], names, seen) for field in schema["fields"]]
        seen[name] = (max((least for least, _ in inside), default=0), 1 + sum(nodes for _, nodes in inside))
    extent = seen[name]
    if extent is None:
        raise _HazardError("it contains itself")
    return extent
