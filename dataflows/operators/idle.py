"""Idle: which users of this process have been silent for so long that their profiles can be dropped.

A user who comes back after the policy's `profile_ttl` begins anew (`detectors.user`), so keeping a profile any longer
changes nothing. The engine drops a key only when a value reaches it, and a timer for each user would cost more than the
profiles. So users are listed by the day of their clock, and when the log's clock has left a day far enough behind, each
user of that day is asked, by a value of its own, whether that is still true.

Clocks are of one source partition each: a partition that is weeks behind another, as in a first read of a long log,
loses nobody. And each is a time that two users have shown, so one poisoned clock drops nobody either.
"""

from __future__ import annotations

from collections import Counter, deque
from threading import Lock
from typing import Literal, NamedTuple

from dataflows.telemetry import Telemetry
from detectors.log_clock import LogClock
from detectors.user import Home, Rulebook

DAY = 86_400_000
"""Users are listed by days (ms): the list is touched once a day and user, not once an event."""
MARGIN = 30 * DAY
"""How far one partition's event times may be out of order, beyond the allowed lateness (ms), without being noticed."""
NEVER = -1
"""The day of a user who is not listed."""


class Expire(NamedTuple):
    """Asks a user to go, if nothing was heard of them at `before` (ms) or later."""

    before: int


class _Partition:
    """The users of one source partition, by the day of their clock."""

    __slots__ = ("clock", "days", "ended")

    def __init__(self) -> None:
        self.clock = LogClock()
        self.days: dict[int, dict[str, None]] = {}
        self.ended = NEVER  # the first day that is not over


class Idle:
    """The users that this process keeps, and those among them that are due to be asked.

    Worker threads share it. `live` is how many users are listed.
    """

    def __init__(self, rules: Rulebook, telemetry: Telemetry) -> None:
        self.live = 0
        self._telemetry = telemetry
        telemetry.profiles.set_function(lambda: self.live)
        self._keep = rules.ttl + rules.lateness + MARGIN
        self._partitions: dict[int, _Partition] = {}
        self._due: deque[tuple[str, Expire]] = deque()
        self._lock = Lock()

    def move(self, home: Home, clock: int, day: int) -> int:
        """List a user, known under `day` until now, by the day of their clock; the day."""
        user_id, number = home
        today = clock // DAY
        with self._lock:
            partition = self._partitions.get(number)
            if partition is None:
                partition = self._partitions[number] = _Partition()
            self._take_out(partition, user_id, day)
            self.live += 1
            partition.days.setdefault(today, {})[user_id] = None
            partition.clock.advance(user_id, clock)
            self._look(partition)
        return today

    def drop(self, home: Home, day: int, why: Literal["silence", "erasure"]) -> None:
        """Take a user off the list: nothing is kept of them any more."""
        with self._lock:
            partition = self._partitions[home.partition]
            self._take_out(partition, home.user_id, day)
            partition.clock.forget(home.user_id)
        self._telemetry.add("dropped", Counter([why]))

    def due(self, limit: int) -> list[tuple[str, Expire]]:
        """Users to be asked now, so many at most."""
        due = self._due
        if not due:
            return []
        with self._lock:
            return [due.popleft() for _ in range(min(limit, len(due)))]

    def _take_out(self, partition: _Partition, user_id: str, day: int) -> None:
        if day == NEVER:
            return
        self.live -= 1
        listed = partition.days.get(day)
        if listed is not None:  # the day may have been handed out already
            listed.pop(user_id, None)
            if not listed:
                del partition.days[day]

    def _look(self, partition: _Partition) -> None:
        """Hand out the days that the partition's clock has left behind."""
        ended = (partition.clock.now - self._keep) // DAY
        if ended <= partition.ended:
            return
        partition.ended = ended
        question = Expire(ended * DAY)
        for day in sorted(day for day in partition.days if day < ended):
            self._due.extend((user_id, question) for user_id in partition.days.pop(day))
