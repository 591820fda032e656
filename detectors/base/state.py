"""State as versioned compact bytes: what snapshots hold, never our classes.

The first byte is the version of the layout, the rest MessagePack. Each kind of state has a version of its own, and its
reader knows every version up to its own.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgpack
import orjson

from schemas.errors import ExpectedError


class StateVersionError(ExpectedError, ValueError):
    """Bytes of a version that this forewarn does not read, in a sentence."""


def pack(state: dict[str, Any], version: int) -> bytes:
    """State of a version's layout as bytes."""
    return bytes([version]) + msgpack.packb(state)


def unpack(data: bytes, version: int, what: str) -> tuple[int, dict[str, Any]]:
    """The version and the state in bytes that `pack` wrote, `version` being the newest that can be read.

    Raises:
        StateVersionError: if the bytes are of a version this reader does not know.
    """
    found = known_version(data, version, what)
    state: dict[str, Any] = msgpack.unpackb(data[1:], strict_map_key=False)
    return found, state


def known_version(data: bytes, version: int, what: str, oldest: int = 1) -> int:
    """The version of bytes of state, `version` being the newest that can be read and `oldest` the oldest.

    Raises:
        StateVersionError: if it is none that this reader knows.
    """
    if not data or not oldest <= data[0] <= version:
        found = data[0] if data else "nothing"
        reads = f"version {version}" if version == oldest else f"versions {oldest} to {version}"
        raise StateVersionError(f"{what} state version {found} is unknown: this forewarn reads {reads}")
    return data[0]


def content_hash(record: dict[str, Any]) -> str:
    """16 hex digits that change when anything in the version changes."""
    return blake2b(orjson.dumps(record, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()
