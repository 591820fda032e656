"""The rows of a JSONL file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from dataflows.sources.rows import BadRow, Cells, Rows
from schemas.framing import parse_json
from schemas.records import RejectReason
from schemas.refusal import UnreadableError

SNIFF = 1_000
"""How many JSONL rows are looked at to learn which columns there are."""


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
                    found = parse_json(line, undecodable="strict")
                except UnreadableError as error:
                    if line.strip():
                        yield _not_json(error.reason, line.rstrip(b"\r\n"))
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


def _not_json(reason: RejectReason, line: bytes) -> BadRow:
    if reason is RejectReason.INVALID_UTF8:
        return BadRow(reason, "the line is not UTF-8", line)
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
