"""The newest record of each key on a topic, so that no older record is written after it.

A flow that restarts from further back than the topic reaches produces records again that compaction has removed since.
This happens with a new recovery directory, or with a backup older than the compaction lag. The ids of these records are
no longer on the topic, so they cannot be skipped by id. Written after the newest record of their key, they would
replace it as the key's current value.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

PACKED = struct.Struct(">QBQ")
"""Binary format of an order; the bytes compare as orders do."""


class Order(NamedTuple):
    """Sort order of a record: event time (ms), then the topic of its trigger, then the offset in that topic.

    `topic` is the topic's rank in the order in which records of equal time are read.
    """

    time: int
    topic: int
    offset: int

    def packed(self) -> bytes:
        """Return the order as bytes that compare as orders do."""
        return PACKED.pack(max(self.time, 0), self.topic, max(self.offset, 0))


class Newest:
    """The order and id of the newest record of each key that was read back, until the flow has passed that record.

    The flow has passed a record once it produces the record's id again, or a newer record. An entry takes about 250
    bytes, and there is at most one for each key on the topic.
    """

    def __init__(self, kept: Iterable[tuple[bytes, bytes, str]] = ()) -> None:
        self._kept = {key: (order, name) for key, order, name in kept}

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, key: bytes) -> bool:
        return key in self._kept

    def read(self, key: bytes, name: str, order: Order) -> None:
        """Add a record that is on the topic; records arrive in the order in which they were written."""
        packed, known = order.packed(), self._kept.get(key)
        if known is None or packed >= known[0]:
            self._kept[key] = (packed, name)

    def passes(self, key: bytes, name: str) -> None:
        """Record that the flow produced a record again that is on the topic."""
        known = self._kept.get(key)
        if known is not None and known[1] == name:
            del self._kept[key]

    def is_older(self, key: bytes, order: Order) -> bool:
        """Return whether a record that is not on the topic is no newer than the newest record of its key.

        If it is newer, the flow has passed that record, and the key's entry is dropped.
        """
        known = self._kept.get(key)
        if known is None:
            return False
        if order.packed() <= known[0]:
            return True
        del self._kept[key]
        return False

    def state(self) -> list[tuple[bytes, bytes, str]]:
        """Return the records that the flow has not passed yet, as plain data."""
        return [(key, *known) for key, known in sorted(self._kept.items())]
