"""A model's track record: how often warnings at each threshold would have been right, and how many an hour would bring.

It is kept for every threshold of a grid at once, whether anybody is warned at it or not, so that a threshold can be
chosen by what it has shown. A user is warned of at a level when a score reaches it, and not again before the warning
has lapsed. A warning is right if the user escalates within the horizon after it, and counts once that is over, right
or wrong: counting the right ones at once would flatter.

A record is settled by a time, and holds nothing that was known only after it. A version is given its record settled by
the time up to which it has learnt, so that a threshold is chosen by what the version that goes with it could know.
"""

from __future__ import annotations

from bisect import bisect_right
from heapq import heappop, heappush
from typing import Any, NamedTuple

import numpy as np

from detectors.base.beta import beta_below
from detectors.base.elementary import FADED, exp2
from detectors.base.elementwise import logistic
from detectors.base.vectors import Matrix
from detectors.labels.target import ESCALATIONS_CAP
from detectors.policy.policy import Policy

STEP = 0.25
"""Distance of neighbouring levels, in log-odds."""
LEVELS: Matrix = logistic(np.arange(-28, 17) * STEP)
"""Thresholds that a record is kept for: 45 probabilities from 0.0009 to 0.982."""
_LEVELS: list[float] = LEVELS.tolist()
"""The same, where one score is looked up at a time."""
HOUR = 3_600_000
HOURS = 24
"""How many hours a budget looks back."""


class Track(NamedTuple):
    """A record as a version carries it, a value for each of `LEVELS`.

    `warnings` and `right` count matured warnings, older ones for less; `busiest` is the most warnings that one of the
    latest `HOURS` hours would have brought.
    """

    warnings: Matrix
    right: Matrix
    busiest: Matrix

    def level_of(self, precision: float, confidence: float) -> float | None:
        """The lowest level whose warnings are right at least so often, with such confidence; None if none is yet.

        The bound is Clopper and Pearson's (Biometrika 26, 1934), one-sided. Counts that have lost weight only make it
        more careful.
        """
        for level, warnings, right in zip(_LEVELS, self.warnings.tolist(), self.right.tolist(), strict=True):
            # the bound is at least the promise if Beta(right, wrong + 1) lies below the promise as seldom as may be
            if right >= FADED and beta_below(precision, right, warnings - right + 1.0) <= 1.0 - confidence:
                return level
        return None

    def level_within(self, budget: int) -> float | None:
        """The lowest level from which on no hour would have brought more warnings; None if there is none."""
        above = np.flatnonzero(self.busiest > budget)
        lowest = above[-1] + 1 if len(above) else 0
        return float(LEVELS[lowest]) if lowest < len(LEVELS) else None


class _Warned:
    """A user reached the levels of a bit mask; `hits` are the escalations within the horizon after that.

    A hit is the escalation's cause and when it was overturned, -1 where it was not. `counted` says whether the hour of
    the warning has counted it.
    """

    __slots__ = ("counted", "hits", "mask", "time", "user")

    def __init__(self, user: str, time: int, mask: int, counted: bool = False, hits: list[Any] | None = None) -> None:
        self.user, self.time, self.mask, self.counted = user, time, mask, counted
        self.hits: list[tuple[int, int]] = [(cause, since) for cause, since in hits or ()]

    def right(self, now: int) -> bool:
        """Return whether an escalation stands, as far as is known at `now` (ms)."""
        return any(overturned < 0 or overturned > now for _, overturned in self.hits)


class TrackRecord:
    """Keeps the record of one model from its scores and what became of them, in the order of the log.

    What it holds of users is those who reached the lowest level that matters and whose warning has not matured. It
    matures by its own time: one that is dated ahead keeps no other from it. It takes `reach` (ms) to mature.
    """

    def __init__(self, policy: Policy) -> None:
        self._horizon = policy.target.horizon
        self._expiry = policy.warnings.expiry
        self.reach = max(self._horizon, self._expiry)
        self._memory = policy.promises.memory
        self._floor = int(np.searchsorted(LEVELS, policy.lowest_threshold))
        self._users: dict[str, list[_Warned]] = {}
        self._number = 0
        self._fresh: list[tuple[int, int, _Warned]] = []  # heap of those whose hour has not counted them, by time
        self._open: list[tuple[int, int, _Warned]] = []  # heap of those that have not matured, by time
        self._hours: dict[int, list[int]] = {}
        self._counts = np.zeros((2, len(LEVELS)))
        self._settled = -1

    def see(self, user_id: str, as_of: int, probability: float) -> None:
        """See a score; NaN says nothing."""
        level = bisect_right(_LEVELS, probability) if probability == probability else 0  # noqa: PLR0124 - only NaN differs from itself
        if level <= self._floor:
            return
        reached = (1 << level) - (1 << self._floor)
        for one in self._users.get(user_id, ()):
            if as_of < one.time + self._expiry:
                reached &= ~one.mask
        if reached:
            self._add(_Warned(user_id, as_of, reached))

    def _add(self, one: _Warned) -> None:
        self._users.setdefault(one.user, []).append(one)
        self._number += 1
        heappush(self._open, (one.time, self._number, one))
        if not one.counted:
            heappush(self._fresh, (one.time, self._number, one))

    def escalated(self, user_id: str, time: int, cause: int) -> None:
        """Hear that a user escalated: whoever was warned of within the horizon before was so rightly."""
        for one in self._users.get(user_id, ()):
            if one.time <= time <= one.time + self._horizon:
                one.hits.append((cause, -1))
                del one.hits[:-ESCALATIONS_CAP]

    def overturned(self, user_id: str, time: int, cause: int) -> None:
        """Hear that an escalation of a user was taken back at `time` (ms)."""
        for one in self._users.get(user_id, ()):
            one.hits = [(known, time if known == cause and since < 0 else since) for known, since in one.hits]

    def forget(self, user_id: str) -> None:
        """Forget a user, and what was still open about them; an hour that has counted them keeps the number."""
        for one in self._users.pop(user_id, ()):
            one.user, one.mask, one.hits = "", 0, []

    def settle(self, now: int) -> None:
        """Count what has matured by `now` (ms), after what was counted before has lost weight.

        A time before that of the last call changes nothing.
        """
        if now < self._settled:
            return
        if self._settled >= 0:
            self._counts *= exp2(-(now - self._settled) / self._memory)
            self._counts[self._counts < FADED] = 0.0
        self._settled = now
        while self._fresh and self._fresh[0][0] <= now:
            _, _, one = heappop(self._fresh)
            if one.mask:
                one.counted = True
                hour = self._hours.setdefault(one.time // HOUR, [0] * len(LEVELS))
                for at in range(self._floor, len(LEVELS)):
                    hour[at] += one.mask >> at & 1
        while self._open and self._open[0][0] + self.reach < now:
            _, _, due = heappop(self._open)
            if not due.mask:
                continue  # forgotten
            warned = self._users[due.user]
            warned.remove(due)
            if not warned:
                del self._users[due.user]
            right = due.right(now)
            for at in range(self._floor, len(LEVELS)):
                if due.mask >> at & 1:
                    self._counts[:, at] += (1, right)
        first = now // HOUR - HOURS + 1
        self._hours = {hour: counts for hour, counts in self._hours.items() if hour >= first}

    def document(self) -> dict[str, Any]:
        """The record as a version carries it: the lists of a `Track`, from the first level that is kept."""
        counts = np.array([*self._hours.values()]).reshape(-1, len(LEVELS))
        busiest = counts.max(axis=0, initial=0)
        rows = {"warnings": self._counts[0], "right": self._counts[1], "busiest": busiest}
        return {"floor": self._floor, **{name: row[self._floor :].tolist() for name, row in rows.items()}}

    def state(self) -> dict[str, Any]:
        """Everything as plain data."""
        return {
            "users": {
                user: [(one.time, one.mask, one.counted, one.hits) for one in warned]
                for user, warned in self._users.items()
            },
            "hours": self._hours,
            "counts": self._counts.tolist(),
            "settled": self._settled,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state of any version.

        In the first, which listed what was open, the hours had counted every warning, and an escalation was known by
        its time alone.
        """
        for user, warned in state["users"].items():
            for time, mask, *more in warned:
                known = (True, [(-1, -1)] if more[0] >= 0 else []) if "open" in state else more
                self._add(_Warned(user, time, mask, *known))
        self._hours = dict(state["hours"])
        self._counts = np.array(state["counts"])
        self._settled = state["settled"]


def track_of(document: dict[str, Any]) -> Track:
    """The record in a version's document. Below the first level that is kept, nothing was shown."""
    floor = document["floor"]
    below = {"warnings": 0.0, "right": 0.0, "busiest": np.inf}
    rows = {name: np.concatenate([np.full(floor, value), document[name]]) for name, value in below.items()}
    return Track(**rows)
