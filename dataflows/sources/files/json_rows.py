"""The rows of a JSONL file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from dataflows.runtime.text_files import MARK
from dataflows.sources.files.rows import BadRow, Cells, Rows, lines
from schemas.records.rejects import RejectReason

SNIFF = 1_000
"""How many JSONL rows are looked at to learn which columns there are."""

NAMED = 1_000
"""How many columns are named at most when one is missing."""

_DIGITS = 4_300
"""Python reads a whole number of no more digits, because that takes quadratic time."""


class LenientLine(bytes):
    """A line that only a lenient JSON parser reads: its strings may hold half a surrogate pair, which is no UTF-8."""

    __slots__ = ()


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
        exact = [at for at, column in enumerate(self.columns) if column in self.exact]
        for found in self.objects():
            if isinstance(found, BadRow):
                yield found
                continue
            cells = self._cells(*found)
            for at in exact:
                kind = type(cells[at])
                if kind is float or (kind is list and any(type(one) is float for one in cells[at])):
                    again = _leniently(found[1])  # with decimals, which say what is written
                    if isinstance(again, dict):
                        cells = self._cells(again, found[1])
                    break
            yield cells

    def _cells(self, found: dict[str, Any], line: bytes) -> list[Any]:
        if self._nested:
            return [*(_reach(found, column) for column in self.columns), line]
        return [*map(found.get, self.columns), line]

    def objects(self) -> Iterator[tuple[dict[str, Any], bytes] | BadRow]:
        """Every line that is not blank: as an object with its bytes, or why it is none."""
        with self._open() as stream:
            for line in lines(stream):
                if isinstance(line, BadRow):
                    yield line
                    continue
                try:
                    found = orjson.loads(line)
                except orjson.JSONDecodeError:
                    bare = line.removeprefix(MARK).rstrip(b"\r\n")  # files with a mark may have been joined
                    if not bare.strip():
                        continue
                    found = _leniently(bare)
                    if isinstance(found, BadRow):
                        yield found
                        continue
                    line = LenientLine(bare)  # noqa: PLW2901 - from here on, this is the line
                if isinstance(found, dict):
                    yield found, line
                else:
                    yield BadRow(RejectReason.UNMAPPED_ROW, "the line is not a JSON object", line.rstrip(b"\r\n"))

    def shown(self) -> set[str]:
        """The columns asked for that the first rows have, and others that they have, nested ones with their path."""
        keys: set[str] = set()
        missing = set(self.columns)
        for found in islice(self.objects(), SNIFF):
            if not isinstance(found, BadRow):
                missing -= {column for column in missing if _reach(found[0], column, _ABSENT) is not _ABSENT}
                keys.update(islice(_paths(found[0]), max(NAMED - len(keys), 0)))
        return keys | (set(self.columns) - missing)

    def as_json(self, row: Cells) -> bytes:
        """The line itself."""
        line: bytes = row[-1]
        return line.rstrip(b"\r\n")


_ABSENT = object()


def _leniently(line: bytes) -> Any:
    """Return what a line holds, with numbers digit by digit and strings that may hold half a surrogate pair."""
    try:
        return json.loads(line.decode(), parse_float=Decimal, parse_int=_whole)
    except UnicodeDecodeError:
        return BadRow(RejectReason.INVALID_UTF8, "the line is not UTF-8", line)
    except (ValueError, ArithmeticError, RecursionError):
        return BadRow(RejectReason.MALFORMED_JSON, "the line is not JSON", line)


def _whole(digits: str) -> int | Decimal:
    return int(digits) if len(digits) < _DIGITS else Decimal(digits)


def _reach(found: dict[str, Any], column: str, absent: Any = None) -> Any:
    """A key of its own first, and otherwise a path into objects."""
    if column in found:
        return found[column]
    reached: Any = found
    for step in column.split("."):
        reached = reached.get(step, absent) if isinstance(reached, dict) else absent
    return reached


def _paths(found: dict[str, Any]) -> Iterator[str]:
    """The keys of an object and of the objects in it, which may be deeper than functions can call themselves."""
    inside = [("", found)]
    while inside:
        prefix, this = inside.pop()
        for key, value in this.items():
            yield prefix + key
            if isinstance(value, dict):
                inside.append((f"{prefix}{key}.", value))
