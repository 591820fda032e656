"""The rows of a log file as it stands: CSV, JSONL or Parquet, gzip included, one bad row never ending the reading."""

from __future__ import annotations

import csv
import gzip
import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from dataflows.mapping_errors import did_you_mean
from schemas.records import RejectReason

SNIFF = 1_000
"""How many JSONL rows are looked at to learn which columns there are."""

Cells = Sequence[Any]


class LogError(ValueError):
    """A log cannot be read, or not with this mapping; the text is one sentence with the file and what to do."""


class BadRow(NamedTuple):
    """A row that could not be taken apart: why, and its original bytes."""

    reason: RejectReason
    detail: str
    value: bytes


class Rows(ABC):
    """A log's rows in file order; every iteration reads from the start. `columns` name the cells of a row."""

    columns: tuple[str, ...]

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tell: Callable[[], float] = lambda: 0.0

    def fraction(self) -> float:
        """How much of the file has been read, from 0 to 1."""
        return self._tell()

    @abstractmethod
    def __iter__(self) -> Iterator[Cells | BadRow]:
        """The rows, each with its cells in the order of `columns`."""

    @abstractmethod
    def as_json(self, row: Cells) -> bytes:
        """A row as JSON bytes, as they stand in the log or with every column that was read."""

    @contextmanager
    def _open(self) -> Iterator[Iterable[bytes]]:
        size = max(self.path.stat().st_size, 1)
        with self.path.open("rb") as raw:
            self._tell = lambda: 1.0 if raw.closed else raw.tell() / size
            if self.path.suffix == ".gz":
                # A buffered reader around the gzip file yields its lines in C; GzipFile's own take a Python call each.
                with gzip.GzipFile(fileobj=raw) as unzipped, io.BufferedReader(unzipped, 1 << 16) as stream:
                    yield stream
            else:
                yield raw


class CsvRows(Rows):
    """A CSV file with a header line. Blank lines are no rows; a row of another width than the header is a bad one."""

    def __init__(self, path: Path, delimiter: str) -> None:
        super().__init__(path)
        self._delimiter = delimiter
        with self._open() as stream:
            try:
                header = next(csv.reader((line.decode("utf-8-sig") for line in stream), delimiter=delimiter), [])
            except (UnicodeDecodeError, csv.Error):
                raise LogError(f"{path}: the header line cannot be read: save the log as UTF-8 CSV") from None
        if not header:
            raise LogError(f"{path}: is empty: a CSV log starts with a header line that names its columns")
        twice = next((column for column in header if header.count(column) > 1), None)
        if twice is not None:
            raise LogError(f"{path}: the header names column {twice!r} twice: rename one of them")
        self.columns = tuple(header)

    def __iter__(self) -> Iterator[Cells | BadRow]:
        """The rows; undecodable or misshapen ones as `BadRow` with the bytes of their lines."""
        width = len(self.columns)
        lines: list[bytes] = []  # of the row being read
        undecodable = False

        def decoded(stream: Iterable[bytes]) -> Iterator[str]:
            nonlocal undecodable
            for line in stream:
                lines.append(line)
                try:
                    text = line.decode()
                except UnicodeDecodeError:
                    undecodable = True
                    text = line.decode(errors="replace")
                yield text

        with self._open() as stream:
            reader = csv.reader(decoded(stream), delimiter=self._delimiter)
            next(reader)
            lines.clear()
            reading = True
            while reading:
                try:
                    for row in reader:
                        if undecodable:
                            yield BadRow(RejectReason.INVALID_UTF8, "the row is not UTF-8", b"".join(lines))
                            undecodable = False
                        elif len(row) == width:
                            yield row
                        elif row:
                            detail = f"the row has {len(row)} cells under a header of {width}"
                            yield BadRow(RejectReason.UNMAPPED_ROW, detail, b"".join(lines))
                        lines.clear()
                    reading = False
                except csv.Error:
                    # Such as a quote never closed: at its field limit the reader gives up, and starts anew after it.
                    yield BadRow(RejectReason.UNMAPPED_ROW, "the row is not CSV", b"".join(lines))
                    lines.clear()
                    undecodable = False

    def as_json(self, row: Cells) -> bytes:
        """The row as an object of its columns."""
        return orjson.dumps(dict(zip(self.columns, row, strict=True)))


class JsonRows(Rows):
    """A JSONL file, one object a line, seen through the columns asked for; `a.b` reaches into an object.

    An absent key is an empty cell. The line itself rides behind the cells.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        super().__init__(path)
        self.columns = tuple(columns)
        self._nested = any("." in column for column in columns)

    def __iter__(self) -> Iterator[Cells | BadRow]:
        """The rows; lines that are not JSON objects as `BadRow`."""
        columns, nested = self.columns, self._nested
        for found in self.objects():
            if isinstance(found, BadRow):
                yield found
            elif nested:
                yield [*(_reach(found[0], column) for column in columns), found[1]]
            else:
                yield [*map(found[0].get, columns), found[1]]

    def objects(self) -> Iterator[tuple[dict[str, Any], bytes] | BadRow]:
        """Every line that is not blank: as an object with its bytes, or why it is none."""
        with self._open() as stream:
            for line in stream:
                try:
                    found = orjson.loads(line)
                except orjson.JSONDecodeError:
                    if not line.strip():
                        continue
                    yield _not_json(line.rstrip(b"\r\n"))
                    continue
                if isinstance(found, dict):
                    yield found, line
                else:
                    yield BadRow(RejectReason.UNMAPPED_ROW, "the line is not a JSON object", line.rstrip(b"\r\n"))

    def shown(self) -> set[str]:
        """Every key in the first rows, nested ones with their path."""
        keys: set[str] = set()
        for found in islice(self.objects(), SNIFF):
            if not isinstance(found, BadRow):
                keys.update(_paths(found[0]))
        return keys

    def as_json(self, row: Cells) -> bytes:
        """The line itself."""
        line: bytes = row[-1]
        return line.rstrip(b"\r\n")


def _not_json(line: bytes) -> BadRow:
    try:
        line.decode()
    except UnicodeDecodeError:
        return BadRow(RejectReason.INVALID_UTF8, "the line is not UTF-8", line)
    return BadRow(RejectReason.MALFORMED_JSON, "the line is not JSON", line)


def _reach(found: dict[str, Any], column: str) -> Any:
    """A key of its own first, and otherwise a path into objects."""
    if column in found:
        return found[column]
    reached: Any = found
    for step in column.split("."):
        reached = reached.get(step) if isinstance(reached, dict) else None
    return reached


def _paths(found: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in found.items():
        yield prefix + key
        if isinstance(value, dict):
            yield from _paths(value, f"{prefix}{key}.")


class ParquetRows(Rows):
    """A Parquet file, read in batches, of which only the columns asked for are decoded."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        super().__init__(path)
        try:
            with pq.ParquetFile(path) as file:
                self.shown = tuple(file.schema_arrow.names)
        except pa.ArrowInvalid:
            raise LogError(f"{path}: is not Parquet: correct the suffix or the file") from None
        self.columns = tuple(columns)

    def __iter__(self) -> Iterator[Cells | BadRow]:
        """The rows; one whose text is not UTF-8 as `BadRow`."""
        with pq.ParquetFile(self.path) as file:
            total, done = max(file.metadata.num_rows, 1), 0
            self._tell = lambda: done / total
            for batch in file.iter_batches(batch_size=8_192, columns=list(self.columns)):
                columns = [_plain(batch.column(column)) for column in self.columns]
                done += batch.num_rows
                try:
                    rows = list(zip(*(column.to_pylist() for column in columns), strict=True))
                except UnicodeDecodeError:
                    yield from (self._row([column[at] for column in columns]) for at in range(batch.num_rows))
                else:
                    yield from rows

    def _row(self, scalars: list[pa.Scalar]) -> Cells | BadRow:
        try:
            return [scalar.as_py() for scalar in scalars]
        except UnicodeDecodeError:
            cells = [
                scalar.cast(pa.binary()).as_py() if _is_text(scalar.type) else scalar.as_py() for scalar in scalars
            ]
            shown = [cell.decode(errors="replace") if isinstance(cell, bytes) else cell for cell in cells]
            return BadRow(RejectReason.INVALID_UTF8, "the row is not UTF-8", self.as_json(shown))

    def as_json(self, row: Cells) -> bytes:
        """The row as an object of the columns that were read."""
        return orjson.dumps(dict(zip(self.columns, row, strict=True)), default=str)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _plain(column: pa.Array) -> pa.Array:
    """Timestamps cut to milliseconds in UTC: Python's datetime holds no nanoseconds."""
    return column.cast(pa.timestamp("ms", tz="UTC"), safe=False) if pa.types.is_timestamp(column.type) else column


def open_rows(path: Path, columns: Sequence[str], *, delimiter: str | None = None, sparse: Sequence[str] = ()) -> Rows:
    """The rows of the log at `path`, whose `columns` are known to be there.

    Raises:
        LogError: if the file is missing, of a kind not known, or without a column asked for.
    """
    kind = log_kind(path)
    shown: Sequence[str]
    if kind == "jsonl":
        rows: Rows = (lines := JsonRows(path, columns))
        shown = sorted(lines.shown() | set(sparse))
    elif kind == "parquet":
        rows = (table := ParquetRows(path, columns))
        shown = table.shown
    else:
        rows = CsvRows(path, delimiter or ("\t" if kind == "tsv" else ","))
        shown = rows.columns
    for column in columns:
        if column not in shown:
            rarely = f" (or list it under sparse if the first {SNIFF} rows lack it)" if kind == "jsonl" else ""
            raise LogError(
                f"{path}: has no column {column!r}, which the mapping names: {did_you_mean(column, shown)}{rarely}"
            )
    return rows


def log_kind(path: Path) -> str:
    """`csv`, `tsv`, `jsonl` or `parquet`, by the suffix.

    Raises:
        LogError: if the file is missing or the suffix is none of these.
    """
    if not path.is_file():
        raise LogError(f"{path}: there is no such file: name a log")
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    kind = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}.get(suffix)
    if kind is None or (kind == "parquet" and path.suffix == ".gz"):
        raise LogError(
            f"{path}: is of no known kind: a log ends in .csv, .tsv or .jsonl (each also with .gz) or .parquet"
        )
    return kind
