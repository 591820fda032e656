"""Scoring with a dumped stack: the weighted sum of its members' log-odds, and each feature's contribution to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isnan, nan
from typing import NamedTuple

import numpy as np

from detectors.base.elementwise import ordered_sum
from detectors.base.vectors import Matrix
from detectors.models.stack.meta_learner import FARTHEST
from detectors.models.version import Terms
from schemas.records.decisions import Exemplar


class Member(NamedTuple):
    """A member in scoring: its terms, the rows of the columns it reads, its weight and the moments of its log-odds.

    It contributes its weight times its standardised log-odds: the number of standard deviations (`spread`) from the
    mean, bounded.
    """

    terms: Terms
    rows: list[int]
    weight: float
    mean: float
    spread: float

    def standard(self, logits: Matrix) -> Matrix:
        """Return standardised log-odds, clipped to at most `FARTHEST` from zero."""
        bounded: Matrix = np.minimum(np.maximum((logits - self.mean) / self.spread, -FARTHEST), FARTHEST)
        return bounded

    def slope(self, logit: float, moved: float) -> float:
        """Return the factor from the member's own contributions to its contributions to the blend.

        `logit` is the member's log-odds, and `moved` the total of its own contributions.
        """
        before, after = ((one - self.mean) / self.spread for one in (logit - moved, logit))
        if max(abs(before), abs(after)) <= FARTHEST or not moved:
            return self.weight / self.spread
        before, after = (max(-FARTHEST, min(FARTHEST, one)) for one in (before, after))
        return self.weight * (after - before) / moved


class Blend(NamedTuple):
    """Log-odds = intercept + sum of the members' contributions, scaled up if some members cannot score a point."""

    intercept: float
    members: tuple[Member, ...]

    @property
    def ready(self) -> bool:
        """Return whether any member is ready."""
        return any(member.terms.ready for member in self.members)

    def logits(self, columns: Matrix, users: Sequence[str]) -> Matrix:
        """Return the log-odds of columns, shape (features, points); NaN where no member can score a point."""
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
        """Return each feature's contribution for a single point, through all members that can score it."""
        added, said = np.zeros(len(column)), 0.0
        for member, logit, parts in self._speaking(column, user):
            added[member.rows] += member.slope(logit, float(ordered_sum(parts))) * parts
            said += member.weight
        scaled: Matrix = self._scaled(np.array(said)) * added
        return scaled

    def start(self, column: Matrix, user: str | None) -> float:
        """Return the log-odds of the same members without their contributions; NaN where none can score the point."""
        total, said, anybody = 0.0, 0.0, False
        for member, logit, parts in self._speaking(column, user):
            total += member.weight * float(member.standard(np.array(logit - float(ordered_sum(parts)))))
            said += member.weight
            anybody = True
        return self.intercept + float(self._scaled(np.array(said))) * total if anybody else nan

    def _speaking(self, column: Matrix, user: str | None) -> Iterator[tuple[Member, float, Matrix]]:
        """Yield each member that can score a single point, with its log-odds and its own contributions."""
        users = () if user is None else (user,)
        for member in self.members:
            if not member.terms.ready:
                continue
            logit = float(member.terms.logits(column[member.rows], users)[0])
            if not isnan(logit):
                yield member, logit, np.nan_to_num(member.terms.contributions(column[member.rows], user))

    def exemplars(self, column: Matrix, user: str | None, most: int) -> tuple[Exemplar, ...]:
        """Return the exemplars of the first ready member that has any."""
        found = (
            member.terms.exemplars(column[member.rows], user, most) for member in self.members if member.terms.ready
        )
        return next(filter(None, found), ())

    def _scaled(self, said: Matrix) -> Matrix:
        """Return the sum of all weights over `said`, the weights of members that can score; 1 where `said` is 0."""
        whole = 0.0
        for member in self.members:
            whole += member.weight
        scaled: Matrix = np.where(said > 0, whole / np.where(said > 0, said, 1.0), 1.0)
        return scaled
