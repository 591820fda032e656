"""A dumped stack at work: its members' log-odds weighed, and what each feature adds to that through all of them."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan, nan
from typing import NamedTuple

import numpy as np

from detectors.base.elementwise import ordered_sum
from detectors.base.vectors import Matrix
from detectors.models.stack.meta_learner import FARTHEST
from detectors.models.version import Terms
from schemas.records.decisions import Exemplar


class Member(NamedTuple):
    """A member at work: the rows of the columns that it reads, and what its log-odds are weighed with.

    It adds its weight times its standardised log-odds: how many standard deviations (`spread`) from the mean, bounded.
    """

    terms: Terms
    rows: list[int]
    weight: float
    mean: float
    spread: float

    def standard(self, logits: Matrix) -> Matrix:
        """Standardised log-odds."""
        bounded: Matrix = np.minimum(np.maximum((logits - self.mean) / self.spread, -FARTHEST), FARTHEST)
        return bounded

    def slope(self, logit: float, moved: float) -> float:
        """Return the scale that makes contributions totalling `moved` add up to `logit`."""
        before, after = ((one - self.mean) / self.spread for one in (logit - moved, logit))
        if max(abs(before), abs(after)) <= FARTHEST or not moved:
            return self.weight / self.spread
        before, after = (max(-FARTHEST, min(FARTHEST, one)) for one in (before, after))
        return self.weight * (after - before) / moved


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
                total += np.where(speaks, member.weight * member.standard(logits), 0.0)
                said += np.where(speaks, member.weight, 0.0)
                anybody |= speaks
        return np.where(anybody, self.intercept + self._scaled(said) * total, np.nan)

    def contributions(self, column: Matrix, user: str | None) -> Matrix:
        """What each feature of a single point adds, through all members that say something of it."""
        users = () if user is None else (user,)
        added, said = np.zeros(len(column)), 0.0
        for member in self.members:
            logit = float(member.terms.logits(column[member.rows], users)[0]) if member.terms.ready else nan
            if not isnan(logit):
                parts = np.nan_to_num(member.terms.contributions(column[member.rows], user))
                added[member.rows] += member.slope(logit, float(ordered_sum(parts))) * parts
                said += member.weight
        scaled: Matrix = self._scaled(np.array(said)) * added
        return scaled

    def exemplars(self, column: Matrix, user: str | None, most: int) -> tuple[Exemplar, ...]:
        """Those of the first member that keeps any."""
        found = (
            member.terms.exemplars(column[member.rows], user, most) for member in self.members if member.terms.ready
        )
        return next(filter(None, found), ())

    def _scaled(self, said: Matrix) -> Matrix:
        """The sum of all weights over the sum of those of the members that speak; 1 where these weigh nothing."""
        whole = 0.0
        for member in self.members:
            whole += member.weight
        scaled: Matrix = np.where(said > 0, whole / np.where(said > 0, said, 1.0), 1.0)
        return scaled
