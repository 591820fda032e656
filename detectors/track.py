"""A model's track record: how often warnings at each threshold would have been right, and how many an hour would bring.

It is kept for every threshold of a grid at once, whether anybody is warned at it or not, so that a threshold can be
chosen by what it has shown. A user is warned of at a level when a score reaches it, and not again before the warning
has lapsed. A warning is right if the user escalates within the horizon after it, and counts once that is over, right
or wrong: counting the right ones at once would flatter.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import Any, NamedTuple

import numpy as np

from detectors.beta import beta_below
from detectors.contract import Matrix
from detectors.elementary import FADED, exp2
from detectors.elementwise import logistic
from detectors.policy import Policy

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
    """A user reached the levels of a bit mask, and escalated within the horizon after that, or not (-1)."""

    __slots__ = ("escalated", "mask", "time")

    def __init__(self, time: int, mask: int, escalated: int = -1) -> None:
        self.time, self.mask, self.escalated = time, mask, escalated


class TrackRecord:
    """Keeps the record of one model from its scores and what became of them, in the order of the log.

    What it holds of users is those who reached the lowest level that matters within the last horizon or expiry.
    """

    def __init__(self, policy: Policy) -> None:
        self._horizon = policy.target.horizon
        self._expiry = policy.warnings.expiry
        self._memory = policy.promises.memory
        self._floor = int(np.searchsorted(LEVELS, policy.lowest_threshold))
        self._users: dict[str, list[_Warned]] = {}
        self._open: deque[tuple[int, str]] = deque()
        self._hours: dict[int, list[int]] = {}
        self._counts = np.zeros((2, len(LEVELS)))
        self._settled = -1

    def see(self, user_id: str, as_of: int, probability: float) -> None:
        """See a score; NaN says nothing."""
        level = bisect_right(_LEVELS, probability) if probability == probability else 0  # noqa: PLR0124 - only NaN differs from itself
        if level <= self._floor:
            return
        reached = (1 << level) - (1 << self._floor)
        warned = self._users.setdefault(user_id, [])
        for one in warned:
            if as_of < one.time + self._expiry:
                reached &= ~one.mask
        if not reached:
            return
        warned.append(_Warned(as_of, reached))
        self._open.append((as_of, user_id))
        hour = self._hours.setdefault(as_of // HOUR, [0] * len(LEVELS))
        for at in range(self._floor, level):
            hour[at] += reached >> at & 1

    def escalated(self, user_id: str, time: int) -> None:
        """Hear that a user escalated: whoever was warned of within the horizon before was so rightly."""
        for one in self._users.get(user_id, ()):
            if one.time <= time <= one.time + self._horizon:
                one.escalated = time

    def overturned(self, user_id: str) -> None:
        """Hear that a user's latest escalation was taken back."""
        warned = self._users.get(user_id, ())
        latest = max((one.escalated for one in warned), default=-1)
        for one in warned:
            if one.escalated == latest:
                one.escalated = -1

    def forget(self, user_id: str) -> None:
        """Forget a user, and what was still open about them."""
        self._users.pop(user_id, None)

    def settle(self, now: int) -> None:
        """Count what has matured by `now` (ms, the log's clock), after what was counted before has lost weight."""
        if self._settled >= 0:
            self._counts *= exp2(-max(0, now - self._settled) / self._memory)
            self._counts[self._counts < FADED] = 0.0
        self._settled = max(self._settled, now)
        kept = max(self._horizon, self._expiry)
        while self._open and self._open[0][0] + kept < now:
            time, user_id = self._open.popleft()
            warned = self._users.get(user_id, [])
            due = next((one for one in warned if one.time == time), None)
            if due is None:
                continue  # forgotten
            warned.remove(due)
            if not warned:
                del self._users[user_id]
            for at in range(self._floor, len(LEVELS)):
                if due.mask >> at & 1:
                    self._counts[:, at] += (1, due.escalated >= 0)
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
            "users": {user: [(w.time, w.mask, w.escalated) for w in warned] for user, warned in self._users.items()},
            "open": [*self._open],
            "hours": self._hours,
            "counts": self._counts.tolist(),
            "settled": self._settled,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._users = {user: [_Warned(*one) for one in warned] for user, warned in state["users"].items()}
        self._open = deque((time, user) for time, user in state["open"])
        self._hours = dict(state["hours"])
        self._counts = np.array(state["counts"])
        self._settled = state["settled"]


def track_of(document: dict[str, Any]) -> Track:
    """The record in a version's document. Below the first level that is kept, nothing was shown."""
    floor = document["floor"]
    below = {"warnings": 0.0, "right": 0.0, "busiest": np.inf}
    rows = {name: np.concatenate([np.full(floor, value), document[name]]) for name, value in below.items()}
    return Track(**rows)
