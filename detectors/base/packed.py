"""Exact binary encoding of numbers; small integers, the most common values, take one byte."""

from __future__ import annotations

from array import array
from math import copysign, nan
from typing import Final, final

from librt.strings import (
    BytesWriter,
    read_f64_le,
    read_i32_le,
    read_i64_le,
    write_f64_le,
    write_i32_le,
    write_i64_le,
)
from librt.vecs import vec
from mypy_extensions import i32, i64, u8

from detectors.base.vectors import Vector

# The first byte of a number is its value if it is an integer from 0 to 251. Otherwise it is one of these markers.
_SMALL: Final[i64] = 252
_INT: Final[i64] = 253  # four bytes follow
_DOUBLE: Final[i64] = 254  # eight bytes follow
_NAN: Final[i64] = 255
_SEVEN: Final[i64] = 127
_BLANK: Final[i64] = 512
ZEROS = vec[float]([0.0] * 512)
WHOLE_ZEROS = vec[i64]([0] * 512)
"""`ZEROS` and `WHOLE_ZEROS`: new arrays are copied from these, which is faster than a loop of appends."""


def write_number(writer: BytesWriter, amount: float) -> None:
    """Write a double in one, five or nine bytes; `Reader.number` returns it exactly, and any NaN as the same NaN."""
    if 0.0 <= amount < 252.0:
        small = i64(amount)
        if float(small) == amount and (small or copysign(1.0, amount) > 0.0):
            writer.append(u8(small))
            return
    elif amount != amount:  # noqa: PLR0124 - only a NaN differs from itself
        writer.append(u8(_NAN))
        return
    if -2147483648.0 <= amount <= 2147483647.0:
        whole = i64(amount)
        if whole and float(whole) == amount:
            writer.append(u8(_INT))
            write_i32_le(writer, i32(whole))
            return
    writer.append(u8(_DOUBLE))
    write_f64_le(writer, amount)


def write_whole(writer: BytesWriter, whole: i64) -> None:
    """Write an integer, 0 or more, as a varint: seven bits per byte, lowest first."""
    while whole > _SEVEN:
        writer.append(u8((whole & _SEVEN) | 128))
        whole >>= 7
    writer.append(u8(whole))


def write_time(writer: BytesWriter, time: i64, clock: i64) -> None:
    """Write a time (ms) as its distance from the clock (ms); a negative time stands for none."""
    if time < 0:
        writer.append(0)
    elif time <= clock:
        write_whole(writer, (clock - time) * 2 + 1)
    else:
        write_whole(writer, (time - clock) * 2)


def write_key(writer: BytesWriter, key: i64) -> None:
    """Write a hash, or another integer that is seldom small, in eight bytes."""
    write_i64_le(writer, key)


@final
class Reader:
    """A reader of encoded values, from an offset in the bytes on.

    Raises:
        IndexError: from all methods but `taken`, if the bytes end before the value does.
    """

    __slots__ = ("at", "data")

    def __init__(self, data: bytes, at: i64 = 0) -> None:
        self.data = data
        self.at: i64 = at

    def number(self) -> float:
        """Read a double."""
        data, at = self.data, self.at
        first: i64 = data[at]
        if first < _SMALL:
            self.at = at + 1
            return float(first)
        if first == _NAN:
            self.at = at + 1
            return nan
        if first == _INT:
            self.at = at + 5
            return float(i64(read_i32_le(data, at + 1)))
        self.at = at + 9
        return read_f64_le(data, at + 1)

    def whole(self) -> i64:
        """Read an integer, 0 or more."""
        data, at = self.data, self.at
        whole: i64 = 0
        shift: i64 = 0
        while True:
            byte: i64 = data[at]
            at += 1
            whole |= (byte & _SEVEN) << shift
            if byte <= _SEVEN:
                self.at = at
                return whole
            shift += 7

    def time(self, clock: i64) -> i64:
        """Read a time (ms) that was written as its distance from the clock (ms); -1 for none."""
        zigzag = self.whole()
        if zigzag == 0:
            return -1
        return clock - (zigzag >> 1) if zigzag & 1 else clock + (zigzag >> 1)

    def key(self) -> i64:
        """Read a hash."""
        at = self.at
        self.at = at + 8
        return read_i64_le(self.data, at)

    def numbers(self, many: i64) -> vec[float]:
        """Read `many` doubles."""
        found = ZEROS[:many] if many <= _BLANK else vec[float]([0.0] * many)
        for at in range(many):
            found[at] = self.number()
        return found

    def keys(self, many: i64) -> vec[i64]:
        """Read `many` hashes."""
        found = WHOLE_ZEROS[:many] if many <= _BLANK else vec[i64]([0] * many)
        for at in range(many):
            found[at] = self.key()
        return found

    def wholes(self, many: i64) -> vec[i64]:
        """Read `many` integers, 0 or more."""
        found = WHOLE_ZEROS[:many] if many <= _BLANK else vec[i64]([0] * many)
        for at in range(many):
            found[at] = self.whole()
        return found

    def pairs(self, many: i64, clock: i64) -> vec[i64]:
        """Read `many` pairs of a hash and a time (ms) into one array, in which they alternate."""
        found = WHOLE_ZEROS[: 2 * many] if 2 * many <= _BLANK else vec[i64]([0] * (2 * many))
        for at in range(i64(0), 2 * many, 2):
            found[at] = self.key()
            found[at + 1] = self.time(clock)
        return found

    def taken(self, size: i64) -> bytes:
        """Read `size` raw bytes; fewer if the data ends before."""
        at = self.at
        self.at = at + size
        return self.data[at : at + size]


def pack_vector(vector: Vector) -> bytes:
    """Return a vector encoded in a quarter of its size; `unpack_vector` returns exactly the same vector."""
    raw, writer = vector.tobytes(), BytesWriter()
    for at in range(i64(0), i64(len(raw)), 8):
        write_number(writer, read_f64_le(raw, at))
    return writer.getvalue()


def unpack_vector(data: bytes) -> Vector:
    """Return the vector that `pack_vector` encoded."""
    reader, values = Reader(data), BytesWriter()
    while reader.at < len(data):
        write_f64_le(values, reader.number())
    return array("d", values.getvalue())
