"""Event time of a whole log, as its users support it: a robust clock that a few users cannot move.

The log's time is the latest that one in `SHARE` of the users lately heard of have reached, and at least two. Each user
counts once, however many events they send, so a flood fills nobody else's place. As long as fewer than one in `SHARE`
of those users have a wrong clock, the log's time never lies ahead of the latest right one, by however much the wrong
ones are ahead. The price is a lag: after a quiet night the clock stands still until as many users have spoken again.

A user is forgotten after half a day to a day of the log's time without an event, if enough others are known. Of many
users a sample is kept, chosen by a hash of the user and not by what they do.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import Any
from zlib import crc32

SHARE = 4
"""One in so many users must have reached a time."""
CAPACITY = 256
"""Users known at most; a log with more is represented by a sample of its users."""
HALF_DAY = 43_200_000
"""Users are forgotten half a day (ms) at a time."""
STEP = 600_000
"""How far a time may always lie ahead of the log's clock (ms)."""


class LogClock:
    """Event time as the users of a log support it; `now` is -1 until two of them were heard of.

    `capacity` bounds how many users are known; a quarter of it is how many are known at least before any is forgotten.
    """

    __slots__ = ("_capacity", "_halvings", "_older", "_recent", "_since", "_times", "now")

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.now = -1
        self._capacity = capacity
        self._halvings = 0  # one in 2 ** halvings users is in the sample
        self._since = -1  # when the latest half day began
        self._recent: dict[str, int] = {}  # latest time of each user heard of in the latest half day
        self._older: dict[str, int] = {}  # of those heard of in the half day before
        self._times: list[int] = []  # all these times, rising

    @property
    def population(self) -> int:
        """How many users are known, those who are represented by the sample counted."""
        return len(self._times) << self._halvings

    def advance(self, user_id: str, time: int) -> None:
        """Take in that a user has reached an event time (ms)."""
        if self._halvings and not self._sampled(user_id):
            return
        recent, times = self._recent, self._times
        before = recent.get(user_id, -1)
        if before < 0:
            before = self._older.pop(user_id, -1)
            if before < 0:
                recent[user_id] = time
                insort(times, time)
                if len(times) > self._capacity:
                    self._halve()
                self._recount()
                return
            recent[user_id] = before
        if time > before:
            recent[user_id] = time
            del times[bisect_left(times, before)]
            insort(times, time)
            if time > self.now and len(times) > 1:
                reached = times[-self._quorum()]
                if reached > self.now:
                    self._move(reached)

    def forget(self, user_id: str) -> None:
        """Forget a user, and with them a time that too few others have reached."""
        time = self._recent.pop(user_id, -1)
        if time < 0:
            time = self._older.pop(user_id, -1)
        if time >= 0:
            del self._times[bisect_left(self._times, time)]
            self._recount()

    def reach(self, least: int = STEP) -> int:
        """The latest time that is plausible now (ms): twice as far ahead as the last quorum took, or `least`."""
        if self.now < 0:
            return self.now
        times = self._times
        spread = self.now - times[max(0, len(times) - 2 * self._quorum())] if len(times) > 1 else 0
        return self.now + max(least, 2 * spread)

    def bound(self, time: int) -> int:
        """The event time (ms) if it is plausible, no earlier than `now`; `now` if it lies beyond `reach`."""
        now = self.now
        if time <= now:
            return now
        return time if time <= now + STEP or time <= self.reach() else now

    def _quorum(self) -> int:
        return max(2, (len(self._times) + SHARE - 1) // SHARE)

    def _sampled(self, user_id: str) -> bool:
        # the low bits of this hash choose users' lanes
        return (crc32(user_id.encode("utf-8", "surrogatepass")) >> 12) & ((1 << self._halvings) - 1) == 0

    def _recount(self) -> None:
        """Move the clock after users came or went; once enough are known, back only if half a quorum is missing."""
        times = self._times
        if len(times) < 2:
            return
        quorum = self._quorum()
        reached = times[-quorum]
        if reached > self.now:
            self._move(reached)
        elif 4 * len(times) < self._capacity or 2 * (len(times) - bisect_left(times, self.now)) < quorum:
            self.now = reached
            self._since = min(self._since, reached)

    def _move(self, reached: int) -> None:
        """Move the clock on, and forget who was silent for long."""
        self.now = reached
        if self._since < 0:
            self._since = reached
        elif reached - self._since >= HALF_DAY and 4 * len(self._recent) >= self._capacity:
            self._since = reached
            forgotten, self._older, self._recent = self._older, self._recent, {}
            if forgotten:
                self._times = sorted(self._older.values())
                if self._halvings and 4 * len(self._times) < self._capacity:
                    self._halvings -= 1
                self._recount()

    def _halve(self) -> None:
        """Keep half of the sample, until there is room."""
        while len(self._recent) + len(self._older) > self._capacity:
            self._halvings += 1
            self._recent = {user: time for user, time in self._recent.items() if self._sampled(user)}
            self._older = {user: time for user, time in self._older.items() if self._sampled(user)}
        self._times = sorted([*self._recent.values(), *self._older.values()])

    def state(self) -> list[Any]:
        """Everything as plain data."""
        return [self.now, self._since, self._halvings, [*self._recent.items()], [*self._older.items()]]

    @classmethod
    def load(cls, state: list[Any], capacity: int = CAPACITY) -> LogClock:
        """The clock of a state; before this one a state said who led, how far, and what another user had reached."""
        clock = cls(capacity)
        if len(state) == 3:
            leader, latest, clock.now = state
            if leader:
                clock._recent[leader] = latest
        else:
            clock.now, clock._since, clock._halvings, recent, older = state
            clock._recent, clock._older = dict(recent), dict(older)
        clock._times = sorted([*clock._recent.values(), *clock._older.values()])
        return clock
