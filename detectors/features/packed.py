"""Numbers as they are kept: exact, and short where they are whole, which most of a vector's are."""

from __future__ import annotations

from array import array
from math import nan
from typing import Any, Final

import msgpack

from detectors.contract import Vector

LARGEST: Final = 9_007_199_254_740_992.0
"""Above this (2 to the 53rd) a double no longer holds every whole number."""
_MINUS_ZERO = array("d", [-0.0]).tobytes()


def shortest(amount: float) -> Any:
    """A whole number as an int, which takes a byte or two; no use for telling 0.0 from -0.0."""
    return int(amount) if -LARGEST < amount < LARGEST and amount.is_integer() else amount


def pack_vector(vector: Vector) -> bytes:
    """A vector in a quarter of its bytes; `unpack_vector` gives the very same back."""
    raw = vector.tobytes()
    if _MINUS_ZERO in raw:  # seldom, and then it may be something else; the raw bytes hold whatever it is
        data: bytes = msgpack.packb(raw)
        return data
    values: list[float] = vector.tolist()
    # a NaN, and nothing else, differs from itself
    packed: bytes = msgpack.packb([None if value != value else shortest(value) for value in values])  # noqa: PLR0124
    return packed


def unpack_vector(data: bytes) -> Vector:
    """The vector that was packed."""
    values: Any = msgpack.unpackb(data)
    if isinstance(values, bytes):
        return array("d", values)
    return array("d", [nan if value is None else float(value) for value in values])
