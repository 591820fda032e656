"""Tells a slow clock of this machine from records whose own time is wrong.

A record from far in the future is rejected: its clock is wrong. Where this machine's clock is slow, every record is
from the future, and all of them would be rejected. What tells one from the other is what stands behind such a record
in its partition: records of other users that are not ahead say that it is alone, and it is let go at once, to be
rejected. Where as good as all users are ahead, and by the same, it is this clock. So from a record that is ahead on,
a topic's partition is held until that is clear. Nothing else waits for a single wrong record: whatever comes behind it
from somebody else decides.

No user can stop a flow so: what counts is users, not records, and nine in ten of them have to agree for a minute.
"""

from __future__ import annotations

import logging

from dataflows.sources.kafka.watch import InputError

log = logging.getLogger(__name__)

USERS = 20
"""So many users of a partition have to be ahead before the clock is said to be slow."""
OTHERS = 9
"""Of the users of a partition no more than one for so many who are ahead may be not ahead."""
PATIENCE_MS = 60_000
"""How long the clock may take to be set right, and others to speak up."""


class SlowClock:
    """Judges the records of one topic's partition from one that is more than `skew` (ms) ahead of the clock."""

    def __init__(self, where: str, skew: int) -> None:
        self._where, self._skew = where, skew
        self._ahead: dict[bytes | None, int] = {}
        self._others: set[bytes | None] = set()
        self._since: int | None = None
        self._told = False

    def is_ahead(self, time: int, now: int) -> bool:
        """Return whether a record's time (ms) is so far ahead of the clock that it would be rejected."""
        return time - now > self._skew

    def see(self, key: bytes | None, time: int, now: int, monotonic: int) -> None:
        """Take in a record that is ahead, or stands behind one: what a user's latest record says counts."""
        if self._since is None:
            self._since = monotonic
        if self.is_ahead(time, now):
            self._ahead[key] = time
            self._others.discard(key)
        else:
            self._ahead.pop(key, None)
            self._others.add(key)

    def doubts(self, now: int, monotonic: int, *, last: bool, full: bool) -> bool:
        """Return whether what is held is still to be held; if not, all of it is forgotten here.

        `last` says that no record will follow, `full` that no more can be held.

        Raises:
            InputError: if the clock of this machine is slow.
        """
        leads = sorted(time - now for time in self._ahead.values() if self.is_ahead(time, now))
        alone = not leads or len(self._others) * OTHERS > len(leads) or not self._agree(leads)
        many = len(leads) >= USERS
        if alone or ((last or full) and not many):
            self._ahead, self._others, self._since, self._told = {}, set(), None, False
            return False
        if last or monotonic - (self._since or 0) >= PATIENCE_MS:
            lead = leads[len(leads) // 2] / 1_000
            if many:
                raise InputError(
                    f"{self._where}: the records of {len(leads)} users are {lead:.0f} s ahead of this machine's clock, "
                    "and agree with each other, so this clock is slow: set it right (NTP), then start again. None of "
                    "these records was rejected, and nothing is lost."
                )
            if not self._told:
                self._told = True
                log.warning(
                    "%s: records are %.0f s ahead of this machine's clock, and nobody else's are there to say whether "
                    "theirs is wrong or this one. They wait until it is clear, or until it is their time.",
                    self._where,
                    lead,
                )
        return True

    def _agree(self, leads: list[int]) -> bool:
        """Return whether four in five of the users are ahead by the same, give or take the skew."""
        tenth = len(leads) // 10
        return leads[-1 - tenth] - leads[tenth] <= max(self._skew, 1)
