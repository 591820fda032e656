"""Idle: which users of a lane have been silent for so long that their profiles can be dropped.

A user who comes back after the policy's `profile_ttl` begins anew (`detectors.profiles.user`), so keeping a profile any
longer changes nothing. A timer for each user would cost more than the profiles. So users are listed by the day of their
clock, and when the log's clock has left a day far enough behind, the users of that day are handed out to be dropped.

Clocks are of one source partition each: a partition that is weeks behind another, as in a first read of a long log,
loses nobody. And none is moved by a few users, so wrong clocks drop nobody either; where fewer than `LEAST` users are
known, nobody is dropped.
"""

from __future__ import annotations

from collections import deque
from typing import final

from detectors.base.log_clock import LogClock

DAY = 86_400_000
"""Users are listed by days (ms): the list is touched once a day and user, not once an event."""
MARGIN = 30 * DAY
"""How far one partition's event times may be out of order, beyond the allowed lateness (ms), without being noticed."""
LEAST = 16
"""Users whose times are known before a partition's clock is taken to be right."""
USERS = 64
"""Users by whose times a partition's clock goes, at most: a lane has many partitions."""
NEVER = -1
"""The day of a user who is not listed."""


@final
class _Partition:
    """The users of one source partition, by the day of their clock."""

    __slots__ = ("clock", "days", "ended")

    def __init__(self) -> None:
        self.clock = LogClock(USERS)
        self.days: dict[int, dict[str, None]] = {}
        self.ended = NEVER  # the first day that is not over


@final
class Idle:
    """The users of a lane by the day they were last heard of, and those among them that are due.

    `keep` is how long a silent user is kept (ms), beyond which event times may still be out of order.
    """

    __slots__ = ("_due", "_keep", "_partitions")

    def __init__(self, keep: int) -> None:
        self._keep = keep + MARGIN
        self._partitions: dict[int, _Partition] = {}
        self._due: deque[tuple[str, int]] = deque()

    def move(self, user_id: str, number: int, clock: int, day: int) -> None:
        """List a user of a source partition, known under `day` until now, by the day of their clock."""
        partition = self._partitions.get(number)
        if partition is None:
            partition = self._partitions[number] = _Partition()
        self._take_out(partition, user_id, day)
        today = clock // DAY
        listed = partition.days.get(today)
        if listed is None:
            listed = partition.days[today] = {}
        listed[user_id] = None
        partition.clock.advance(user_id, clock)
        self._look(partition)

    def drop(self, user_id: str, number: int, day: int) -> None:
        """Take a user off the list: nothing is kept of them any more."""
        partition = self._partitions[number]
        self._take_out(partition, user_id, day)
        partition.clock.forget(user_id)

    def due(self, limit: int) -> list[tuple[str, int]]:
        """So many users at most who may go, each with the time (ms) since which they must have been silent for that."""
        due = self._due
        return [due.popleft() for _ in range(min(limit, len(due)))]

    def _take_out(self, partition: _Partition, user_id: str, day: int) -> None:
        listed = partition.days.get(day)
        if listed is not None:  # the day may have been handed out already
            listed.pop(user_id, None)
            if not listed:
                del partition.days[day]

    def _look(self, partition: _Partition) -> None:
        """Hand out the days that the partition's clock has left behind."""
        ended = (partition.clock.now - self._keep) // DAY
        if ended == partition.ended or partition.clock.population < LEAST:
            return
        partition.ended = ended  # the clock goes back if it turns out to have been ahead
        before = ended * DAY
        for day in sorted([day for day in partition.days if day < ended]):
            for user_id in partition.days.pop(day):
                self._due.append((user_id, before))
