"""Who has changed, and to what state, as bytes in which all of them stand one behind the other."""

from __future__ import annotations

from collections.abc import Iterable

from librt.strings import BytesWriter
from mypy_extensions import i64

from detectors.base.packed import Reader, write_whole

Change = tuple[str, bytes | None]
"""A user and their state, which is never empty; None of whom nothing is kept any more."""


def pack_changes(changes: Iterable[Change]) -> bytes:
    """All of them, in their order; of those of one user the last holds."""
    writer = BytesWriter()
    for user_id, state in changes:
        write_change(writer, user_id, state)
    return writer.getvalue()


def write_change(writer: BytesWriter, user_id: str, state: bytes | None) -> None:
    """One of them, behind those that were written before."""
    name = user_id.encode("utf-8", "surrogatepass")
    write_whole(writer, len(name))
    writer.write(name)
    if state is None:
        write_whole(writer, 0)
    else:
        write_whole(writer, len(state))
        writer.write(state)


def unpack_changes(packed: bytes) -> list[Change]:
    """The changes that were packed.

    Raises:
        ValueError: if the bytes end in the middle of one.
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
