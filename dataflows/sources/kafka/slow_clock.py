"""Detection of a slow clock on this machine, as opposed to records whose own time is wrong.

A record dated far in the future is rejected: its clock is wrong. If this machine's clock is slow, every record is in
the future, and all of them would be rejected. The records after such a record in its partition distinguish the two
cases. If records of other users are not ahead, only that record is wrong: it is released at once, and rejected. If
nearly all users are ahead by the same amount, this machine's clock is slow. So after a record that is ahead, a topic's
partition is held until the case is clear. A single wrong record delays nothing else, since the next record of another
user decides.

No user can stop a flow this way: the check counts users, not records, and nine in ten must agree for a minute.
"""

from __future__ import annotations

import logging

from dataflows.sources.kafka.watch import InputError

log = logging.getLogger(__name__)

USERS = 20
"""Minimum number of users of a partition who must be ahead before the clock counts as slow."""
OTHERS = 9
"""Minimum number of users ahead for each user of the partition who is not ahead."""
PATIENCE_MS = 60_000
"""Time (ms) in which the clock may be corrected and records of other users may arrive."""


class SlowClock:
    """Detector of a slow clock in the records of one topic's partition; `skew` (ms) is the lead that is allowed."""

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
        """Add a record that is ahead or comes after one; only a user's latest record counts."""
        if self._since is None:
            self._since = monotonic
        if self.is_ahead(time, now):
            self._ahead[key] = time
            self._others.discard(key)
        else:
            self._ahead.pop(key, None)
            self._others.add(key)

    def doubts(self, now: int, monotonic: int, *, last: bool, full: bool) -> bool:
        """Return whether held records must stay held; if not, reset the state.

        `last` means that no record will follow, `full` that no more records can be held.

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
        """Return whether four in five of the users are ahead by the same amount, within the skew."""
        tenth = len(leads) // 10
        return leads[-1 - tenth] - leads[tenth] <= max(self._skew, 1)
