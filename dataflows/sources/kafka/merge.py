"""Merge of two feeds of timed items, lowest time first; a slow feed is waited for, a feed at its end is not.

The module is independent of Kafka: the code that fills the feeds sets `at_end`.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")

DAY = 86_400_000
FEW = 32
"""Number of consecutive items more than a day ahead after which the log's time advances to them."""
STRAY = 4
"""The log's time advances to that of the `STRAY`-th latest of these items, since the latest ones may be wrong."""


class Feed(Generic[T]):
    """Items read ahead from one log, each with its time (ms) and size (bytes), in the log's own order.

    `at_end` means that the log had no more items at the last read; `push` resets it.

    A few items dated more than a day ahead of their neighbours must not hold up the rest of their log until the other
    log has reached that time. They are therefore merged at the time of their neighbours. `turns` contains the times
    used for merging; an item dated too early changes no turn but its own.
    """

    __slots__ = ("_ahead", "_first", "_level", "at_end", "bytes", "items", "turns")

    def __init__(self) -> None:
        self.items: deque[tuple[int, int, T]] = deque()
        self.turns: deque[list[int]] = deque()
        self.bytes = 0
        self.at_end = False
        self._level: int | None = None  # the time (ms) that the log has reached
        self._first: list[int] | None = None  # the turn of the first item, until there is a second
        self._ahead: list[list[int]] = []  # turns of the latest items, while more than a day ahead

    def push(self, time: int, size: int, item: T) -> None:
        """Append the next item of the log."""
        turn = [time]
        self.items.append((time, size, item))
        self.turns.append(turn)
        self.bytes += size
        self.at_end = False
        level, ahead = self._level, self._ahead
        if level is None:
            self._level, self._first = time, turn
            return
        first, self._first = self._first, None
        if first is not None and time < level - DAY:
            first[0] = self._level = level = time  # the very first item was ahead
        if time <= level + DAY:
            if ahead:
                self._bring_back(max(level, time))
            if time > level:
                self._level = time
            return
        ahead.append(turn)
        if len(ahead) >= FEW:
            self._level = sorted(ahead)[-STRAY][0]
            self._ahead = []

    def _bring_back(self, level: int) -> None:
        """Set the turns of items more than a day ahead of `level` to `level`."""
        for turn in self._ahead:
            if turn[0] > level + DAY:
                turn[0] = level
        self._ahead = []


def take(first: Feed[T], second: Feed[T], limit: int) -> list[tuple[Feed[T], int, T]]:
    """Remove and return up to `limit` items as (feed, time, item); `first` goes first at equal times.

    An empty feed that is not at its end may still deliver the lowest time, so no item passes it.

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
