"""What waits for its label: a bounded, uniform sample that does not look at the label.

Each item has a key, a hash. While there are more items than room, the largest keys give way, and the share of the keys
that is let in halves; it doubles again when much room has become free. Nothing depends on chance, and an item's
place in the sample not on what came of it, so rates read off the sample are those of all items.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any, NamedTuple

import msgpack

KEYS = 2**24
"""Keys lie below this."""


class Item(NamedTuple):
    """A probability or warning that waits: whose, as of when (ms), its place in the log, and what it said."""

    user_id: str
    as_of: int
    partition: int
    seq: int
    key: int
    label: str
    value: float


class _Waiting:
    """An item with the upheld escalations that came within its horizon: how many, and the place of the latest."""

    __slots__ = ("_packed", "hits", "item", "latest")

    def __init__(self, item: Item, hits: int = 0, latest: int = -1) -> None:
        self.item = item
        self.hits = hits  # -1 where the user was erased
        self.latest = latest
        self._packed = b""

    def hit(self, more: int, latest: int) -> None:
        """Count escalations, or take them back."""
        self.hits += more
        self.latest = latest
        self._packed = b""

    def erase(self) -> None:
        """Say nothing of the user any more, nor that it waits."""
        self.hits = -1
        self.item = self.item._replace(user_id="")
        self._packed = b""

    def packed(self) -> bytes:
        """The item and its escalations as MessagePack, made once until they change."""
        if not self._packed:
            self._packed = msgpack.packb((self.item, self.hits, self.latest))
        return self._packed


class Pending:
    """Items that wait, by source partition in the order of time and by user. `cap` bounds their number.

    An item is mature when its partition's clock has reached `as_of + horizon + grace`, in milliseconds.
    """

    def __init__(self, horizon: int, grace: int, cap: int, most: int = KEYS) -> None:
        self._horizon, self._margin, self._cap, self._most = horizon, horizon + grace, cap, most
        self.limit = most
        self._number = 0
        self._all: dict[int, _Waiting] = {}  # by number, in the order they came in
        self._heaps: dict[int, list[tuple[int, int, _Waiting]]] = {}
        self._users: dict[str, list[_Waiting]] = {}
        self._escalated: dict[str, int] = {}  # place of the latest escalation, of users with items that wait

    def __len__(self) -> int:
        return len(self._all)

    def offer(self, item: Item) -> None:
        """Let an item wait, if its key is in the share."""
        if item.key >= self.limit:
            return
        self._add(_Waiting(item))
        if len(self) > self._cap:
            self._make_room()

    def escalated(self, user_id: str, as_of: int, seq: int) -> None:
        """A user escalated: what waits, and was said within the horizon before that, was right."""
        waiting = self._users.get(user_id)
        if waiting is None:
            return
        self._escalated[user_id] = seq
        for one in waiting:
            if one.item.as_of <= as_of <= one.item.as_of + self._horizon:
                one.hit(1, seq)

    def overturned(self, user_id: str) -> None:
        """A user's latest escalation was overturned: it was right for nothing that still waits."""
        latest = self._escalated.pop(user_id, None)
        if latest is None:
            return
        for one in self._users.get(user_id, ()):
            if one.latest == latest:
                one.hit(-1, -1)

    def erase(self, user_id: str) -> None:
        """Forget a user: what waits of theirs will never be counted. Its place in the heap is freed in its time."""
        self._escalated.pop(user_id, None)
        for one in self._users.pop(user_id, ()):
            one.erase()

    def mature(self, partition: int, now: int) -> list[tuple[Item, bool]]:
        """The items that have become mature by a partition's clock (ms), and whether their users escalated."""
        done: list[tuple[Item, bool]] = []
        heap, until = self._heaps.get(partition), now - self._margin
        if not heap or heap[0][0] > until:  # as nearly always
            return done
        while heap and heap[0][0] <= until:
            _, number, one = heappop(heap)
            del self._all[number]
            if one.hits >= 0:
                done.append((one.item, one.hits > 0))
                self._leave(one)
        if done and self.limit < self._most and len(self) < self._cap // 4:
            self.limit *= 2
        return done

    def _add(self, one: _Waiting) -> None:
        item = one.item
        self._number += 1  # items of one time come out in the order they came in
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
            self._escalated.pop(one.item.user_id, None)

    def _make_room(self) -> None:
        """Drop what belongs to erased users and, where that frees too little to go on for a while, halve the share."""
        self._keep()
        while len(self) > self._cap * 3 // 4:
            self.limit //= 2
            self._keep()

    def _keep(self) -> None:
        """Begin anew with what is in the share and not erased."""
        kept = [one for one in self._all.values() if one.hits >= 0 and one.item.key < self.limit]
        self._all, self._heaps, self._users = {}, {}, {}
        for one in kept:
            self._add(one)
        self._escalated = {user: seq for user, seq in self._escalated.items() if user in self._users}

    def state(self) -> dict[str, Any]:
        """Everything as plain data."""
        return {
            "limit": self.limit,
            "waiting": [one.packed() for one in self._all.values() if one.hits >= 0],
            "escalated": self._escalated,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state; what waits was not packed one by one in those of before."""
        self.limit = state["limit"]
        for one in state["waiting"]:
            item, hits, latest = msgpack.unpackb(one) if isinstance(one, bytes) else one
            self._add(_Waiting(Item(*item), hits, latest))
        self._escalated = dict(state["escalated"])
