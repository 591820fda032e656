"""The rows of a Parquet file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from dataflows.sources.rows import BadRow, Cells, LogError, Rows
from schemas.records import RejectReason


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
