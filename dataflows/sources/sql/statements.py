"""The statements of a SQL mapping: parsed, and checked for what would write, lose rows or differ from run to run."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import duckdb

from dataflows.mapping.errors import MappingError
from dataflows.mapping.sql import SqlMapping
from dataflows.sources.sql.errors import refused

PARAMETER = "log"
"""The only parameter of a mapping, `$log`: the path of LOG."""

EXTENSIONS = {"read_xlsx": "excel", "encoding": "encodings"}
"""Words that may need an extension of DuckDB, which is loaded if somebody has installed it."""
BUILT_IN = frozenset({"utf-8", "utf8", "utf-16", "utf16", "latin-1", "latin1"})
"""Encodings that DuckDB reads without an extension."""

_VARYING = frozenset(
    {"current_connection_id", "current_query_id", "current_transaction_id", "currval", "gen_random_uuid", "nextval"}
    | {"random", "setseed", "setval", "sleep_ms", "txid_current", "uuid", "uuidv4", "uuidv7", "now", "today"}
    | {"get_current_time", "get_current_timestamp", "transaction_timestamp", "current_localtime", "write_log"}
    | {"current_localtimestamp"}
)
"""Functions with another result in every run, or with an effect."""
_CLOCKS = frozenset(["current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"])
_LOSSY = frozenset(["ignore_errors", "rejects_table", "rejects_scan", "rejects_limit"])
"""Options of `read_csv` that leave out rows without a trace, or write the rejects where forewarn does not look."""


class Statement(NamedTuple):
    """A statement with the line of the mapping on which it starts; `kind` is SELECT, VIEW, MACRO or TABLE."""

    text: str
    line: int
    kind: str


class Token(NamedTuple):
    """A token that is no comment, with its place in the statement (bytes)."""

    kind: str
    text: str
    start: int
    end: int


def statements(mapping: SqlMapping) -> list[Statement]:
    """Return the statements of a mapping.

    Raises:
        MappingError: if the SQL cannot be parsed, or contains something that a mapping must not do.
    """
    try:
        parsed = duckdb.extract_statements(mapping.text)
    except duckdb.Error as error:
        raise refused(error, mapping.path, mapping.path) from None
    found: list[Statement] = []
    passed = 0
    for one in parsed:
        text = one.query
        blank = len(text) - len(text.lstrip())
        line = 1 + mapping.text.count("\n", 0, passed + blank)
        passed += len(text)
        statement = _statement(mapping.path, text.strip().removesuffix(";"), line, one)
        if statement is not None:
            found.append(statement)
    if not any(one.kind == "SELECT" for one in found):
        raise MappingError([f"{mapping.path}: has no SELECT: write one for each kind of event"])
    return found


def _statement(path: Path, text: str, line: int, parsed: duckdb.Statement) -> Statement | None:
    words = list(tokens(text))
    if not words:
        return None
    start = f"{path}: line {line + _lines(text, words[0])}: "
    kind = "SELECT" if parsed.type == duckdb.StatementType.SELECT else _helper(words)
    if kind is None:
        raise MappingError(
            [f"{start}{words[0].text.upper()} is not for a mapping: write SELECT, or CREATE VIEW, TABLE or MACRO"]
        )
    for name in parsed.named_parameters:
        if name != PARAMETER:
            raise MappingError([f"{start}unknown parameter ${name}: the only one is $log, the path of LOG"])
    if (problem := _problem(words)) is not None:
        at, what = problem
        raise MappingError([f"{path}: line {line + _lines(text, at)}: {what}"])
    return Statement(text, line, kind)


def _lines(text: str, token: Token) -> int:
    """Return the number of lines before a token."""
    return text.encode()[: token.start].count(b"\n")


def tokens(text: str) -> Iterator[Token]:
    """Yield the tokens of a statement without its comments."""
    data = text.encode()
    found = [(start, kind.name) for start, kind in duckdb.tokenize(text)]
    for (start, kind), (end, _) in pairwise([*found, (len(data), "")]):
        if kind != "comment":
            yield Token(kind, data[start:end].decode().strip(), start, end)


def with_log(text: str, log: str) -> str:
    """Return a statement with `$log` replaced by the path of LOG as a string literal."""
    data, made, passed = text.encode(), b"", 0
    literal = "'" + log.replace("'", "''") + "'"
    for sign, name in pairwise(tokens(text)):
        if sign.text == "$" and name.text == PARAMETER and sign.end == name.start:
            made += data[passed : sign.start] + literal.encode()
            passed = name.start + len(PARAMETER)
    return (made + data[passed:]).decode()


def extensions(found: list[Statement]) -> list[str]:
    """Return the extensions that the statements may need."""
    needed: set[str] = set()
    for statement in found:
        words = list(tokens(statement.text))
        for at, word in enumerate(words):
            name = word.text.lower()
            if name == "read_xlsx":
                needed.add(EXTENSIONS[name])
            if name == "encoding" and _value(words, at) not in {None, *BUILT_IN}:
                needed.add(EXTENSIONS[name])
    return sorted(needed)


def _value(words: list[Token], at: int) -> str | None:
    """Return the text given to the named argument at a token; None if it is none."""
    rest = [word for word in words[at + 1 : at + 4] if word.text not in {"=", ":=", "=>", ":", ">"}]
    given = len(rest) < 3 and rest and rest[0].kind == "string_const"
    return rest[0].text.strip("'").lower() if given else None


def _helper(words: list[Token]) -> str | None:
    """Return what the statement makes for other statements to use, VIEW, MACRO or TABLE; None for any other one."""
    names = [word.text.upper() for word in words[:5]]
    if names[0] != "CREATE":
        return None
    made = next((name for name in names[1:] if name not in {"OR", "REPLACE", "TEMP", "TEMPORARY"}), "")
    return {"VIEW": "VIEW", "MACRO": "MACRO", "FUNCTION": "MACRO", "TABLE": "TABLE"}.get(made)


def _problem(words: list[Token]) -> tuple[Token, str] | None:
    depth, csv = 0, -1
    for at, word in enumerate(words):
        name = word.text.lower().strip('"')
        called = at + 1 < len(words) and words[at + 1].text.startswith("(")
        depth += word.text.count("(") - word.text.count(")") if word.kind == "operator" else 0
        if csv >= 0 and depth <= csv and word.kind == "operator" and ")" in word.text:
            csv = -1
        if word.kind == "string_const":
            continue
        if (called and name in _VARYING) or name in _CLOCKS:
            return word, f"{name} differs from run to run: a mapping must give the same events each time"
        if name == "tablesample" or (name == "sample" and at and words[at - 1].text.lower() == "using"):
            return word, "a sample differs from run to run: a mapping must give the same events each time"
        if called and name in {"read_csv", "read_csv_auto"} and csv < 0:
            csv = depth
        if csv >= 0 and name in _LOSSY:
            return word, f"{name} would lose rows of CSV without a trace: write store_rejects = true instead"
    return None
