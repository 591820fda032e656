"""Exact nearest neighbours among two pools of exemplars, and what they say of a point.

The distance of a point to an exemplar is the weighted mean of the squared differences in standard deviations, over
the features that the point has. No feature differs by more than `FARTHEST`, and one that the exemplar lacks differs by
that much. What the point lacks is left out, and so is a feature whose spread is not known or that has no weight.

The contrast is log((o + NEAREST) / (e + NEAREST)), where e and o are the mean distances to the `k` nearest exemplars
that escalated and that did not: the log ratio of two nearest-neighbour densities, but for a factor that is learnt.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.base.elementwise import log, ordered_sum
from detectors.base.vectors import Matrix
from detectors.models.lookalike.exemplars import Exemplar, unpacked

FARTHEST = 4.0
"""The most a single feature may differ, squared: two standard deviations."""
NEAREST = 0.02
"""Added to both distances: vectors that are all but equal to an exemplar are as like it as can be told."""
FLATTEST = 1e-6
"""A variance below this is none: the feature is left out."""
_AT_ONCE = 8
"""Points compared at once: their differences stay in the processor's cache, which halves the time."""

Keys = NDArray[np.int64]
"""Hashes of user ids."""


class Metric(NamedTuple):
    """What a difference in each feature counts for: its variance over all points, and a weight."""

    variances: Matrix
    weights: Matrix


class Found(NamedTuple):
    """One point's neighbours: each feature's part in the distances, shape (features, exemplars), and who is nearest.

    `escalated` and `ordinary` are the numbers of the nearest exemplars, nearest first; `distances` has one of each.
    """

    parts: Matrix
    distances: Matrix
    escalated: list[int]
    ordinary: list[int]


class Neighbours:
    """Two pools to look points up in: those who escalated, and the ordinary. Points are squashed columns.

    Columns have the shape (features, points).
    """

    def __init__(self, escalated: list[Exemplar], ordinary: list[Exemplar], metric: Metric, k: int) -> None:
        self.exemplars = [*escalated, *ordinary]
        self._split, self._k = len(escalated), k
        # features that count for nothing are not even subtracted
        self._counts = np.flatnonzero((metric.variances >= FLATTEST) & (metric.weights > 0.0))
        self._scale = 1.0 / np.sqrt(metric.variances[self._counts])[:, None]
        self._weights = metric.weights[self._counts, None]
        vectors = b"".join([exemplar.vector for exemplar in self.exemplars])
        self._columns = unpacked(vectors, len(metric.variances))[self._counts] * self._scale
        self._users: Keys = np.array([exemplar.user for exemplar in self.exemplars], dtype=np.int64)
        self._known_at = np.array([exemplar.known_at for exemplar in self.exemplars], dtype=np.int64)

    @property
    def enough(self) -> bool:
        """Whether both pools hold `k` exemplars: nothing can be said of a point otherwise."""
        return min(self._split, len(self.exemplars) - self._split) >= self._k

    def contrasts(self, columns: Matrix, users: Keys | None, before: int | None = None) -> Matrix:
        """The contrast of every point; NaN where a pool has nobody left for it.

        A user is not compared with exemplars of their own, where `users` are given, and none is looked at whose
        outcome was not known before the time `before`. A point's bits do not depend on the points beside it.
        """
        columns, points = columns[self._counts], columns.shape[1]
        contrasts = np.empty(points)
        buffer = np.empty((len(columns), min(points, _AT_ONCE), len(self.exemplars)))
        for start in range(0, points, _AT_ONCE):
            some = slice(start, min(start + _AT_ONCE, points))
            distances = ordered_sum(self._parts(columns[:, some], buffer[:, : some.stop - start]))
            self._leave_out(distances, None if users is None else users[some], before)
            near, far = self._nearest(distances[:, : self._split]), self._nearest(distances[:, self._split :])
            contrasts[some] = log((far + NEAREST) / (near + NEAREST))
        return contrasts

    def find(self, column: Matrix, user: int | None) -> Found:
        """The neighbours of one point, given as a column; none of the user's own."""
        counting = self._parts(column[self._counts], np.empty((len(self._counts), 1, len(self.exemplars))))
        parts = np.zeros((len(column), len(self.exemplars)))
        parts[self._counts] = counting[:, 0]
        distances = ordered_sum(counting)
        self._leave_out(distances, None if user is None else np.array([user], dtype=np.int64), None)
        order = [n for n in np.argsort(distances[0], kind="stable").tolist() if distances[0, n] < np.inf]
        escalated = [n for n in order if n < self._split][: self._k]
        return Found(parts, distances[0], escalated, [n for n in order if n >= self._split][: self._k])

    def _parts(self, columns: Matrix, parts: Matrix) -> Matrix:
        """Each feature's part in the distances, written into `parts`, shape (features, points, exemplars)."""
        absent = np.isnan(columns)
        shares = np.where(absent, 0.0, self._weights)
        total = ordered_sum(shares)
        shares /= np.where(total > 0, total, 1.0)
        points = np.where(absent, 0.0, columns) * self._scale
        np.subtract(points[:, :, None], self._columns[:, None, :], out=parts)
        np.multiply(parts, parts, out=parts)
        np.fmin(parts, FARTHEST, out=parts)  # of NaN, which the exemplar lacks, and a number the number
        np.multiply(parts, shares[:, :, None], out=parts)
        return parts

    def _leave_out(self, distances: Matrix, users: Keys | None, before: int | None) -> None:
        if users is not None:
            distances[users[:, None] == self._users] = np.inf
        if before is not None:
            distances[:, self._known_at >= before] = np.inf

    def _nearest(self, distances: Matrix) -> Matrix:
        """The mean of the `k` smallest of each row that are there at all; NaN where none is."""
        nearest = np.sort(distances, axis=1)[:, : self._k]
        there = np.isfinite(nearest)
        count = np.add.reduce(there, axis=1, dtype=np.int64)
        total = ordered_sum(np.where(there, nearest, 0.0).T)
        mean: Matrix = np.where(count > 0, total, np.nan) / np.maximum(count, 1)
        return mean
