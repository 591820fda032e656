"""State as versioned compact bytes: snapshots contain these, never instances of our classes.

The first byte is the version of the layout, the rest is MessagePack. Each kind of state has its own version number. A
reader accepts the versions from the oldest it supports up to its own.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgpack
import orjson

from schemas.errors import ExpectedError


class StateVersionError(ExpectedError, ValueError):
    """State bytes of a version that this release does not read; the message is one sentence."""


def pack(state: dict[str, Any], version: int) -> bytes:
    """Return state in the layout of a version as bytes."""
    return bytes([version]) + msgpack.packb(state)


def unpack(data: bytes, version: int, what: str) -> tuple[int, dict[str, Any]]:
    """Return the version and the state in bytes from `pack`; `version` is the newest that can be read.

    Raises:
        StateVersionError: if there are no bytes, or they have a version that this reader does not support.
    """
    found = known_version(data, version, what)
    state: dict[str, Any] = msgpack.unpackb(data[1:], strict_map_key=False)
    return found, state


def known_version(data: bytes, version: int, what: str, oldest: int = 1) -> int:
    """Return the version of state bytes; `version` is the newest that can be read and `oldest` the oldest.

    Raises:
        StateVersionError: if there are no bytes, or they have a version outside this range.
    """
    if not data or not oldest <= data[0] <= version:
        found = data[0] if data else "nothing"
        reads = f"version {version}" if version == oldest else f"versions {oldest} to {version}"
        raise StateVersionError(f"{what} state version {found} is unknown: this forewarn reads {reads}")
    return data[0]


def content_hash(record: dict[str, Any]) -> str:
    """Return the content hash of a record, 16 hex digits, independent of the order of its keys."""
    return blake2b(orjson.dumps(record, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()
