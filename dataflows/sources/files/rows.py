"""Rows of a log file in file order; no row ends the reading.

Memory is bounded whatever the file contains: a line or row is read up to `ROW_BYTES`, and only the first `HEAD_BYTES`
of a longer one are kept.
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from dataflows.runtime.text_files import MARK, foreign_encoding
from schemas.errors import ExpectedError
from schemas.records.rejects import RejectReason

Cells = Sequence[Any]

ROW_BYTES = 4 << 20
"""Size of the longest row that is read: sixteen times the size of the longest message in four-byte characters."""
HEAD_BYTES = 1 << 10
"""Number of bytes kept of a longer row."""
_CHUNK = 1 << 16


class LogError(ExpectedError, ValueError):
    """A log cannot be read, or not with this mapping; the text is one sentence with the file and the remedy."""


class Stream(Protocol):
    """The interface of an open binary file."""

    def peek(self, size: int = ..., /) -> bytes:
        """Return some of the next bytes without consuming them."""

    def read(self, size: int = ..., /) -> bytes:
        """Read the next bytes."""

    def readline(self, size: int | None = ..., /) -> bytes:
        """Read the bytes up to the next line feed, at most `size`."""


class BadRow(NamedTuple):
    """A row that could not be parsed: the reason and its original bytes."""

    reason: RejectReason
    detail: str
    value: bytes


class Rows(ABC):
    """A log's rows in file order; every iteration reads from the start. `columns` contains the names of a row's cells.

    A caller may set `resembles`, a test for whether cells look like a row of this log, and `exact`, the columns whose
    numbers must be read digit by digit.
    """

    columns: tuple[str, ...]
    resembles: Callable[[Cells], bool] | None = None
    exact: frozenset[str] = frozenset()

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tell: Callable[[], float] = lambda: 0.0

    def fraction(self) -> float:
        """Return the fraction of the file read so far, from 0 to 1."""
        return self._tell()

    @abstractmethod
    def __iter__(self) -> Iterator[Cells | BadRow]:
        """Yield the rows, each with its cells in the order of `columns`."""

    @abstractmethod
    def as_json(self, row: Cells) -> bytes:
        """Return a row as JSON bytes, as written in the log or with every column that was read."""

    @contextmanager
    def _open(self) -> Iterator[Stream]:
        """Open the file, decompressed, at its first byte of text after a byte order mark."""
        size = max(self.path.stat().st_size, 1)
        with self.path.open("rb") as raw:
            self._tell = lambda: 1.0 if raw.closed else raw.tell() / size
            if self.path.suffix.lower() == ".gz":
                # A buffered reader around the gzip file splits lines in C; GzipFile takes a Python call for each.
                with gzip.GzipFile(fileobj=raw) as unzipped, io.BufferedReader(unzipped, _CHUNK) as stream:
                    self._skip_mark(stream)
                    yield stream
            else:
                self._skip_mark(raw)
                yield raw

    def _skip_mark(self, stream: Stream) -> None:
        first = stream.peek(len(MARK) + 1)
        encoding = foreign_encoding(first)
        if encoding is not None:
            raise LogError(f"{self.path}: is {encoding}: save the log as UTF-8")
        if first.startswith(MARK):
            stream.read(len(MARK))


def lines(stream: Stream) -> Iterator[bytes | BadRow]:
    """Yield the lines of a file with their ends; a line longer than `ROW_BYTES` as a `BadRow` with its length."""
    while line := stream.readline(ROW_BYTES + 1):
        if len(line) <= ROW_BYTES:
            yield line
            continue
        length, piece = len(line), line
        while piece and not piece.endswith(b"\n"):
            piece = stream.readline(_CHUNK)
            length += len(piece)
        yield too_long(length, line)


def too_long(length: int, value: bytes) -> BadRow:
    """Return the `BadRow` for a row of `length` bytes, with its first `HEAD_BYTES`."""
    detail = f"the row has {length:,} bytes, more than the {ROW_BYTES:,} that are read: its first {HEAD_BYTES:,} follow"
    return BadRow(RejectReason.TOO_LARGE, detail, value[:HEAD_BYTES])


def shown(cells: Any) -> bytes:
    """Return the content of a row as JSON bytes, as faithfully as JSON allows; never raise."""
    try:
        text = json.dumps(cells, ensure_ascii=False, separators=(",", ":"), default=_told)
    except Exception:  # such as a cell that contains itself, or a number with more digits than Python prints
        text = json.dumps([type(cells).__name__])
    return text.encode("utf-8", "backslashreplace")


def _told(cell: Any) -> str:
    return cell.decode(errors="backslashreplace") if isinstance(cell, bytes) else str(cell)


@contextmanager
def whole(path: Path, row: Callable[[], int]) -> Iterator[None]:
    """Convert the errors of a damaged file into a `LogError` with the number of rows read before the damage."""
    try:
        yield
    except (EOFError, OSError, UnicodeDecodeError, zlib.error, pa.ArrowException) as error:
        where = f"after row {row()}" if row() else "from its first row on"
        why = str(error) or type(error).__name__
        raise LogError(f"{path}: is damaged {where} ({why}): fetch the log again") from error
