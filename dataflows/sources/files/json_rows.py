"""Rows of a JSONL file."""

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
"""Number of JSONL rows that are read to find out which columns exist."""

NAMED = 1_000
"""Maximum number of existing columns collected for the error about a missing one."""

_DIGITS = 4_300
"""Integers with this many digits or more become `Decimal`.

Python refuses to parse integers with more digits, because that takes quadratic time.
"""


class LenientLine(bytes):
    """A line that only a lenient JSON parser accepts.

    Its strings may contain lone surrogates, which are not valid UTF-8.
    """

    __slots__ = ()


class JsonRows(Rows):
    """A JSONL file, one object a line, with the requested columns as cells; `a.b` addresses a key of a nested object.

    An absent key is an empty cell. The line itself follows as the last cell.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        super().__init__(path)
        self.columns = tuple(columns)
        self._nested = any("." in column for column in columns)

    def __iter__(self) -> Iterator[Cells | BadRow]:
        """Yield the rows; lines that are not JSON objects as `BadRow`."""
        exact = [at for at, column in enumerate(self.columns) if column in self.exact]
        for found in self.objects():
            if isinstance(found, BadRow):
                yield found
                continue
            cells = self._cells(*found)
            for at in exact:
                kind = type(cells[at])
                if kind is float or (kind is list and any(type(one) is float for one in cells[at])):
                    again = _leniently(found[1])  # with decimals, which keep the digits as written
                    if isinstance(again, dict):
                        cells = self._cells(again, found[1])
                    break
            yield cells

    def _cells(self, found: dict[str, Any], line: bytes) -> list[Any]:
        if self._nested:
            return [*(_reach(found, column) for column in self.columns), line]
        return [*map(found.get, self.columns), line]

    def objects(self) -> Iterator[tuple[dict[str, Any], bytes] | BadRow]:
        """Yield each line that is not blank as an object with its bytes, or as `BadRow` if it is not an object."""
        with self._open() as stream:
            for line in lines(stream):
                if isinstance(line, BadRow):
                    yield line
                    continue
                try:
                    found = orjson.loads(line)
                except orjson.JSONDecodeError:
                    bare = line.removeprefix(MARK).rstrip(b"\r\n")  # concatenated files may have a mark inside
                    if not bare.strip():
                        continue
                    found = _leniently(bare)
                    if isinstance(found, BadRow):
                        yield found
                        continue
                    line = LenientLine(bare)  # noqa: PLW2901 - it replaces the line from here on
                if isinstance(found, dict):
                    yield found, line
                else:
                    yield BadRow(RejectReason.UNMAPPED_ROW, "the line is not a JSON object", line.rstrip(b"\r\n"))

    def shown(self) -> set[str]:
        """Return the requested columns in the first `SNIFF` rows and up to `NAMED` others, nested ones as paths."""
        keys: set[str] = set()
        missing = set(self.columns)
        for found in islice(self.objects(), SNIFF):
            if not isinstance(found, BadRow):
                missing -= {column for column in missing if _reach(found[0], column, _ABSENT) is not _ABSENT}
                keys.update(islice(_paths(found[0]), max(NAMED - len(keys), 0)))
        return keys | (set(self.columns) - missing)

    def as_json(self, row: Cells) -> bytes:
        """Return the line itself, without its line end."""
        line: bytes = row[-1]
        return line.rstrip(b"\r\n")


_ABSENT = object()


def _leniently(line: bytes) -> Any:
    """Return the value of a JSON line, with exact numbers and possibly lone surrogates; a `BadRow` if it is invalid."""
    try:
        return json.loads(line.decode(), parse_float=Decimal, parse_int=_whole)
    except UnicodeDecodeError:
        return BadRow(RejectReason.INVALID_UTF8, "the line is not UTF-8", line)
    except (ValueError, ArithmeticError, RecursionError):
        return BadRow(RejectReason.MALFORMED_JSON, "the line is not JSON", line)


def _whole(digits: str) -> int | Decimal:
    return int(digits) if len(digits) < _DIGITS else Decimal(digits)


def _reach(found: dict[str, Any], column: str, absent: Any = None) -> Any:
    """Return the value of the key `column` if it exists, otherwise the value at that dotted path in nested objects."""
    if column in found:
        return found[column]
    reached: Any = found
    for step in column.split("."):
        reached = reached.get(step, absent) if isinstance(reached, dict) else absent
    return reached


def _paths(found: dict[str, Any]) -> Iterator[str]:
    """Yield the keys of an object and its nested objects; iterative, since nesting may exceed the recursion limit."""
    inside = [("", found)]
    while inside:
        prefix, this = inside.pop()
        for key, value in this.items():
            yield prefix + key
            if isinstance(value, dict):
                inside.append((f"{prefix}{key}.", value))
