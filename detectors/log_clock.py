"""Event time of a whole log, as the users in it show it."""

from __future__ import annotations


class LogClock:
    """Event time as two different users have shown it: one user's poisoned clock cannot move it."""

    def __init__(self, leader: str = "", latest: int = -1, now: int = -1) -> None:
        self.leader, self.latest, self.now = leader, latest, now

    def advance(self, user_id: str, time: int) -> None:
        """See a user at an event time; `now` becomes the largest time that another user has reached as well."""
        if user_id == self.leader:
            self.latest = max(self.latest, time)
        elif time > self.latest:
            self.now, self.leader, self.latest = self.latest, user_id, time
        elif time > self.now:
            self.now = time

    def forget(self, user_id: str) -> None:
        """Forget a user, and with them a time that nobody else has reached."""
        if user_id == self.leader:
            self.leader, self.latest = "", self.now
