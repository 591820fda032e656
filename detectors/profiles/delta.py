"""Encoding of user-state changes as one byte string."""

from __future__ import annotations

from collections.abc import Iterable

from librt.strings import BytesWriter
from mypy_extensions import i64

from detectors.base.packed import Reader, write_whole

Change = tuple[str, bytes | None]
"""(user id, state); None means deleted. A state is never empty."""


def pack_changes(changes: Iterable[Change]) -> bytes:
    """Return the changes as bytes, in order; of several changes of one user, the last applies."""
    writer = BytesWriter()
    for user_id, state in changes:
        write_change(writer, user_id, state)
    return writer.getvalue()


def write_change(writer: BytesWriter, user_id: str, state: bytes | None) -> None:
    """Append one change to the writer."""
    name = user_id.encode("utf-8", "surrogatepass")
    write_whole(writer, len(name))
    writer.write(name)
    if state is None:
        write_whole(writer, 0)
    else:
        write_whole(writer, len(state))
        writer.write(state)


def unpack_changes(packed: bytes) -> list[Change]:
    """Return the changes in packed bytes.

    Raises:
        ValueError: if the bytes end in the middle of a change.
    """
    reader, end = Reader(packed), i64(len(packed))
    changes: list[Change] = []
    while reader.at < end:
        user_id = reader.taken(reader.whole()).decode("utf-8", "surrogatepass")
        size = reader.whole()
        changes.append((user_id, reader.taken(size) if size else None))
    if reader.at > end:
        raise ValueError("the changes end in the middle of one")
    return changes
