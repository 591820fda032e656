"""Two feeds of timed items as one, lowest time first: a feed that is slow is waited for, one at its end is not.

It knows no Kafka: whoever fills the feeds says when one is at its end.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")

DAY = 86_400_000
FEW = 32
"""With so many items in a row that are a day ahead, their log is taken to have come so far."""
STRAY = 4
"""As far as the latest of those but three: these may be wrong among them."""


class Feed(Generic[T]):
    """What was read ahead of one log: items with their time (ms) and size (bytes), in the log's own order.

    `at_end` says that the log held nothing more when last looked at; pushing an item takes that back.

    A few items dated more than a day ahead of those around them must not hold up the rest of their log until the other
    log has come so far. So they take their turn with their neighbours. `turns` are the times by which items do; an item
    dated back changes no turn but its own.
    """

    __slots__ = ("_ahead", "_first", "_level", "at_end", "bytes", "items", "turns")

    def __init__(self) -> None:
        self.items: deque[tuple[int, int, T]] = deque()
        self.turns: deque[list[int]] = deque()
        self.bytes = 0
        self.at_end = False
        self._level: int | None = None  # how far the log has come
        self._first: list[int] | None = None  # the turn of the first item, while there is no other
        self._ahead: list[list[int]] = []  # turns of the latest items, all of them a day ahead of that

    def push(self, time: int, size: int, item: T) -> None:
        """Append what was read next."""
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
            first[0] = self._level = level = time  # the first of all was ahead
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
        """Let items that lie a day ahead of a level take their turn at that level."""
        for turn in self._ahead:
            if turn[0] > level + DAY:
                turn[0] = level
        self._ahead = []


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
