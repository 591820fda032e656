"""Conversion of a cell to text, id, number, boolean or time, whatever type the log's format gave it.

Numbers are compared by value: in a format with numbers, `7`, `7.0` and `7e0` are equal, and so are `0` and `-0.0`. Text
is compared as written: `"7"` and `"7.0"` differ, and `true` equals neither of them, nor 1. If a cell is an identifier,
a number that was rounded before it was read is rejected, because several ids may share it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Self
from uuid import UUID

from dataflows.mapping.mapping import Time
from dataflows.runtime.times import epoch_ms, iso_ms

Row = Sequence[Any]
"""A row's cells, in the order of the columns the mapper was compiled for."""

EXACT_BITS = 53
"""Integers below this power of two are exact in a float; from there on, several share one float."""
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_ROUNDED = re.compile(
    r"[+-]?\d(?:\.(?P<decimals>\d+))?[eE](?P<sign>\+?)(?P<exponent>\d{1,4})|[+-]?\d{16,}\.0*", re.ASCII
)
_MOST_DIGITS = 400
"""Number of digits of the longest number that is read; a float has at most 309 before the point."""
_FAR_MS = 10**17
"""A time this far (ms) from its origin, about three million years, is invalid."""
_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE = frozenset({"0", "false", "f", "no", "n", "off"})


class UnmappableError(Exception):
    """A row that cannot become events; `detail` contains the column and the problem, never a value."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class ShortFloat(float):
    """A number whose format stores it in fewer bits than a Python float; `bits` has the meaning of `EXACT_BITS`."""

    __slots__ = ("bits",)
    bits: int

    def __new__(cls, value: float, bits: int) -> Self:
        """Return the number with its value unchanged."""
        made = super().__new__(cls, value)
        made.bits = bits
        return made


def as_text(cell: Any, column: str) -> str | None:
    """Return a cell as text, None if empty; numbers have their short form, so that `7.0` and `7` are the same user."""
    if isinstance(cell, str):
        return cell or None
    if cell is None:
        return None
    if isinstance(cell, bool):
        return "true" if cell else "false"
    try:
        if isinstance(cell, int):
            return str(cell)
        if isinstance(cell, float):
            return None if math.isnan(cell) else _number_text(Decimal(repr(float(cell))), column)
        if isinstance(cell, Decimal):
            return None if cell.is_nan() else _number_text(cell, column)
        if isinstance(cell, date):
            return cell.isoformat()
        if isinstance(cell, bytes):
            return cell.decode() or None
        if isinstance(cell, UUID):
            return str(cell)
    except UnicodeDecodeError:
        raise UnmappableError(f"column {column!r} is not UTF-8") from None
    except (ValueError, ArithmeticError):
        raise UnmappableError(f"column {column!r} holds a number of too many digits") from None
    raise UnmappableError(f"column {column!r} holds neither text nor a number")


def _number_text(number: Decimal, column: str) -> str:
    """Return a number in its short form: no exponent, no trailing zeros after the point, no negative zero."""
    if not number.is_finite():
        raise UnmappableError(f"column {column!r} is not a finite number")
    if abs(number.adjusted()) > _MOST_DIGITS:
        raise UnmappableError(f"column {column!r} holds a number of too many digits")
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def as_id(cell: Any, column: str) -> str | None:
    """Return a cell as an identifier, None if empty.

    Raises:
        UnmappableError: if several identifiers may share the cell's value.
    """
    if type(cell) is str:
        rounded = ("+" in cell or len(cell) > 16) and is_rounded(cell)
    elif isinstance(cell, float) and math.isfinite(cell):
        bits = cell.bits if isinstance(cell, ShortFloat) else EXACT_BITS
        # A fraction of up to 15 digits survives conversion to a float; in a shorter float, no digit is certain.
        rounded = abs(cell) >= 1 << bits or not (
            cell.is_integer() or (bits == EXACT_BITS and cell == float(f"{cell:.15g}"))
        )
    else:
        rounded = False
    if rounded:
        raise UnmappableError(
            f"column {column!r} is not exact: a number that was rounded, which several ids may share; write ids as text"
        )
    return as_text(cell, column)


def is_rounded(text: str) -> bool:
    """Return whether a text looks like a printed number that lost digits, such as `1.23457E+18`.

    >>> is_rounded("1.23457E+18"), is_rounded("1.2345678901234568e+18"), is_rounded("1234567890123456768.0")
    (True, True, True)
    >>> is_rounded("1234567890123456768"), is_rounded("1e99"), is_rounded("1234567.0")
    (False, False, False)
    """
    found = _ROUNDED.fullmatch(text)
    if found is None:
        return False
    if found["exponent"] is None:
        return abs(Decimal(text)) >= 1 << EXACT_BITS
    decimals = len(found["decimals"] or "")
    if not found["sign"] and decimals < 14:
        return False  # a user may be named 1e99, and no program prints a float this way
    return int(found["exponent"]) > decimals or abs(Decimal(text)) >= 1 << EXACT_BITS


def as_number(cell: Any, column: str) -> float | None:
    """Return a cell as a finite number, None if empty."""
    number = as_float(cell, column)
    if number is not None and math.isinf(number):
        raise UnmappableError(f"column {column!r} is not a number that is finite")
    return number


def as_float(cell: Any, column: str) -> float | None:
    """Return a cell as a number, infinite if it is too large for a float, None if empty or NaN."""
    if isinstance(cell, bytes):
        cell = as_text(cell, column)
    if isinstance(cell, str):
        if not cell:
            return None
        if len(cell) > _MOST_DIGITS or _NUMBER.fullmatch(cell) is None:
            raise UnmappableError(f"column {column!r} is not a number")
    elif cell is None:
        return None
    elif isinstance(cell, bool) or not isinstance(cell, int | float | Decimal):
        raise UnmappableError(f"column {column!r} is not a number")
    try:
        number = float(cell)
    except OverflowError:
        number = math.inf if cell > 0 else -math.inf
    except ValueError:  # a signalling NaN
        return None
    return None if math.isnan(number) else number


def as_whole(cell: Any, column: str) -> int | None:
    """Return a cell as an integer with exact digits, None if empty."""
    number = as_number(cell, column)
    if number is None:
        return None
    if type(cell) is int:
        return cell
    exact = Decimal(repr(float(cell)) if isinstance(cell, float) else as_text(cell, column) or "")
    if exact != exact.to_integral_value():
        raise UnmappableError(f"column {column!r} is not a whole number")
    if isinstance(cell, float) and abs(number) >= 1 << EXACT_BITS:
        raise UnmappableError(f"column {column!r} is not exact: a number that was rounded")
    return int(exact)


def as_truth(cell: Any, column: str) -> bool:
    """Return a cell as a boolean, False if empty; only the usual words and numbers are accepted."""
    text = (as_text(cell, column) or "0").lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if len(text) <= _MOST_DIGITS and _NUMBER.fullmatch(text):
        return float(text) != 0
    raise UnmappableError(f"column {column!r} says neither yes nor no")


def as_time(cell: Any, column: str) -> int:
    """Return an ISO 8601 time in milliseconds since the epoch, in UTC if it has no zone."""
    if isinstance(cell, bytes):
        cell = as_text(cell, column)
    try:
        if isinstance(cell, str):
            return iso_ms(cell)
        if isinstance(cell, datetime):
            return epoch_ms(cell)
        if isinstance(cell, date):
            return epoch_ms(datetime(cell.year, cell.month, cell.day, tzinfo=UTC))
    except (ValueError, OverflowError):
        pass
    raise UnmappableError(f"column {column!r} is not an ISO time")


def time_reader(time: Time, index: dict[str, int]) -> Callable[[Row], int]:
    """Return the function that reads a row's event time (ms).

    For ISO times it caches the last one, because adjacent rows often share it.
    """
    column, at = time.column, index[time.column]
    if time.format == "iso":
        last_cell: Any = None
        last_time = 0

        def iso(row: Row) -> int:
            nonlocal last_cell, last_time
            cell = row[at]
            if cell != last_cell or last_cell is None:
                last_time = as_time(cell, column)
                last_cell = cell
            return last_time

        return iso

    origin = time.origin_ms
    scale = 1000 if time.unit == "s" else 1

    def since_origin(row: Row) -> int:
        number = as_number(row[at], column)
        if number is None:
            raise UnmappableError(f"column {column!r} is empty and should hold the time")
        since = number * scale
        if abs(since) > _FAR_MS:
            raise UnmappableError(f"column {column!r} is no time: it lies millions of years away")
        return origin + round(since)

    if time.lane is None:
        return since_origin
    lane_column, lane_at, spacing = time.lane.column, index[time.lane.column], time.lane.spacing_ms

    def in_lane(row: Row) -> int:
        lane = as_whole(row[lane_at], lane_column)
        if lane is None or lane < 0:
            raise UnmappableError(f"column {lane_column!r} is not a whole number from 0 and cannot be a lane")
        return since_origin(row) + lane * spacing

    return in_lane
