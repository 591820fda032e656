"""Idle users: users of a lane whose silence is so long that their profiles can be dropped.

A user who returns after the policy's `profile_ttl` starts with a new profile (`detectors.profiles.user`), so keeping
the old one longer has no effect. A timer for each user would cost more than the profiles. Users are therefore listed by
the day of their clock. Once the log's clock is far enough past a day, the users of that day are due to be dropped.

Each source partition has a clock of its own: a partition that is weeks behind another, as in a first read of a long
log, loses no users. A few users cannot move a clock, so wrong clocks drop nobody either. While fewer than `LEAST` users
are known, nobody is dropped.
"""

from __future__ import annotations

from collections import deque
from typing import final

from detectors.base.log_clock import LogClock

DAY = 86_400_000
"""Users are listed by days (ms): the list changes once per day and user, not with every event."""
MARGIN = 30 * DAY
"""Disorder of one partition's event times that is tolerated beyond the allowed lateness (ms)."""
LEAST = 16
"""Number of known users from which a partition's clock is trusted."""
USERS = 64
"""Maximum number of users in a partition's clock: a lane has many partitions."""
NEVER = -1
"""The day of a user who is not listed."""


@final
class _Partition:
    """The users of one source partition, by the day of their clock."""

    __slots__ = ("clock", "days", "ended")

    def __init__(self) -> None:
        self.clock = LogClock(USERS)
        self.days: dict[int, dict[str, None]] = {}
        self.ended = NEVER  # users of earlier days are due


@final
class Idle:
    """The users of a lane by the day of their clock, and the users who are due to be dropped.

    `keep` is how long a silent user is kept (ms); `MARGIN` is added to it, for event times that are out of order.
    """

    __slots__ = ("_due", "_keep", "_partitions")

    def __init__(self, keep: int) -> None:
        self._keep = keep + MARGIN
        self._partitions: dict[int, _Partition] = {}
        self._due: deque[tuple[str, int]] = deque()

    def move(self, user_id: str, number: int, clock: int, day: int) -> None:
        """List a user of a source partition under the day of their clock (ms); they were listed under `day` before."""
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
        """Remove a user whose state was deleted."""
        partition = self._partitions[number]
        self._take_out(partition, user_id, day)
        partition.clock.forget(user_id)

    def due(self, limit: int) -> list[tuple[str, int]]:
        """Return at most `limit` due users, each with the time (ms) since which they must have been silent."""
        due = self._due
        return [due.popleft() for _ in range(min(limit, len(due)))]

    def _take_out(self, partition: _Partition, user_id: str, day: int) -> None:
        listed = partition.days.get(day)
        if listed is not None:  # the day may be due already
            listed.pop(user_id, None)
            if not listed:
                del partition.days[day]

    def _look(self, partition: _Partition) -> None:
        """Mark the users of all days that end before the partition's clock minus the keep time as due."""
        ended = (partition.clock.now - self._keep) // DAY
        if ended == partition.ended or partition.clock.population < LEAST:
            return
        partition.ended = ended  # may be earlier: a clock that was ahead goes back
        before = ended * DAY
        for day in sorted([day for day in partition.days if day < ended]):
            for user_id in partition.days.pop(day):
                self._due.append((user_id, before))
