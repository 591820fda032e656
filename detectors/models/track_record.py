"""A model's track record: for each threshold, how many warnings would have been right, and how many an hour brings.

These threshold statistics cover a whole grid, whether or not users are warned at a threshold, so that a threshold can
be chosen by its results. A user is warned at a level when a score reaches it, and again only after that warning has
expired. A warning is right if the user escalates within the horizon after it. Right and wrong warnings alike are
counted only once they have matured: counting right ones at once would bias the precision upwards.

A record is settled by a time and contains nothing that became known after it. A version gets the record settled by the
time up to which the version has learnt, so that its threshold is chosen only from what was known by then.
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

STEP = 0.25
"""Distance between neighbouring levels, in log-odds."""
LEVELS: Matrix = logistic(np.arange(-28, 17) * STEP)
"""Thresholds of a record: 45 probabilities from 0.0009 to 0.982."""
_LEVELS: list[float] = LEVELS.tolist()
"""The same as a list, for the lookup of single scores."""
HOUR = 3_600_000
HOURS = 24
"""Hours of history that a budget covers."""


class Track(NamedTuple):
    """The track record in a version, with one value for each of `LEVELS`.

    `warnings` and `right` count matured warnings, with decayed weight for older ones. `busiest` is the largest number
    of warnings in any one of the latest `HOURS` hours.
    """

    warnings: Matrix
    right: Matrix
    busiest: Matrix

    def level_of(self, precision: float, confidence: float) -> float | None:
        """Return the lowest level with at least this precision at this confidence; None if there is none yet.

        The bound is the one-sided bound of Clopper and Pearson (Biometrika 26, 1934). Decayed counts only make it more
        conservative.
        """
        for level, warnings, right in zip(_LEVELS, self.warnings.tolist(), self.right.tolist(), strict=True):
            # the lower bound reaches `precision` if P(Beta(right, wrong + 1) <= precision) <= 1 - confidence
            if right >= FADED and beta_below(precision, right, warnings - right + 1.0) <= 1.0 - confidence:
                return level
        return None

    def level_within(self, budget: int) -> float | None:
        """Return the lowest level from which on no hour exceeds the budget of warnings; None if there is none."""
        above = np.flatnonzero(self.busiest > budget)
        lowest = above[-1] + 1 if len(above) else 0
        return float(LEVELS[lowest]) if lowest < len(LEVELS) else None


class _Warned:
    """A warning: a user reached the levels of a bit mask.

    `hits` are the escalations within the horizon after it, each with its cause and the time it was overturned (-1 if it
    was not). `counted` says whether the count of the warning's hour includes it.
    """

    __slots__ = ("counted", "hits", "mask", "time", "user")

    def __init__(self, user: str, time: int, mask: int, counted: bool = False, hits: list[Any] | None = None) -> None:
        self.user, self.time, self.mask, self.counted = user, time, mask, counted
        self.hits: list[tuple[int, int]] = [(cause, since) for cause, since in hits or ()]

    def right(self, now: int) -> bool:
        """Return whether a hit had not been overturned by `now` (ms)."""
        return any(overturned < 0 or overturned > now for _, overturned in self.hits)


class TrackRecord:
    """Maintains one model's track record from scores and outcomes, in the order of the log.

    It stores only users who reached the lowest kept level and whose warning has not matured. Each warning matures by
    its own time, so a warning dated ahead does not delay others. A warning takes `reach` (ms) to mature.

    `horizon` and `expiry` (ms) are those of the target and of warnings; `memory` (ms) is the half-life of the counts.
    Levels below `lowest`, a probability, are not kept.
    """

    def __init__(self, *, horizon: int, expiry: int, memory: int, lowest: float) -> None:
        self._horizon, self._expiry, self._memory = horizon, expiry, memory
        self.reach = max(horizon, expiry)
        self._floor = int(np.searchsorted(LEVELS, lowest))
        self._users: dict[str, list[_Warned]] = {}
        self._number = 0
        self._fresh: list[tuple[int, int, _Warned]] = []  # heap by time: not yet counted in their hour
        self._open: list[tuple[int, int, _Warned]] = []  # heap by time: not yet matured
        self._hours: dict[int, list[int]] = {}
        self._counts = np.zeros((2, len(LEVELS)))
        self._settled = -1

    def see(self, user_id: str, as_of: int, probability: float) -> None:
        """Record a score: open a warning at the levels it newly reaches. NaN is ignored."""
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
        """Record an escalation as a hit of the user's warnings within the horizon before it."""
        for one in self._users.get(user_id, ()):
            if one.time <= time <= one.time + self._horizon:
                one.hits.append((cause, -1))
                del one.hits[:-ESCALATIONS_CAP]

    def overturned(self, user_id: str, time: int, cause: int) -> None:
        """Record that a user's escalation was overturned at `time` (ms)."""
        for one in self._users.get(user_id, ()):
            one.hits = [(known, time if known == cause and since < 0 else since) for known, since in one.hits]

    def forget(self, user_id: str) -> None:
        """Erase a user and their open warnings; the hourly counts that include them do not change."""
        for one in self._users.pop(user_id, ()):
            one.user, one.mask, one.hits = "", 0, []

    def settle(self, now: int) -> None:
        """Decay the counts, then add the warnings that have matured by `now` (ms).

        An hour counts a warning as soon as `now` has reached the warning's time. A `now` before that of the last call
        changes nothing.
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
                continue  # erased
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
        """Return the record for a version: the lists of a `Track`, from the lowest kept level on."""
        counts = np.array([*self._hours.values()]).reshape(-1, len(LEVELS))
        busiest = counts.max(axis=0, initial=0)
        rows = {"warnings": self._counts[0], "right": self._counts[1], "busiest": busiest}
        return {"floor": self._floor, **{name: row[self._floor :].tolist() for name, row in rows.items()}}

    def state(self) -> dict[str, Any]:
        """Return the full state as plain data."""
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
        """Replace the record by a state of any version.

        In the first version, which has the key `open`, the hours had counted every warning, and only the time of an
        escalation was stored.
        """
        self._users, self._open, self._fresh, self._number = {}, [], [], 0
        for user, warned in state["users"].items():
            for time, mask, *more in warned:
                known = (True, [(-1, -1)] if more[0] >= 0 else []) if "open" in state else more
                self._add(_Warned(user, time, mask, *known))
        self._hours = dict(state["hours"])
        self._counts = np.array(state["counts"])
        self._settled = state["settled"]


def track_of(document: dict[str, Any]) -> Track:
    """Return the record in a version's document; below the lowest kept level counts are 0, `busiest` infinite."""
    floor = document["floor"]
    below = {"warnings": 0.0, "right": 0.0, "busiest": np.inf}
    rows = {name: np.concatenate([np.full(floor, value), document[name]]) for name, value in below.items()}
    return Track(**rows)
