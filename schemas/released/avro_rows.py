"""Compiled encoding of feature rows to Avro. Most of a row is its map of features, with the same names in every row."""

from __future__ import annotations

from librt.strings import BytesWriter, read_f64_le, write_f64_le
from mypy_extensions import i64, u8

NUMBER, ABSENT = 2, 0
"""Encoded branches of the union of null and double: which of them follows."""


def write_long(writer: BytesWriter, number: i64) -> None:
    """Write an Avro long: zigzag, then seven bits per byte, lowest first."""
    rest = (number << 1) ^ (number >> 63)
    while rest > 0x7F:
        writer.append(u8((rest & 0x7F) | 0x80))
        rest >>= 7
    writer.append(u8(rest))


def write_string(writer: BytesWriter, text: str) -> None:
    """Write an Avro string: its length in bytes, then UTF-8."""
    written = text.encode()
    write_long(writer, len(written))
    writer.write(written)


def string(text: str) -> bytes:
    """Return the bytes of an Avro string."""
    writer = BytesWriter()
    write_string(writer, text)
    return writer.getvalue()


def rows_of(
    prefix: bytes,
    keys: list[bytes],
    matrix: bytes,
    user_ids: list[str],
    times: list[int],
    event_ids: list[str],
    scores: list[float],
    tiers: list[str],
    versions: list[str],
) -> list[bytes]:
    """Return one datum behind its prefix for each row; NaN means absent.

    `keys` are the encoded feature names. `matrix` holds little-endian doubles, row by row.
    """
    found: list[bytes] = []
    at: i64 = 0
    for row, user_id in enumerate(user_ids):
        writer = BytesWriter()
        writer.write(prefix)
        write_string(writer, user_id)
        write_long(writer, times[row])
        write_string(writer, event_ids[row])
        score = scores[row]
        if score == score:  # noqa: PLR0124 - only a NaN differs from itself
            writer.append(NUMBER)
            write_f64_le(writer, score)
            writer.append(0)  # insufficient_history: false, because there is a score
        else:
            writer.append(ABSENT)
            writer.append(1)
        write_string(writer, tiers[row])
        write_string(writer, versions[row])
        write_long(writer, len(keys))  # an Avro map is a block of entries, then an empty block
        for key in keys:
            writer.write(key)
            amount = read_f64_le(matrix, at)
            at += 8
            if amount == amount:  # noqa: PLR0124
                writer.append(NUMBER)
                write_f64_le(writer, amount)
            else:
                writer.append(ABSENT)
        writer.append(0)
        found.append(writer.getvalue())
    return found
