"""How one cell of a row is read: as text, number, truth or time, whatever type the log's format gave it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from dataflows.mapping import Time

Row = Sequence[Any]
"""A row's cells, in the order of the columns the mapper was compiled for."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE = frozenset({"0", "false", "f", "no", "n", "off"})


class UnmappableError(Exception):
    """A row that cannot become events; `detail` names the column and what is wrong with it, never a value."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


def as_text(cell: Any, column: str) -> str | None:
    """A cell as text; None where it is empty. Numbers are written the short way, so that `7.0` and `7` are one user."""
    if isinstance(cell, str):
        return cell or None
    if cell is None:
        return None
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, int | Decimal):
        return str(cell)
    if isinstance(cell, float):
        if math.isnan(cell):
            return None
        return str(int(cell)) if cell.is_integer() else repr(cell)
    if isinstance(cell, date):
        return cell.isoformat()
    raise UnmappableError(f"column {column!r} holds neither text nor a number")


def as_number(cell: Any, column: str) -> float | None:
    """A cell as a finite number; None where it is empty."""
    if isinstance(cell, str):
        if not cell:
            return None
        if _NUMBER.fullmatch(cell) is None:
            raise UnmappableError(f"column {column!r} is not a number")
        cell = float(cell)
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return None
    if not isinstance(cell, int | float | Decimal) or not math.isfinite(cell):
        raise UnmappableError(f"column {column!r} is not a number")
    return float(cell)


def as_whole(cell: Any, column: str) -> int | None:
    """A cell as a whole number; None where it is empty."""
    number = as_number(cell, column)
    if number is None:
        return None
    if not number.is_integer():
        raise UnmappableError(f"column {column!r} is not a whole number")
    return int(number)


def as_truth(cell: Any, column: str) -> bool:
    """Whether a cell says yes; empty says no. Anything but the usual words and numbers is not an answer."""
    text = (as_text(cell, column) or "0").lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if _NUMBER.fullmatch(text):
        return float(text) != 0
    raise UnmappableError(f"column {column!r} says neither yes nor no")


def iso_ms(cell: Any, column: str) -> int:
    """An ISO 8601 time in milliseconds since the epoch; UTC where it names no zone."""
    if isinstance(cell, str):
        try:
            cell = datetime.fromisoformat(cell)
        except ValueError:
            raise UnmappableError(f"column {column!r} is not an ISO time") from None
    if isinstance(cell, datetime):
        moment = cell if cell.tzinfo else cell.replace(tzinfo=UTC)
    elif isinstance(cell, date):
        moment = datetime(cell.year, cell.month, cell.day, tzinfo=UTC)
    else:
        raise UnmappableError(f"column {column!r} is not an ISO time")
    return (moment - _EPOCH) // _MILLISECOND


def time_reader(time: Time, index: dict[str, int]) -> Callable[[Row], int]:
    """The function that reads a row's event time (ms); rows next to each other often share it, so it remembers one."""
    column, at = time.column, index[time.column]
    if time.format == "iso":
        last_cell: Any = None
        last_time = 0

        def iso(row: Row) -> int:
            nonlocal last_cell, last_time
            cell = row[at]
            if cell != last_cell or last_cell is None:
                last_time = iso_ms(cell, column)
                last_cell = cell
            return last_time

        return iso

    origin = time.origin_ms
    scale = 1000 if time.unit == "s" else 1

    def since_origin(row: Row) -> int:
        number = as_number(row[at], column)
        if number is None:
            raise UnmappableError(f"column {column!r} is empty and should hold the time")
        return origin + round(number * scale)

    if time.lane is None:
        return since_origin
    lane_column, lane_at, spacing = time.lane.column, index[time.lane.column], time.lane.spacing_ms

    def in_lane(row: Row) -> int:
        lane = as_whole(row[lane_at], lane_column)
        if lane is None or lane < 0:
            raise UnmappableError(f"column {lane_column!r} is not a whole number from 0 and cannot be a lane")
        return since_origin(row) + lane * spacing

    return in_lane
