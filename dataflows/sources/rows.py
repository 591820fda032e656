"""What it is to read a log file as it stands: rows in file order, none of which ever ends the reading."""

from __future__ import annotations

import gzip
import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from schemas.expected import ExpectedError
from schemas.records import RejectReason

Cells = Sequence[Any]


class LogError(ExpectedError, ValueError):
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
