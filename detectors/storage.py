"""State as versioned compact bytes: what snapshots hold, never our classes.

The first byte is the version of the layout, the rest MessagePack. Each kind of state has a version of its own, and its
reader knows every version up to its own.
"""

from __future__ import annotations

from typing import Any

import msgpack

_LENGTH = 2
"""Bytes that say how long a front is."""


class StateVersionError(ValueError):
    """Bytes of a version that this forewarn does not read, in a sentence."""


def pack(state: dict[str, Any], version: int) -> bytes:
    """State of a version's layout as bytes."""
    return bytes([version]) + msgpack.packb(state)


def pack_behind(front: list[Any], state: list[Any], version: int) -> bytes:
    """State as bytes that begin with a front, which can be read without the rest."""
    first = msgpack.packb(front)
    return b"".join([bytes([version]), len(first).to_bytes(_LENGTH, "big"), first, msgpack.packb(state)])


def front_of(data: bytes) -> list[Any]:
    """The front of bytes that `pack_behind` wrote."""
    front: list[Any] = msgpack.unpackb(data[1 + _LENGTH : _front_end(data)])
    return front


def behind_front(data: bytes) -> list[Any]:
    """The state in bytes that `pack_behind` wrote."""
    state: list[Any] = msgpack.unpackb(data[_front_end(data) :], strict_map_key=False)
    return state


def _front_end(data: bytes) -> int:
    return 1 + _LENGTH + int.from_bytes(data[1 : 1 + _LENGTH], "big")


def unpack(data: bytes, version: int, what: str) -> tuple[int, dict[str, Any]]:
    """The version and the state in bytes that `pack` wrote, `version` being the newest that can be read.

    Raises:
        StateVersionError: if the bytes are of a version this reader does not know.
    """
    found = known_version(data, version, what)
    state: dict[str, Any] = msgpack.unpackb(data[1:], strict_map_key=False)
    return found, state


def known_version(data: bytes, version: int, what: str) -> int:
    """The version of bytes of state, `version` being the newest that can be read.

    Raises:
        StateVersionError: if it is none that this reader knows.
    """
    if not data or not 1 <= data[0] <= version:
        found = data[0] if data else "nothing"
        reads = f"version {version}" if version == 1 else f"versions 1 to {version}"
        raise StateVersionError(f"{what} state version {found} is unknown: this forewarn reads {reads}")
    return data[0]
