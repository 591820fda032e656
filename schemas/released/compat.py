"""Full-transitive compatibility: every released version of a subject reads what every other version wrote.

The rules are those of schema resolution in the Avro specification (1.12). The checker of the `avro` package gives the
same verdict (a test compares the two), but it does not report the field inside a union, where most of our fields are. A
problem that does not name its field cannot be acted on.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any, NamedTuple

from fastavro.schema import expand_schema

from schemas.released.catalogue import AvroSchema, Catalogue

PROMOTIONS: dict[str, frozenset[str]] = {
    "int": frozenset({"long", "float", "double"}),
    "long": frozenset({"float", "double"}),
    "float": frozenset({"double"}),
    "string": frozenset({"bytes"}),
    "bytes": frozenset({"string"}),
}
"""Writer's primitive type to the reader's primitive types that accept it, besides itself."""


class Problem(NamedTuple):
    """A reason why a reader cannot read a writer: the field's path, the cause, and if the writer lacks the field."""

    path: str
    why: str
    missing: bool = False


def unreadable(reader: AvroSchema, writer: AvroSchema) -> list[Problem]:
    """Return the reasons why records written with `writer` cannot all be read with `reader`; empty if they can.

    Both are schemas as fastavro parses them, and neither may contain itself.
    """
    return _problems(expand_schema(reader), expand_schema(writer), "")


def transitive_problems(catalogue: Catalogue) -> list[str]:
    """Return one sentence per subject, pair of versions and field that breaks compatibility; empty if none does."""
    sentences: list[str] = []
    for subject in catalogue.subjects():
        for reader, writer in permutations(catalogue.versions(subject), 2):
            problems = unreadable(catalogue.schema(subject, reader), catalogue.schema(subject, writer))
            sentences.extend(
                f"{subject}: v{reader} cannot read v{writer}: {problem.path or 'the record'} {problem.why}."
                for problem in problems
            )
    return sentences


def _problems(reader: Any, writer: Any, path: str) -> list[Problem]:
    if isinstance(writer, list):
        return [problem for branch in writer for problem in _problems(reader, branch, path)]
    if isinstance(reader, list):
        return _no_branch(reader, writer, path)
    to, of = _kind(reader), _kind(writer)
    if to != of:
        return [] if to in PROMOTIONS.get(of, ()) else [Problem(path, f"is {of} where the reader expects {to}")]
    if of == "array":
        return _problems(reader["items"], writer["items"], f"{path}[]")
    if of == "map":
        return _problems(reader["values"], writer["values"], f"{path}{{}}")
    if of in _NAMED and not _same_name(reader, writer):
        return [Problem(path, f"is named {writer['name']} where the reader expects {reader['name']}")]
    return _NAMED[of](reader, writer, path) if of in _NAMED else []


def _record(reader: Any, writer: Any, path: str) -> list[Problem]:
    written = {field["name"]: field for field in writer["fields"]}
    problems: list[Problem] = []
    for field in reader["fields"]:
        where = f"{path}.{field['name']}" if path else field["name"]
        source = next((written[name] for name in (field["name"], *field.get("aliases", ())) if name in written), None)
        if source is not None:
            problems.extend(_problems(field["type"], source["type"], where))
        elif "default" not in field:
            problems.append(Problem(where, "is not written and has no default", missing=True))
    return problems


def _enum(reader: Any, writer: Any, path: str) -> list[Problem]:
    unknown = [symbol for symbol in writer["symbols"] if symbol not in reader["symbols"]]
    if not unknown or "default" in reader:
        return []
    return [Problem(path, f"may be {', '.join(unknown)}, which the reader does not know and has no default for")]


def _fixed(reader: Any, writer: Any, path: str) -> list[Problem]:
    if reader["size"] == writer["size"]:
        return []
    return [Problem(path, f"is {writer['size']} bytes where the reader expects {reader['size']}")]


_NAMED: dict[str, Callable[[Any, Any, str], list[Problem]]] = {"record": _record, "enum": _enum, "fixed": _fixed}


def _no_branch(reader: list[Any], writer: Any, path: str) -> list[Problem]:
    """Return the problems of reading a value into a union: none if a branch takes it, else those of the nearest."""
    nearest: list[Problem] | None = None
    for branch in reader:
        problems = _problems(branch, writer, path)
        if not problems:
            return []
        if _kind(branch) == _kind(writer) and (nearest is None or _same_name(branch, writer)):
            nearest = problems
    if nearest is not None:
        return nearest
    return [Problem(path, f"may be {_kind(writer)}, which is no branch of the reader's union")]


def _kind(schema: Any) -> str:
    kind = str(schema["type"] if isinstance(schema, dict) else schema)
    return "record" if kind == "error" else kind


def _same_name(reader: Any, writer: Any) -> bool:
    """Return whether two named types match, by unqualified name or by an alias of the reader; unnamed types match."""
    if not (isinstance(reader, dict) and isinstance(writer, dict) and "name" in reader and "name" in writer):
        return True
    short = writer["name"].rpartition(".")[2]
    aliases = reader.get("aliases", ())
    return short == reader["name"].rpartition(".")[2] or short in aliases or writer["name"] in aliases
