"""Bounded, uniform sample of items that wait for their label; selection does not depend on the label.

Each item has a key, a hash. While the items exceed the capacity, the share of admitted keys is halved and the items
with larger keys are dropped. The share doubles again when enough capacity is free. Selection is deterministic and
independent of an item's outcome, so rates measured on the sample are those of all items.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any, NamedTuple

import msgpack

from detectors.labels.target import ESCALATIONS_CAP

KEYS = 2**24
"""Exclusive upper bound of keys."""


class Item(NamedTuple):
    """A probability or warning that waits for its label.

    `as_of` is an event time (ms); `partition` and `seq` are the position in the log. `label` is the tier of a warning,
    empty for a probability; `value` is the probability, 0 for a warning. `row` identifies the record that the item came
    from, -1 if it is not known.
    """

    user_id: str
    as_of: int
    partition: int
    seq: int
    key: int
    label: str
    value: float
    row: int = -1


class _Waiting:
    """A pending item with the upheld escalations within its horizon, each identified by its cause.

    `causes` are the latest escalations after the item; `hits` counts older ones that can no longer be identified, and
    is -1 if the user was erased. `own` are escalations from the item's own record, which the item did not predict.
    """

    __slots__ = ("_packed", "causes", "hits", "item", "own")

    def __init__(
        self, item: Item, hits: int = 0, causes: list[int] | None = None, own: list[int] | None = None
    ) -> None:
        self.item = item
        self.hits = hits
        self.causes = [] if causes is None else causes
        self.own = [] if own is None else own
        self._packed = b""

    def hit(self, cause: int, row: int) -> None:
        """Count an escalation from the record `row`."""
        if row >= 0 and row == self.item.row:
            self.own.append(cause)
        else:
            self.causes.append(cause)
            if len(self.causes) > ESCALATIONS_CAP:
                del self.causes[0]
                self.hits += 1
        self._packed = b""

    def take_back(self, cause: int) -> None:
        """Remove an escalation that was overturned."""
        for causes in (self.causes, self.own):
            if cause in causes:
                causes.remove(cause)
                self._packed = b""

    @property
    def right(self) -> bool | None:
        """Return whether the user escalated after the item; None if that cannot be determined."""
        if self.hits > 0 or self.causes:
            return True
        return None if self.own or self.hits < 0 else False

    def erase(self) -> None:
        """Erase the user's data but keep the heap slot."""
        self.hits = -1
        self.item = self.item._replace(user_id="")
        self.causes, self.own = [], []
        self._packed = b""

    def packed(self) -> bytes:
        """Return the item and its escalations as MessagePack, cached until they change."""
        if not self._packed:
            self._packed = msgpack.packb((self.item, self.hits, self.causes, self.own))
        return self._packed


class Pending:
    """Pending items, by user and by source partition in time order. `cap` bounds their number.

    An item is mature once its partition's clock has reached `as_of + horizon + grace`, in milliseconds.
    """

    def __init__(self, horizon: int, grace: int, cap: int, most: int = KEYS) -> None:
        self._horizon, self._margin, self._cap, self._most = horizon, horizon + grace, cap, most
        self.limit = most
        self._number = 0
        self._all: dict[int, _Waiting] = {}  # by number, in order of arrival
        self._heaps: dict[int, list[tuple[int, int, _Waiting]]] = {}
        self._users: dict[str, list[_Waiting]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def offer(self, item: Item) -> None:
        """Add an item if its key is below the limit."""
        if item.key >= self.limit:
            return
        self._add(_Waiting(item))
        if len(self) > self._cap:
            self._make_room()

    def escalated(self, user_id: str, as_of: int, cause: int, row: int = -1) -> None:
        """Count an escalation for the user's pending items whose horizon contains it."""
        for one in self._users.get(user_id, ()):
            if one.item.as_of <= as_of <= one.item.as_of + self._horizon:
                one.hit(cause, row)

    def overturned(self, user_id: str, cause: int) -> None:
        """Remove an overturned escalation from the user's pending items."""
        for one in self._users.get(user_id, ()):
            one.take_back(cause)

    def erase(self, user_id: str) -> None:
        """Erase a user: their pending items will never be counted. The heap slots are freed later."""
        for one in self._users.pop(user_id, ()):
            one.erase()

    def mature(self, partition: int, now: int) -> list[tuple[Item, bool]]:
        """Remove and return the items mature at a partition's clock (ms), and whether their users escalated."""
        done: list[tuple[Item, bool]] = []
        heap, until = self._heaps.get(partition), now - self._margin
        if not heap or heap[0][0] > until:  # the common case
            return done
        while heap and heap[0][0] <= until:
            _, number, one = heappop(heap)
            del self._all[number]
            if one.hits >= 0:
                self._leave(one)
                if one.right is not None:
                    done.append((one.item, one.right))
        if done and self.limit < self._most and len(self) < self._cap // 4:
            self.limit *= 2
        return done

    def _add(self, one: _Waiting) -> None:
        item = one.item
        self._number += 1  # items of equal time leave in order of arrival
        heap = self._heaps.get(item.partition)
        if heap is None:
            heap = self._heaps[item.partition] = []
        heappush(heap, (item.as_of, self._number, one))
        self._all[self._number] = one
        self._users.setdefault(item.user_id, []).append(one)

    def _leave(self, one: _Waiting) -> None:
        waiting = self._users[one.item.user_id]
        waiting.remove(one)
        if not waiting:
            del self._users[one.item.user_id]

    def _make_room(self) -> None:
        """Drop the items of erased users; while more than three quarters remain in use, halve the share of keys."""
        self._keep()
        while len(self) > self._cap * 3 // 4:
            self.limit //= 2
            self._keep()

    def _keep(self) -> None:
        """Rebuild the tables from the items that are in the share and not erased."""
        kept = [one for one in self._all.values() if one.hits >= 0 and one.item.key < self.limit]
        self._all, self._heaps, self._users = {}, {}, {}
        for one in kept:
            self._add(one)

    def state(self) -> dict[str, Any]:
        """Return the state as plain data."""
        return {"limit": self.limit, "waiting": [one.packed() for one in self._all.values() if one.hits >= 0]}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state; in the first version, items were not packed one by one.

        Before lane version 4, the position of an item's latest escalation was stored in place of its causes.
        Escalations counted then can no longer be identified or taken back.
        """
        self.limit = state["limit"]
        for one in state["waiting"]:
            item, hits, causes, *own = msgpack.unpackb(one) if isinstance(one, bytes) else one
            self._add(_Waiting(Item(*item), hits, *((causes, *own) if own else ())))
