"""A dumped stack at work: its members' log-odds weighed, and what each feature adds to that through all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from detectors.contract import Matrix
from detectors.models.version import Terms
from schemas.records import Exemplar


class Member(NamedTuple):
    """A member at work: the rows of the columns that it reads, and what its log-odds are weighed with.

    It adds `slope * (log-odds - mean)`, where the slope is its weight over the standard deviation of its log-odds.
    """

    terms: Terms
    rows: list[int]
    weight: float
    slope: float
    mean: float


class Blend(NamedTuple):
    """Log-odds = intercept + sum of what the members add, scaled up for those that say nothing of a point."""

    intercept: float
    members: tuple[Member, ...]

    @property
    def ready(self) -> bool:
        """Whether any member is."""
        return any(member.terms.ready for member in self.members)

    def logits(self, columns: Matrix, users: Sequence[str]) -> Matrix:
        """Log-odds of columns, shape (features, points); NaN where no member says anything."""
        total, said, anybody = np.zeros(columns.shape[1]), np.zeros(columns.shape[1]), np.zeros(columns.shape[1], bool)
        for member in self.members:
            if member.terms.ready:
                logits = member.terms.logits(columns[member.rows], users)
                speaks = ~np.isnan(logits)
                total += np.where(speaks, member.slope * (logits - member.mean), 0.0)
                said += np.where(speaks, member.weight, 0.0)
                anybody |= speaks
        return np.where(anybody, self.intercept + self._scaled(said) * total, np.nan)

    def contributions(self, column: Matrix, user: str | None) -> Matrix:
        """What each feature of a single point adds, through all members that say something of it."""
        users = () if user is None else (user,)
        speaking = [
            (member, member.terms.contributions(column[member.rows], user))
            for member in self.members
            if member.terms.ready and not np.isnan(member.terms.logits(column[member.rows], users)[0])
        ]
        added = np.zeros(len(column))
        for member, parts in speaking:
            added[member.rows] += member.slope * np.nan_to_num(parts)
        scaled: Matrix = self._scaled(np.array(sum(member.weight for member, _ in speaking))) * added
        return scaled

    def exemplars(self, column: Matrix, user: str | None, most: int) -> tuple[Exemplar, ...]:
        """Those of the first member that keeps any."""
        found = (
            member.terms.exemplars(column[member.rows], user, most) for member in self.members if member.terms.ready
        )
        return next(filter(None, found), ())

    def _scaled(self, said: Matrix) -> Matrix:
        """The sum of all weights over the sum of those of the members that speak; 1 where these weigh nothing."""
        whole = sum(member.weight for member in self.members)
        scaled: Matrix = np.where(said > 0, whole / np.where(said > 0, said, 1.0), 1.0)
        return scaled
