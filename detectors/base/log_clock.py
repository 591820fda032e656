"""Event time of a whole log: a robust clock that a few users cannot move.

The log's time is the latest event time that one in `SHARE` of the recently active users have reached, and at least two
of them. Each user counts once, however many events they send, so a flood of events displaces no other user. As long as
fewer than one in `SHARE` of those users have a wrong clock, the log's time is never ahead of the latest correct clock,
however far ahead the wrong ones are. The cost is a lag: after a quiet night the clock stands still until as many users
have sent events again.

A user is removed after half a day to a day of the log's time without an event, if enough others are tracked. Of many
users a sample is tracked, chosen by a hash of the user id and not by behaviour.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import Any
from zlib import crc32

SHARE = 4
"""One in this many users must have reached a time."""
CAPACITY = 256
"""Maximum number of tracked users; a log with more is represented by a sample of its users."""
HALF_DAY = 43_200_000
"""Half a day (ms): the interval at which inactive users are removed."""
STEP = 600_000
"""A time up to this far (ms) ahead of the log's clock is always plausible."""


class LogClock:
    """Event time (ms) that the users of a log support; `now` is -1 until two of them have sent events.

    `capacity` is the maximum number of tracked users. Inactive users are removed only if at least a quarter of
    `capacity` remain.
    """

    __slots__ = ("_capacity", "_halvings", "_older", "_recent", "_since", "_times", "now")

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.now = -1
        self._capacity = capacity
        self._halvings = 0  # one in 2 ** halvings users is in the sample
        self._since = -1  # start of the current half day (ms)
        self._recent: dict[str, int] = {}  # latest event time of each user active in the current half day
        self._older: dict[str, int] = {}  # the same for users last active in the half day before
        self._times: list[int] = []  # all these times, ascending

    @property
    def population(self) -> int:
        """Return the estimated number of users: tracked users times the factor of the sample."""
        return len(self._times) << self._halvings

    def advance(self, user_id: str, time: int) -> None:
        """Record that a user has reached an event time (ms)."""
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
        """Remove a user; the clock may go back if too few others have reached its time."""
        time = self._recent.pop(user_id, -1)
        if time < 0:
            time = self._older.pop(user_id, -1)
        if time >= 0:
            del self._times[bisect_left(self._times, time)]
            self._recount()

    def reach(self, least: int = STEP) -> int:
        """Return the latest plausible event time (ms); -1 before the clock is set.

        It is `now` plus the longer of `least` (ms) and twice the distance from `now` back to the time that twice the
        quorum of users have reached.
        """
        if self.now < 0:
            return self.now
        times = self._times
        spread = self.now - times[max(0, len(times) - 2 * self._quorum())] if len(times) > 1 else 0
        return self.now + max(least, 2 * spread)

    def bound(self, time: int) -> int:
        """Return the event time (ms), or `now` if it is earlier than `now` or later than `reach`."""
        now = self.now
        if time <= now:
            return now
        return time if time <= now + STEP or time <= self.reach() else now

    def _quorum(self) -> int:
        return max(2, (len(self._times) + SHARE - 1) // SHARE)

    def _sampled(self, user_id: str) -> bool:
        # the low bits of this hash assign users to lanes
        return (crc32(user_id.encode("utf-8", "surrogatepass")) >> 12) & ((1 << self._halvings) - 1) == 0

    def _recount(self) -> None:
        """Move the clock after users were added or removed.

        Once a quarter of the capacity is tracked, it moves back only if less than half a quorum support its time.
        """
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
        """Advance the clock, and remove users who were inactive for long."""
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
        """Halve the sample until it fits into the capacity."""
        while len(self._recent) + len(self._older) > self._capacity:
            self._halvings += 1
            self._recent = {user: time for user, time in self._recent.items() if self._sampled(user)}
            self._older = {user: time for user, time in self._older.items() if self._sampled(user)}
        self._times = sorted([*self._recent.values(), *self._older.values()])

    def state(self) -> list[Any]:
        """Return the whole state as plain data."""
        return [self.now, self._since, self._halvings, [*self._recent.items()], [*self._older.items()]]

    @classmethod
    def load(cls, state: list[Any], capacity: int = CAPACITY) -> LogClock:
        """Return the clock of a state.

        An earlier format has three values: the leading user, that user's time, and the time another user had reached.
        """
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
