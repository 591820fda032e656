"""What waits for its label: a bounded, uniform sample that does not look at the label.

Each item has a key, a hash. While there are more items than room, the largest keys give way, and the share of the keys
that is let in halves; it doubles again when much room has become free. Nothing depends on chance, and an item's
place in the sample not on what came of it, so rates read off the sample are those of all items.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any, NamedTuple

import msgpack

from detectors.labels.target import ESCALATIONS_CAP

KEYS = 2**24
"""Keys lie below this."""


class Item(NamedTuple):
    """A probability or warning that waits: whose, as of when (ms), its place in the log, and what it said.

    `row` tells the record it was made from, -1 where that is not known.
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
    """An item with the upheld escalations that came within its horizon, each by its cause.

    `hits` is how many came after it and can no longer be told apart, -1 where the user was erased; `causes` are the
    latest of them that can, and `own` those that came with the very record of the item: it did not foretell them.
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
        """Count an escalation that came of the record `row`."""
        if row >= 0 and row == self.item.row:
            self.own.append(cause)
        else:
            self.causes.append(cause)
            if len(self.causes) > ESCALATIONS_CAP:
                del self.causes[0]
                self.hits += 1
        self._packed = b""

    def take_back(self, cause: int) -> None:
        """Count an escalation no longer."""
        for causes in (self.causes, self.own):
            if cause in causes:
                causes.remove(cause)
                self._packed = b""

    @property
    def right(self) -> bool | None:
        """Whether the user escalated after the item; None where that is not answered."""
        if self.hits > 0 or self.causes:
            return True
        return None if self.own or self.hits < 0 else False

    def erase(self) -> None:
        """Say nothing of the user any more, nor that it waits."""
        self.hits = -1
        self.item = self.item._replace(user_id="")
        self.causes, self.own = [], []
        self._packed = b""

    def packed(self) -> bytes:
        """The item and its escalations as MessagePack, made once until they change."""
        if not self._packed:
            self._packed = msgpack.packb((self.item, self.hits, self.causes, self.own))
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

    def __len__(self) -> int:
        return len(self._all)

    def offer(self, item: Item) -> None:
        """Let an item wait, if its key is in the share."""
        if item.key >= self.limit:
            return
        self._add(_Waiting(item))
        if len(self) > self._cap:
            self._make_room()

    def escalated(self, user_id: str, as_of: int, cause: int, row: int = -1) -> None:
        """A user escalated: what waits, and was said within the horizon before that, was right."""
        for one in self._users.get(user_id, ()):
            if one.item.as_of <= as_of <= one.item.as_of + self._horizon:
                one.hit(cause, row)

    def overturned(self, user_id: str, cause: int) -> None:
        """An escalation of a user was overturned: it was right for nothing that still waits."""
        for one in self._users.get(user_id, ()):
            one.take_back(cause)

    def erase(self, user_id: str) -> None:
        """Forget a user: what waits of theirs will never be counted. Its place in the heap is freed in its time."""
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
                self._leave(one)
                if one.right is not None:
                    done.append((one.item, one.right))
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

    def state(self) -> dict[str, Any]:
        """Everything as plain data."""
        return {"limit": self.limit, "waiting": [one.packed() for one in self._all.values() if one.hits >= 0]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state; what waits was not packed one by one in the first.

        Before lane version 4 the place of an item's latest escalation stood where its causes do: what counted then can
        no longer be told apart, nor taken back.
        """
        self.limit = state["limit"]
        for one in state["waiting"]:
            item, hits, causes, *own = msgpack.unpackb(one) if isinstance(one, bytes) else one
            self._add(_Waiting(Item(*item), hits, *((causes, *own) if own else ())))
