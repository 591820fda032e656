"""Canonical columns, named as in the records: the output of a SQL mapping, and its conversion to events."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from dataflows.mapping.cells import UnmappableError, as_float, as_id, as_number, as_text, as_whole
from dataflows.mapping.compile import UNREADABLE
from schemas.records.base import CHAT, MODERATION, Subject

Read = Callable[[Any, str], Any]


class CanonicalField(NamedTuple):
    """One column of a kind of event. An unreadable value of a `lenient` column costs only that part of the event."""

    column: str
    read: Read
    required: bool = False
    lenient: bool = False


def _recipients(cell: Any, column: str) -> list[str | None] | None:
    """Return distinct recipients, None for one that is not a valid name; None if there are none."""
    if cell is None:
        return None
    if not isinstance(cell, list | tuple):
        raise UnmappableError(f"column {column!r} is not a list")
    return list(dict.fromkeys(_recipient(name, column) for name in cell if name is not None and name != "")) or None


def _recipient(cell: Any, column: str) -> str | None:
    try:
        return as_id(cell, column)
    except UnmappableError:
        return None


def _scores(cell: Any, column: str) -> list[dict[str, Any]] | None:
    """Return scorer results without those that have no value; an unreadable value is kept for validation to count."""
    if cell is None:
        return None
    if not isinstance(cell, list | tuple) or not all(one is None or isinstance(one, Mapping) for one in cell):
        raise UnmappableError(f"column {column!r} is not a list of scorer, version and value")
    return [found for one in cell if one is not None and (found := _score(one, column)) is not None] or None


def _score(one: Mapping[str, Any], column: str) -> dict[str, Any] | None:
    value = one.get("value")
    # A text that says nan is a value that somebody computed from an unreadable one, not an empty cell.
    unreadable = (isinstance(value, float) and math.isnan(value)) or value == "nan"
    try:
        value = UNREADABLE if unreadable else as_float(value, column)
    except UnmappableError:
        value = UNREADABLE
    if value is None:
        return None
    return {
        "scorer": as_text(one.get("scorer"), column),
        "version": as_text(one.get("version"), column),
        "value": value,
    }


def _source(cell: Any, column: str) -> str:
    return as_text(cell, column) or "unknown"


FIELDS: dict[str, tuple[CanonicalField, ...]] = {
    "message": (
        CanonicalField("recipients", _recipients, lenient=True),
        CanonicalField("scores", _scores, lenient=True),
        CanonicalField("channel", as_id, required=True),
        CanonicalField("text", as_text, lenient=True),
        CanonicalField("locale", as_text, lenient=True),
        CanonicalField("age_band", as_text, lenient=True),
    ),
    "report": (
        CanonicalField("reporter_id", as_id, lenient=True),
        CanonicalField("category", as_text, lenient=True),
        CanonicalField("channel", as_id),
        CanonicalField("message_id", as_id),
    ),
    "sanction": (
        CanonicalField("severity", as_whole, required=True),
        CanonicalField("action", as_text, required=True),
        CanonicalField("policy", as_text, required=True),
        CanonicalField("source", _source, lenient=True),
    ),
    "reversal": (
        CanonicalField("sanction_id", as_id, required=True),
        CanonicalField("reason", as_text, lenient=True),
    ),
    "exposure": (
        CanonicalField("probability", as_number, required=True),
        CanonicalField("intervention", as_text, required=True),
        CanonicalField("arm", as_text, required=True),
    ),
    "erasure": (),
}
"""The columns of each kind of event, in the order of the fields of a TOML mapping's events."""

COMMON = ("kind", "event_time", "user_id", "event_id")
"""Columns of every kind of event."""
COLUMNS = (*COMMON, *dict.fromkeys(field.column for fields in FIELDS.values() for field in fields))
"""Every canonical column."""


class MissingColumnError(Exception):
    """A kind of event needs a column that the mapping does not name."""

    def __init__(self, kind: str, column: str) -> None:
        super().__init__(kind, column)
        self.kind, self.column = kind, column


class EventBuilder:
    """Builds events from rows with the given canonical columns; each kind's columns are looked up once."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._index = {column: at for at, column in enumerate(columns)}
        self._kinds: dict[str, list[tuple[CanonicalField, int]]] = {}
        self._user, self._kind, self._id = self._at("user_id"), self._at("kind"), self._at("event_id")

    def _at(self, column: str) -> int:
        return self._index.get(column, -1)

    def build(self, row: Sequence[Any], generated_id: str, time: int | None) -> tuple[Subject, dict[str, Any]]:
        """Return a row's event with its subject; `generated_id` is used where the row has no column `event_id`.

        Raises:
            UnmappableError: if a required column is empty or unreadable.
            MissingColumnError: if a required column of the event's kind is not there at all.
        """
        kind = row[self._kind]
        fields = self._kinds.get(kind) if isinstance(kind, str) else None
        if fields is None:
            fields = self._fields_of(kind)
        if time is None:
            raise UnmappableError(f"{kind}: column 'event_time' is empty, or was not a time")
        event: dict[str, Any] = {
            "event_id": generated_id if self._id < 0 else _required(as_id, row[self._id], "event_id", kind),
            "event_time": time,
            "user_id": _required(as_id, row[self._user], "user_id", kind),
        }
        detail = event
        if kind != "message":
            event["kind"] = kind
            if kind != "erasure":
                detail = event[kind] = {}
        for field, at in fields:
            cell = row[at] if at >= 0 else None
            if field.required:
                found = _required(field.read, cell, field.column, kind)
            else:
                try:
                    found = field.read(cell, field.column)
                except UnmappableError as error:
                    if not field.lenient:
                        raise UnmappableError(f"{kind}: {error.detail}") from None
                    found = UNREADABLE
            if found is not None:
                detail[field.column] = found
        return (CHAT if kind == "message" else MODERATION), event

    def _fields_of(self, kind: Any) -> list[tuple[CanonicalField, int]]:
        if kind is None or kind == "":
            raise UnmappableError("column 'kind' is empty: select only rows that are events")
        if not isinstance(kind, str) or kind not in FIELDS:
            raise UnmappableError(f"column 'kind' is none of {', '.join(FIELDS)}")
        for field in FIELDS[kind]:
            if field.required and field.column not in self._index:
                raise MissingColumnError(kind, field.column)
        found = [(field, self._at(field.column)) for field in FIELDS[kind]]
        # Optional columns that the mapping does not name are nothing to look at, apart from the one with a default.
        self._kinds[kind] = [(field, at) for field, at in found if at >= 0 or field.column == "source"]
        return self._kinds[kind]


def _required(read: Read, cell: Any, column: str, kind: str) -> Any:
    try:
        found = read(cell, column)
    except UnmappableError as error:
        raise UnmappableError(f"{kind}: {error.detail}") from None
    if found is None:
        raise UnmappableError(f"{kind}: column {column!r} is empty, or could not be converted")
    return found
