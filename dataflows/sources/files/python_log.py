"""Records and rejects of a log that is read through a mapping in Python."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from operator import itemgetter
from pathlib import Path
from typing import Any

from dataflows.mapping.canonical import COLUMNS, EventBuilder
from dataflows.mapping.cells import UnmappableError
from dataflows.mapping.errors import did_you_mean
from dataflows.mapping.python import PythonMapping, raised
from dataflows.runtime.times import epoch_ms
from dataflows.sources.files.formats import log_kind, open_rows
from dataflows.sources.files.items import Item, LogCounts, record_key, reject_of
from dataflows.sources.files.json_rows import JsonRows
from dataflows.sources.files.parquet_rows import ParquetRows
from dataflows.sources.files.rows import BadRow, Rows, shown, whole
from schemas.records.base import CHAT, Position, Raw, Subject
from schemas.records.rejects import RejectReason

_WITHOUT_ID = EventBuilder([column if column != "event_id" else "" for column in COLUMNS])
_WITH_ID = EventBuilder(COLUMNS)

Made = tuple[Subject, dict[str, Any]]
Found = tuple[int, int, BadRow | Made]
"""Time (ms), row number, and what was made of the row; a bad row has the time of the event before it."""


def read_python_log(log: Path, mapping: PythonMapping, received: int | None, counts: LogCounts) -> Iterator[Item]:
    """Return an iterator over the records that a mapping's function makes of a log's rows, one row after the other.

    Raises:
        LogError: at the call, if the log cannot be read; during iteration, if the file is damaged.
    """
    kind = log_kind(log)
    rows: Rows
    if kind == "jsonl":
        rows = JsonRows(log, ())
    else:
        rows = open_rows(log, (), delimiter=mapping.delimiter, quote=mapping.quote)
        if isinstance(rows, ParquetRows):
            rows = ParquetRows(log, rows.shown)
    counts.fraction_of = rows.fraction
    return _items(log, rows, mapping, received, counts)


def _items(log: Path, rows: Rows, mapping: PythonMapping, received: int | None, counts: LogCounts) -> Iterator[Item]:
    with whole(log, lambda: counts.rows):
        found: Iterator[Found] = _found(rows, mapping, counts)
        if mapping.sort:
            found = iter(sorted(found, key=itemgetter(0)))
        for seq, (_, number, made) in enumerate(found):
            at = Position(mapping.name, 0, number, seq)
            if isinstance(made, BadRow):
                yield reject_of(made, CHAT, at, received, counts)
            else:
                yield Raw(*made, record_key(made[1]), at, received)


def _found(rows: Rows, mapping: PythonMapping, counts: LogCounts) -> Iterator[Found]:
    """Yield what is made of each row: events, or one bad row."""
    time = 0
    for number, (row, value) in enumerate(_named(rows)):
        counts.rows = number + 1
        if isinstance(row, BadRow):
            yield time, number, row
            continue
        try:
            made = _events(mapping, number, row)
        except UnmappableError as error:
            bad = BadRow(RejectReason.UNMAPPED_ROW, f"row {number}: {error.detail}", value or shown(row))
            yield time, number, bad
            continue
        if not made:
            counts.eventless += 1
        for one in made:
            time = one[1]["event_time"]
            yield time, number, one


def _named(rows: Rows) -> Iterator[tuple[dict[str, Any] | BadRow, bytes]]:
    """Yield each row by column, with its bytes if the format has them."""
    if isinstance(rows, JsonRows):
        for found in rows.objects():
            yield (found, b"") if isinstance(found, BadRow) else (found[0], found[1].rstrip(b"\r\n"))
        return
    for row in rows:
        yield (row, b"") if isinstance(row, BadRow) else (dict(zip(rows.columns, row, strict=True)), b"")


def _events(mapping: PythonMapping, number: int, row: dict[str, Any]) -> list[Made]:
    """Return the events of a row.

    Raises:
        UnmappableError: if the function fails, or one of its events cannot be made; then the row has none.
    """
    try:
        given = list(mapping.events(row) or ())
    except Exception as error:  # whatever the operator's code raises
        raise UnmappableError(f"events {raised(error, mapping.path)}") from None
    return [_event(f"{mapping.name}:{number}:{block}", event) for block, event in enumerate(given)]


def _event(generated_id: str, event: Any) -> Made:
    if not isinstance(event, Mapping):
        raise UnmappableError("events gave something that is no dict")
    for key in event:
        if key not in COLUMNS:
            raise UnmappableError(f"events gave an unknown key {str(key)[:64]!r}: {did_you_mean(str(key), COLUMNS)}")
    builder = _WITH_ID if "event_id" in event else _WITHOUT_ID
    # Every column is there, so that none can be missing from the mapping as a whole.
    return builder.build([event.get(column) for column in COLUMNS], generated_id, _time(event.get("event_time")))


def _time(given: Any) -> int | None:
    """Return a time in milliseconds; None if it is none."""
    if isinstance(given, datetime):
        return epoch_ms(given)
    return given if isinstance(given, int) and not isinstance(given, bool) else None
