"""The query that runs every SELECT of a mapping and orders the rows of all of them by time."""

from __future__ import annotations

import re
from typing import NamedTuple

from dataflows.mapping.canonical import COLUMNS
from dataflows.mapping.errors import MappingError, did_you_mean
from dataflows.sources.sql.session import Session
from dataflows.sources.sql.statements import Statement

PLACE = ("source_file", "source_row")
"""Columns that say which row of which file a row comes from."""
VALUES = tuple(column for column in COLUMNS if column != "event_time")
"""Canonical columns in the order in which the query returns them, after the columns of `Found`."""

_INTEGERS = frozenset(f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG", "HUGE")) | {
    "INTEGER",
    "UINTEGER",
}
_TEXTS = frozenset({"VARCHAR", "UUID", "BOOLEAN", '"NULL"'}) | _INTEGERS
_NUMBERS = frozenset({"DOUBLE", "FLOAT", "VARCHAR", '"NULL"'}) | _INTEGERS
_MICROSECONDS = frozenset({"TIMESTAMP WITH TIME ZONE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "DATE"})
_POSITION = 'row_number() OVER () - 1 AS "position"'
_SCORES = "STRUCT(scorer VARCHAR, version VARCHAR, value VARCHAR)[]"
_TYPES = {"recipients": "VARCHAR[]", "scores": _SCORES}
"""Types of the canonical columns in the query's result; VARCHAR unless named."""


class Select(NamedTuple):
    """A SELECT of the mapping: its number from 0, its line, and its canonical columns."""

    number: int
    line: int
    columns: frozenset[str]


class Found(NamedTuple):
    """The first columns of the query's result.

    `part` counts the rows that a SELECT makes from one row of a file. `time` is None if the event time is NULL.
    """

    select: int
    position: int
    time: int | None
    file: str | None
    row: int
    part: int


def ordered_query(session: Session) -> tuple[str, list[Select]]:
    """Return the query and its SELECTs, after checking their columns and types.

    Rows are in order of time, then of file and row, then of the SELECTs, then of the rows of a SELECT.

    Raises:
        MappingError: with one sentence for each column that is unknown, missing or of a type that is no value.
    """
    problems: list[str] = []
    selects: list[Select] = []
    pieces: list[str] = []
    line = 1
    for number, statement in enumerate(session.selects):
        types = session.described(statement)
        where = f"{session.mapping.path}: SELECT {number + 1} (line {statement.line}): "
        problems += [where + problem for problem in _problems(types)]
        selects.append(Select(number, statement.line, frozenset(types)))
        if not problems:
            piece, line = _piece(number, statement, types, line)
            pieces.append(piece)
    if problems:
        raise MappingError(problems)
    # The order is total: nothing about it depends on how DuckDB came by the rows.
    order = "time NULLS FIRST, file NULLS FIRST, row, select_number, part, position"
    columns = ", ".join(('select_number, position, time, file, "row", part', *VALUES))
    return f"SELECT {columns} FROM ({' UNION ALL '.join(pieces)}) ORDER BY {order}", selects  # noqa: S608 - the SQL is the operator's, and the session is locked


def _problems(types: dict[str, str]) -> list[str]:
    problems = [
        f"unknown column {column!r}: {did_you_mean(column, (*COLUMNS, *PLACE))}"
        for column in types
        if column not in COLUMNS and column not in PLACE
    ]
    problems += [
        f"has no column {column}: add it" for column in ("kind", "event_time", "user_id") if column not in types
    ]
    return problems + [
        f"{column} is {kind if len(kind) < 60 else kind[:60] + '...'}: {problem}"
        for column, kind in types.items()
        if (problem := _type_problem(column, kind)) is not None
    ]


def _type_problem(column: str, kind: str) -> str | None:
    """Return what to do about the type of a column; None if it is a type of its values."""
    if column == "event_time":
        good = kind in _MICROSECONDS or kind.startswith("TIMESTAMP_NS")
        advice = "give a TIMESTAMP, as by TRY_CAST(x AS TIMESTAMPTZ), try_strptime(x, '...') or to_timestamp(seconds)"
    elif column in {"severity", "probability"}:
        good, advice = kind in _NUMBERS or kind.startswith("DECIMAL"), "give a number"
    elif column == "recipients":
        good = kind.endswith("[]") and _is_text(kind.removesuffix("[]"))
        advice = "give a list of VARCHAR, as by [x] or string_split(x, ';')"
    elif column == "scores":
        names = all(re.search(rf'[( ]"?{name}"? ', kind) for name in ("scorer", "version", "value"))
        good = kind == '"NULL"' or (kind.startswith("STRUCT(") and kind.endswith(")[]") and names)
        advice = "give a list as [{scorer: 'name', version: '1', value: x}]"
    elif column == "source_row":
        good, advice = kind in _INTEGERS, "give the number of the row, as by row_number() OVER () - 1"
    else:
        good, advice = _is_text(kind), "give VARCHAR, as by CAST(x AS VARCHAR)"
        if kind == "JSON":
            advice = "give text, as by ->> instead of ->"
        elif kind in {"DOUBLE", "FLOAT"}:
            advice = "a rounded number may stand for several names: read the column as VARCHAR"
        elif kind == "BLOB":
            advice = "give text, as by hex(x) or TRY(decode(x))"
    return None if good else advice


def _is_text(kind: str) -> bool:
    return kind in _TEXTS or kind.startswith("ENUM(")


def _piece(number: int, statement: Statement, types: dict[str, str], line: int) -> tuple[str, int]:
    """Return the part of the query for one SELECT, and the line on which it ends.

    The text of the SELECT stands on the line that it has in the mapping, for the sake of DuckDB's errors.
    """
    row = 'coalesce(CAST(source_row AS BIGINT), "position")' if "source_row" in types else '"position"'
    file = "CAST(source_file AS VARCHAR)" if "source_file" in types else "CAST(NULL AS VARCHAR)"
    part = "0"
    if "source_row" in types and "event_id" not in types:
        part = f'row_number() OVER (PARTITION BY {file}, {row} ORDER BY "position") - 1'
    values = ", ".join(
        f"CAST({column if column in types else 'NULL'} AS {_TYPES.get(column, 'VARCHAR')}) AS {column}"
        for column in VALUES
    )
    padding = "\n" * max(statement.line - line, 0)
    columns = (
        f"{number} AS select_number",
        '"position"',
        f'{_time(types["event_time"])} AS "time"',
        f"{file} AS file",
        f'{row} AS "row"',
        f"{part} AS part",
        values,
    )
    # The SQL is the operator's, and the session is locked.
    text = f"SELECT {', '.join(columns)} FROM (SELECT *, {_POSITION} FROM ({padding}{statement.text}\n))"  # noqa: S608
    return text, line + text.count("\n")


def _time(kind: str) -> str:
    """Return the expression for whole milliseconds since the epoch, NULL for NULL and infinity; finer ones are cut."""
    if kind.startswith("TIMESTAMP_NS"):
        return "TRY(epoch_ns(event_time) // 1000000)"
    if kind in {"TIMESTAMP WITH TIME ZONE", "TIMESTAMP"}:
        return "TRY(epoch_us(event_time) // 1000)"
    return "TRY(epoch_us(CAST(event_time AS TIMESTAMP)) // 1000)"
