"""The newest record of each key on a topic, so that nothing older is written behind it.

A flow that goes back further than the topic does gives again what compaction has removed since: with a new recovery
directory, or with a backup that is older than the compaction lag. Its ids are no longer there to be left out. Written
behind the newest record of their key, they would become what the topic says of that key.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

PACKED = struct.Struct(">QBQ")
"""An order as bytes that compare as it does."""


class Order(NamedTuple):
    """When a record came about: event time (ms), then the topic of its trigger, then the offset there.

    `topic` numbers the topics in the order in which records of one time are read.
    """

    time: int
    topic: int
    offset: int

    def packed(self) -> bytes:
        """Return the order as bytes that compare as orders do."""
        return PACKED.pack(max(self.time, 0), self.topic, max(self.offset, 0))


class Newest:
    """The order and id of the newest record read back of each key, until the flow has passed it.

    The flow has passed it when it gives its id again, or something newer. An entry takes some 250 bytes, and there is
    at most one for each key on the topic.
    """

    def __init__(self, kept: Iterable[tuple[bytes, bytes, str]] = ()) -> None:
        self._kept = {key: (order, name) for key, order, name in kept}

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, key: bytes) -> bool:
        return key in self._kept

    def read(self, key: bytes, name: str, order: Order) -> None:
        """Take in a record that is on the topic; records come in the order in which they were written."""
        packed, known = order.packed(), self._kept.get(key)
        if known is None or packed >= known[0]:
            self._kept[key] = (packed, name)

    def passes(self, key: bytes, name: str) -> None:
        """Note that the flow gives a record again that is on the topic."""
        known = self._kept.get(key)
        if known is not None and known[1] == name:
            del self._kept[key]

    def is_older(self, key: bytes, order: Order) -> bool:
        """Return whether a record that is not on the topic is older than what is; if not, the flow has passed that."""
        known = self._kept.get(key)
        if known is None:
            return False
        if order.packed() <= known[0]:
            return True
        del self._kept[key]
        return False

    def state(self) -> list[tuple[bytes, bytes, str]]:
        """Return what is waited for, as plain data."""
        return [(key, *known) for key, known in sorted(self._kept.items())]
