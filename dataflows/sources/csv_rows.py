"""The rows of a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

import orjson

from dataflows.sources.rows import BadRow, Cells, LogError, Rows
from schemas.records import RejectReason


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
