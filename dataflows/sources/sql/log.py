"""Records and rejects of a log that is read through a mapping in SQL."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from dataflows.mapping.canonical import FIELDS, EventBuilder, MissingColumnError
from dataflows.mapping.cells import UnmappableError
from dataflows.mapping.errors import MappingError
from dataflows.mapping.sql import SqlMapping
from dataflows.sources.files.items import Item, LogCounts, record_key, reject_of
from dataflows.sources.files.rows import ROW_BYTES, BadRow, LogError, shown
from dataflows.sources.sql.errors import refused
from dataflows.sources.sql.query import VALUES, Found, Select, ordered_query
from dataflows.sources.sql.session import Session
from schemas.records.base import CHAT, MODERATION, Position, Raw
from schemas.records.rejects import RejectReason

BATCH_ROWS = 4_096
_SHOWN = 120
"""Number of characters of a file's name in the detail of a reject; the last ones, if it is longer."""

_CSV_PROBLEMS = {
    "CAST": (RejectReason.UNMAPPED_ROW, "column {column!r} cannot be converted"),
    "MISSING COLUMNS": (RejectReason.UNMAPPED_ROW, "has too few columns: {column!r} is missing"),
    "TOO MANY COLUMNS": (RejectReason.UNMAPPED_ROW, "has too many columns"),
    "UNQUOTED VALUE": (RejectReason.UNMAPPED_ROW, "column {column!r} opens a quote and does not close it"),
    "LINE SIZE OVER MAXIMUM": (RejectReason.TOO_LARGE, "is too long"),
    "INVALID ENCODING": (RejectReason.INVALID_UTF8, "is not UTF-8"),
}
"""Kinds of errors in DuckDB's table of rejects; others are told as `cannot be read`."""


def read_sql_log(log: Path, mapping: SqlMapping, received: int | None, counts: LogCounts) -> Iterator[Item]:
    """Return an iterator over the records of a log in order of time; rejects without a time come first.

    Rows of CSV that `store_rejects` set aside come last. The mapping is checked at the call and runs when the iterator
    advances. `log` is a file, or a directory whose files the mapping names.

    Raises:
        MappingError: at the call, if the mapping cannot be used.
        LogError: at the call or during iteration, if the log cannot be read.
    """
    with Session(mapping, log, check=True) as session:
        ordered_query(session)
    return _items(log, mapping, received, counts)


def _items(log: Path, mapping: SqlMapping, received: int | None, counts: LogCounts) -> Generator[Item]:
    done = False
    counts.fraction_of = lambda: float(done)
    try:
        with Session(mapping, log) as session:
            seq = yield from _Reading(session, received, counts).items()
            done = True
            yield from _set_aside(session, received, counts, seq)
    except MappingError as error:
        raise LogError(*error.problems) from error


class _Reading:
    """One run of a mapping's query."""

    def __init__(self, session: Session, received: int | None, counts: LogCounts) -> None:
        self._session, self._received, self._counts = session, received, counts
        self._query, self._selects = ordered_query(session)
        self._builders = [_builder(select) for select in self._selects]
        self._base = f"{_base(session.log)}/"

    def items(self) -> Generator[Item, None, int]:
        """Yield the records and rejects of the query, and return their number."""
        seq, mapping = 0, self._session.mapping
        for found, values in self._rows():
            self._counts.rows += 1
            at = Position(mapping.name, 0, found.row, seq)
            seq += 1
            file = None if found.file is None else found.file.removeprefix(self._base)
            name = f"{mapping.name}:{found.row}" if file is None else f"{mapping.name}:{file}:{found.row}"
            event_id = f"{name}:{found.select}" + (f":{found.part}" if found.part else "")
            try:
                subject, event = self._builders[found.select].build(values, event_id, found.time)
            except MissingColumnError as error:
                select = self._selects[found.select]
                raise LogError(
                    f"{mapping.path}: SELECT {select.number + 1} (line {select.line}) makes a {error.kind} and has no "
                    f"column {error.column}: add it"
                ) from None
            except UnmappableError as error:
                yield self._reject(found, file, values, error.detail, at)
            else:
                yield Raw(subject, event, record_key(event), at, self._received)
        return seq

    def _reject(self, found: Found, file: str | None, values: tuple[Any, ...], detail: str, at: Position) -> Item:
        select = self._selects[found.select]
        named = "source_row" in select.columns
        place = f"row {found.row}" if named else f"row {found.row} of SELECT {select.number + 1}"
        detail = f"{place}: {detail}" if file is None else f"{file[-_SHOWN:]}, {place}: {detail}"
        row = {column: value for column, value in zip(VALUES, values, strict=True) if column in select.columns}
        subject = MODERATION if values[0] in FIELDS and values[0] != "message" else CHAT
        bad = BadRow(RejectReason.UNMAPPED_ROW, detail, shown(row))
        return reject_of(bad, subject, at, self._received, self._counts)

    def _rows(self) -> Iterator[tuple[Found, tuple[Any, ...]]]:
        """Yield the rows of the query; the canonical values follow in the order of `VALUES`."""
        try:
            reader = self._session.connection.sql(self._query).to_arrow_reader(BATCH_ROWS)
            for batch in reader:
                columns = [column.to_pylist() for column in batch.columns]
                first = len(Found._fields)
                yield from zip(map(Found, *columns[:first]), zip(*columns[first:], strict=True), strict=True)
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            raise _told(error, self._session) from None
        except RuntimeError as error:
            raise KeyboardInterrupt from error  # DuckDB's answer to Ctrl-C


def _builder(select: Select) -> EventBuilder:
    """Return the builder for the columns that a SELECT names; the others are NULL in every row."""
    named = [column if column in select.columns else f"no {column}" for column in VALUES]
    return EventBuilder(named)


def _base(log: Path) -> Path:
    return log if log.is_dir() else log.parent


def _told(error: duckdb.Error | pa.ArrowException | OSError, session: Session) -> MappingError | LogError:
    """Return the error of a running query; Arrow hands on DuckDB's own as text."""
    if isinstance(error, duckdb.Error):
        return refused(error, session.mapping.path, session.log)
    return refused(duckdb.DataError(str(error)), session.mapping.path, session.log)


def _set_aside(session: Session, received: int | None, counts: LogCounts, seq: int) -> Iterator[Item]:
    """Yield the rows of CSV files that `store_rejects` set aside, each once, in the order of file and line."""
    kept = "SELECT count(*) FROM duckdb_tables() WHERE table_name IN ('reject_errors', 'reject_scans') AND temporary"
    if session.run(kept) != [(2,)]:
        return
    found = session.connection.execute(
        """
        -- a "line" is a row, also where cells contain line ends
        SELECT s.file_path, e.line - 1 - CAST(s.has_header AS INT), e.error_type, e.column_name, e.csv_line
        FROM reject_errors AS e JOIN reject_scans AS s USING (scan_id, file_id)
        ORDER BY s.file_path, e.line, e.column_idx NULLS FIRST, e.error_type
        """
    )
    last: tuple[str, int] | None = None
    base = f"{_base(session.log)}/"
    while rows := found.fetchmany(BATCH_ROWS):
        for path, row, kind, column, text in rows:
            if (path, row) == last:
                continue  # another SELECT has read the same row, or another cell of it is bad too
            last = (path, row)
            reason, problem = _CSV_PROBLEMS.get(kind, (RejectReason.UNMAPPED_ROW, "cannot be read"))
            detail = f"{path.removeprefix(base)[-_SHOWN:]}, row {row}: {problem.format(column=(column or '')[:64])}"
            value = (text or "").encode("utf-8", "backslashreplace")[:ROW_BYTES]
            at = Position(session.mapping.name, 0, max(row, 0), seq)
            counts.rows += 1
            yield reject_of(BadRow(reason, detail, value), CHAT, at, received, counts)
            seq += 1
