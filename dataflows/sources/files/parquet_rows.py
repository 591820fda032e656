"""Rows of a Parquet file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dataflows.mapping.cells import ShortFloat
from dataflows.sources.files.rows import ROW_BYTES, BadRow, Cells, LogError, Rows, shown, too_long
from schemas.records.rejects import RejectReason

BATCH_ROWS = 8_192
BATCH_BYTES = 64 << 20
"""Maximum total size of a text column in a batch; a larger batch is converted to Python values row by row."""


class ParquetRows(Rows):
    """A Parquet file, read in batches; only the requested columns are decoded.

    Strings without an annotation, as written by old writers, are read as UTF-8 too. Texts are read as dictionaries, so
    that a long text shared by many rows is held once.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        super().__init__(path)
        self.columns = tuple(columns)
        try:
            with pq.ParquetFile(path) as file:
                schema = file.schema_arrow
                self.shown = tuple(schema.names)
        except (pa.ArrowException, OSError, UnicodeDecodeError):
            raise LogError(f"{path}: is not Parquet, or damaged: correct the suffix or the file") from None
        twice = next((column for column in columns if self.shown.count(column) > 1), None)
        if twice is not None:
            raise LogError(f"{path}: has column {twice!r} twice: rename one of them")
        self._texts = [column for column in columns if column in self.shown and _is_text(schema.field(column).type)]

    def __iter__(self) -> Iterator[Cells | BadRow]:
        """Yield the rows; a row with an unreadable value as `BadRow`."""
        # Old writers' 96-bit times are nanoseconds of any year, which do not fit into 64 bits.
        with pq.ParquetFile(
            self.path, read_dictionary=self._texts, coerce_int96_timestamp_unit="ms", pre_buffer=False
        ) as file:
            total, done = max(file.metadata.num_rows, 1), 0
            self._tell = lambda: done / total
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=list(self.columns)):
                done += batch.num_rows
                columns = [batch.column(column) for column in self.columns]
                try:
                    lists = [_values(column) for column in columns]
                except Exception:  # then row by row, to find the value that cannot be read
                    lists = None
                if lists is None:
                    yield from (self._row([column.slice(at, 1) for column in columns]) for at in range(batch.num_rows))
                else:
                    yield from zip(*lists, strict=True)

    def _row(self, values: list[pa.Array]) -> Cells | BadRow:
        """Read one row, given as one array of length 1 per column, so that an unreadable value is found."""
        cells: list[object] = []
        problem: tuple[RejectReason, str] | None = None
        for column, value in zip(self.columns, values, strict=True):
            text = _bytes(value[0])
            if text is not None and len(text) > ROW_BYTES:
                return too_long(len(text), text)
            try:
                cells.append(_values(value)[0] if text is None else text.decode())
            except UnicodeDecodeError:
                problem = problem or (RejectReason.INVALID_UTF8, "the row is not UTF-8")
                cells.append(text)
            except Exception as error:
                why = "is beyond the years 1 to 9999" if isinstance(error, OverflowError) else "cannot be read"
                problem = problem or (RejectReason.UNMAPPED_ROW, f"column {column!r} holds a {value.type} that {why}")
                cells.append(value.to_string().strip("[]\n "))  # Arrow can print values that Python cannot represent
        return cells if problem is None else BadRow(*problem, self.as_json(cells))

    def as_json(self, row: Cells) -> bytes:
        """Return the row as a JSON object of the columns that were read."""
        return shown(dict(zip(self.columns, row, strict=True)))


class _UnreadableError(Exception):
    """The values of a column cannot be read together."""


def _values(column: pa.Array) -> list[Any]:
    """Return a column's values as Python objects; errors of Arrow and Python about a value propagate.

    Raises:
        _UnreadableError: if a text is longer than `ROW_BYTES`, or the texts together are longer than `BATCH_BYTES`.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        if _is_text(kind.value_type):
            lengths = pc.take(pc.binary_length(column.dictionary.cast(_as_bytes(kind.value_type))), column.indices)
            if (pc.max(lengths).as_py() or 0) > ROW_BYTES or (pc.sum(lengths).as_py() or 0) > BATCH_BYTES:
                raise _UnreadableError
        column = column.dictionary_decode()
        kind = column.type
    if _is_text(kind):
        column = column.cast(pa.large_string())
    elif pa.types.is_timestamp(kind):
        # Python's datetime has no nanoseconds: times are truncated to milliseconds. A finer unit could overflow.
        column = column.cast(pa.timestamp("s" if kind.unit == "s" else "ms", tz="UTC"), safe=False)
    values: list[Any] = column.to_pylist()
    if pa.types.is_float32(kind) or pa.types.is_float16(kind):
        digits = 24 if pa.types.is_float32(kind) else 11
        return [None if value is None else ShortFloat(value, digits) for value in values]
    return values


def _bytes(scalar: pa.Scalar) -> bytes | None:
    """Return the bytes of a text, or None for any other value."""
    if pa.types.is_dictionary(scalar.type):
        scalar = scalar.value
    if not scalar.is_valid or not _is_text(scalar.type):
        return None
    return scalar.as_buffer().to_pybytes()


def _is_text(kind: pa.DataType) -> bool:
    return (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _as_bytes(kind: pa.DataType) -> pa.DataType:
    return kind if pa.types.is_fixed_size_binary(kind) else pa.large_binary()
