"""Two feeds of timed items as one, lowest time first: a feed that is slow is waited for, one at its end is not.

It knows no Kafka: whoever fills the feeds says when one is at its end.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")

DAY = 86_400_000


class Feed(Generic[T]):
    """What was read ahead of one log: items with their time (ms) and size (bytes), in the log's own order.

    `at_end` says that the log held nothing more when last looked at; pushing an item takes that back.

    An item counts as no later than a day after any that follows it in its log: one wrong time must not hold up the rest
    of its log until the other has come so far. `turns` are the times by which items take their turn.
    """

    __slots__ = ("at_end", "bytes", "items", "turns")

    def __init__(self) -> None:
        self.items: deque[tuple[int, int, T]] = deque()
        self.turns: deque[int] = deque()
        self.bytes = 0
        self.at_end = False

    def push(self, time: int, size: int, item: T) -> None:
        """Append what was read next."""
        self.items.append((time, size, item))
        turns, latest = self.turns, time + DAY
        at = len(turns) - 1
        while at >= 0 and turns[at] > latest:
            turns[at] = latest
            at -= 1
        turns.append(time)
        self.bytes += size
        self.at_end = False


def take(first: Feed[T], second: Feed[T], limit: int) -> list[tuple[Feed[T], int, T]]:
    """Up to `limit` items as (feed, time, item), removed from the feeds; `first` goes first where times are equal.

    An empty feed that is not at its end may still hold the lowest time, so nothing passes it.

    >>> chat, moderation = Feed[str](), Feed[str]()
    >>> chat.push(10, 1, "hello"); chat.push(30, 1, "bye"); moderation.push(20, 1, "report")
    >>> [item for _, _, item in take(chat, moderation, 9)]
    ['hello', 'report']
    >>> moderation.at_end = True
    >>> [item for _, _, item in take(chat, moderation, 9)]
    ['bye']
    """
    taken: list[tuple[Feed[T], int, T]] = []
    one, two = first.items, second.items
    while len(taken) < limit:
        if one and (first.turns[0] <= second.turns[0] if two else second.at_end):
            feed = first
        elif two and (one or first.at_end):
            feed = second
        else:
            break
        time, size, item = feed.items.popleft()
        feed.turns.popleft()
        feed.bytes -= size
        taken.append((feed, time, item))
    return taken
