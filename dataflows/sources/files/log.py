"""A log file as a source, with the same records, ids and coordinates for a replay as for production to Kafka."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from dataflows.mapping.cells import UnmappableError
from dataflows.mapping.compile import RowMapper
from dataflows.mapping.load import Mapping
from dataflows.mapping.mapping import LogMapping
from dataflows.mapping.python import PythonMapping
from dataflows.mapping.sql import SqlMapping
from dataflows.sources.files.formats import log_kind, open_rows
from dataflows.sources.files.items import Item, LogCounts, record_key, reject_of
from dataflows.sources.files.json_rows import JsonRows, LenientLine
from dataflows.sources.files.python_log import read_python_log
from dataflows.sources.files.rows import BadRow, Cells, LogError, Rows, shown, whole
from schemas.records.base import CHAT, MODERATION, Position, Raw, Subject
from schemas.records.rejects import RejectReason

__all__ = ["Item", "LogCounts", "LogError", "LogPartition", "LogSource", "read_log"]

PARTITION = "log"
"""Name of the only partition of a log source."""

NATIVE = "log"
"""Topic in the coordinates of records that were read from a log in forewarn's own format."""

SNAPSHOT_VERSION = 1


def read_log(
    path: Path | str,
    mapping: Mapping | None = None,
    *,
    received: int | None = None,
    counts: LogCounts | None = None,
) -> Iterator[Item]:
    """Return an iterator over a log's records in log order; unusable rows become `Reject`s of stage `source`.

    Without a mapping the log is JSONL of forewarn's own records, each with its `subject`. The file is checked at the
    call and read as the iterator advances. `received` is the time (ms) beyond which timestamps count as future, if any.
    With a mapping in SQL, or one that sets `sort`, the rows are in time order. A mapping in SQL may read a directory.

    Raises:
        LogError: at the call, if the log cannot be read with this mapping; during iteration, if the file is damaged.
        MappingError: at the call, if a mapping in SQL cannot be used.
    """
    path = Path(path)
    counts = LogCounts() if counts is None else counts
    if isinstance(mapping, SqlMapping):
        from dataflows.sources.sql.log import read_sql_log  # noqa: PLC0415 - DuckDB is for mappings in SQL alone

        return read_sql_log(path, mapping, received, counts)
    if path.is_dir():
        raise LogError(f"{path}: is a directory: name a log, or read its files with a mapping in SQL")
    if isinstance(mapping, PythonMapping):
        return read_python_log(path, mapping, received, counts)
    if mapping is None:
        if log_kind(path) != "jsonl":
            raise LogError(f"{path}: needs a mapping: only JSONL of forewarn's own records is read without one")
        rows: Rows = (lines := JsonRows(path, ()))
        items = _native(lines, received, counts)
    else:
        rows = open_rows(
            path, mapping.columns(), delimiter=mapping.delimiter, quote=mapping.quote, sparse=mapping.sparse
        )
        items = _mapped(rows, mapping, received, counts)
    counts.fraction_of = rows.fraction
    return _guarded(path, items, counts)


def _guarded(path: Path, items: Iterator[Item], counts: LogCounts) -> Iterator[Item]:
    with whole(path, lambda: counts.rows):
        yield from items


def _mapped(rows: Rows, mapping: LogMapping, received: int | None, counts: LogCounts) -> Iterator[Item]:
    mapper = RowMapper(mapping, rows.columns)
    rows.exact = frozenset(mapper.exact)
    rows.resembles = _has_a_time(mapper)
    topic, subject, seq = mapping.name, mapper.first_subject, 0
    timed = _timed(rows, mapper, counts)
    for number, row, time in sorted(timed, key=itemgetter(2)) if mapping.sort else timed:
        made: list[tuple[Subject, dict[str, Any]]] = []
        bad, lenient = row, False
        if not isinstance(row, BadRow):
            try:
                made = mapper.events(number, row, time)
                lenient = type(row[-1]) is LenientLine
            except Exception as error:  # no row may end a log
                bad = _unmapped(error, rows, row)
        if isinstance(bad, BadRow):
            yield reject_of(bad, subject, Position(topic, 0, number, seq), received, counts)
            seq += 1
            continue
        if not made:
            counts.eventless += 1
        for of, value in made:
            record = _as_written(value) if lenient else value
            yield Raw(of, record, record_key(value), Position(topic, 0, number, seq), received)
            seq += 1


def _has_a_time(mapper: RowMapper) -> Callable[[Cells], bool]:
    """Return a test for whether cells look like a row of the log, that is, whether their time can be read."""

    def has_a_time(row: Cells) -> bool:
        try:
            mapper.time(row)
        except Exception:  # cells may contain anything
            return False
        return True

    return has_a_time


def _as_written(value: dict[str, Any]) -> bytes:
    """Return a record as JSON bytes that may contain lone surrogates, which the decoder handles as on a topic."""
    return json.dumps(value, separators=(",", ":")).encode()


def _unmapped(error: Exception, rows: Rows, row: Cells) -> BadRow:
    """Return the `BadRow` of a row whose reading or mapping raised an error."""
    detail = error.detail if isinstance(error, UnmappableError) else f"cannot be mapped ({type(error).__name__})"
    try:
        value = rows.as_json(row)
    except Exception:  # no row may end a log, not even one that is rejected anyway
        value = shown([type(cell).__name__ for cell in row])
    return BadRow(RejectReason.UNMAPPED_ROW, detail, value)


def _timed(rows: Rows, mapper: RowMapper, counts: LogCounts) -> Iterator[tuple[int, Cells | BadRow, int]]:
    """Yield number, row and time (ms) of each row that is not skipped; a bad row has the time of the row before it."""
    skips, time_of, time = mapper.skips, mapper.time, 0
    for number, row in enumerate(rows):
        counts.rows = number + 1
        if isinstance(row, BadRow):
            yield number, row, time
            continue
        try:
            if skips(row):
                counts.skipped += 1
                continue
            time = time_of(row)
        except Exception as error:  # no row may end a log
            yield number, _unmapped(error, rows, row), time
        else:
            yield number, row, time


def _native(rows: JsonRows, received: int | None, counts: LogCounts) -> Iterator[Item]:
    for number, found in enumerate(rows.objects()):
        counts.rows = number + 1
        at = Position(NATIVE, 0, number, number)
        if isinstance(found, BadRow):
            yield reject_of(found, CHAT, at, received, counts)
            continue
        value, line = found
        subject = value.pop("subject", None)
        if subject not in (CHAT, MODERATION):
            detail = f"subject is neither {CHAT} nor {MODERATION}: a log in another format needs a mapping"
            bad = BadRow(RejectReason.UNMAPPED_ROW, detail, line.rstrip(b"\r\n"))
            yield reject_of(bad, CHAT, at, received, counts)
            continue
        # A line that only a lenient parser accepts is passed on as bytes: the decoder handles it as on a topic.
        yield Raw(subject, bytes(line) if type(line) is LenientLine else value, record_key(value), at, received)


class LogPartition(StatefulSourcePartition[Item, dict[str, int]]):
    """The partition of a log source, which reads `batch_size` records at a time.

    A snapshot contains the number of emitted records, not the identities that rows have joined. A resume therefore
    reads from the start again and emits nothing up to that record.
    """

    def __init__(
        self,
        items: Iterator[Item],
        counts: LogCounts,
        batch_size: int,
        on_progress: Callable[[int], None] | None,
        on_damage: Callable[[LogError], None] | None,
        resume_state: dict[str, int] | None,
    ) -> None:
        self._items, self._counts, self._batch_size = items, counts, batch_size
        self._on_progress, self._on_damage = on_progress, on_damage
        self._seq, self._offset = 0, -1
        if resume_state is not None:
            self._resume(resume_state)

    def _resume(self, state: dict[str, int]) -> None:
        if state.get("version") != SNAPSHOT_VERSION:
            raise LogError(f"the snapshot of the log source has version {state.get('version')}: start without it")
        for item in islice(self._items, state["seq"]):
            self._passed(item)
        if (self._seq, self._offset) != (state["seq"], state["offset"]):
            raise LogError(
                "the log or its mapping is not the one the snapshot was taken of: start without the snapshot"
            )

    def _passed(self, item: Item) -> None:
        at = item.at if isinstance(item, Raw) else item
        self._seq, self._offset = at.seq + 1, at.offset

    def next_batch(self) -> list[Item]:
        """Return the next records; raise `StopIteration` at the end of the log."""
        try:
            batch = list(islice(self._items, self._batch_size))
        except LogError as error:
            if self._on_damage is None:
                raise
            self._on_damage(error)
            raise StopIteration from error
        if batch:
            self._passed(batch[-1])
        if self._on_progress is not None:
            self._on_progress(self._counts.rows)
        if not batch:
            raise StopIteration
        return batch

    def snapshot(self) -> dict[str, int]:
        """Return plain data: the number of emitted records, and the row of the last one."""
        return {"version": SNAPSHOT_VERSION, "seq": self._seq, "offset": self._offset}

    def close(self) -> None:
        """Close the file."""
        if isinstance(self._items, Generator):
            self._items.close()


class LogSource(FixedPartitionedSource[Item, dict[str, int]]):
    """A log file as a Bytewax source with one partition; `counts` has the counters of the current reading.

    `on_progress` is called after each batch with the number of rows read. A damaged log fails the flow. If `on_damage`
    is set, it is called with the error instead, and the flow ends. Other arguments are those of `read_log`.

    Raises:
        LogError: at construction, if the log cannot be read with this mapping.
    """

    def __init__(
        self,
        path: Path | str,
        mapping: Mapping | None = None,
        *,
        batch_size: int = 1_000,
        on_progress: Callable[[int], None] | None = None,
        received: int | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}: a batch has at least one record")
        self._path, self._mapping, self._received = Path(path), mapping, received
        self._batch_size, self._on_progress = batch_size, on_progress
        self.on_damage: Callable[[LogError], None] | None = None
        self.counts = LogCounts()
        read_log(path, mapping)  # fails early, before a dataflow is built

    def list_parts(self) -> list[str]:
        """Return the name of the only partition."""
        return [PARTITION]

    def build_part(self, step_id: str, for_part: str, resume_state: dict[str, int] | None) -> LogPartition:  # noqa: ARG002
        """Return the partition, at the start of the log or where a snapshot was taken."""
        self.counts = LogCounts()
        items = read_log(self._path, self._mapping, received=self._received, counts=self.counts)
        return LogPartition(items, self.counts, self._batch_size, self._on_progress, self.on_damage, resume_state)
