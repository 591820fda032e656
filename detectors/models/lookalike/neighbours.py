"""Exact nearest neighbours among two pools of exemplars, and a point's contrast between them.

The distance of a point to an exemplar is the weighted mean of the squared differences in standard deviations, over the
features that the point has. A feature's squared difference is at most `FARTHEST`, and exactly that if the exemplar
lacks the feature. Features that the point lacks are left out, and so are features without a known spread or without
weight.

The contrast is log((o + NEAREST) / (e + NEAREST)), where e and o are the mean distances to the `k` nearest exemplars
that escalated and that did not: the log ratio of two nearest-neighbour densities, up to a factor that is learnt.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.base.elementwise import log, ordered_sum
from detectors.base.vectors import Matrix
from detectors.models.lookalike.exemplars import Exemplar, unpacked

FARTHEST = 4.0
"""Upper bound on the squared difference of a single feature: two standard deviations."""
NEAREST = 0.02
"""Added to both distances: vectors almost equal to an exemplar count as equally close."""
FLATTEST = 1e-6
"""A variance below this counts as zero: the feature is left out."""
_AT_ONCE = 8
"""Points compared at once: their differences stay in the processor's cache, which halves the time."""

Keys = NDArray[np.int64]
"""Hashes of user ids."""


class Metric(NamedTuple):
    """The distance metric: each feature's variance over all points, and its weight."""

    variances: Matrix
    weights: Matrix


class Found(NamedTuple):
    """One point's neighbours: features' parts in the distances, shape (features, exemplars), and nearest exemplars.

    `escalated` and `ordinary` are the indices of the nearest exemplars, nearest first; `distances` has one value per
    exemplar.
    """

    parts: Matrix
    distances: Matrix
    escalated: list[int]
    ordinary: list[int]


class Neighbours:
    """A nearest-neighbour index of two pools: exemplars that escalated, and ordinary ones.

    Points are symlog-transformed columns, shape (features, points).
    """

    def __init__(self, escalated: list[Exemplar], ordinary: list[Exemplar], metric: Metric, k: int) -> None:
        self.exemplars = [*escalated, *ordinary]
        self._split, self._k = len(escalated), k
        # features without weight or spread need no subtraction
        self._counts = np.flatnonzero((metric.variances >= FLATTEST) & (metric.weights > 0.0))
        self._scale = 1.0 / np.sqrt(metric.variances[self._counts])[:, None]
        self._weights = metric.weights[self._counts, None]
        vectors = b"".join([exemplar.vector for exemplar in self.exemplars])
        self._columns = unpacked(vectors, len(metric.variances))[self._counts] * self._scale
        self._users: Keys = np.array([exemplar.user for exemplar in self.exemplars], dtype=np.int64)
        self._known_at = np.array([exemplar.known_at for exemplar in self.exemplars], dtype=np.int64)

    @property
    def enough(self) -> bool:
        """Return whether both pools hold `k` exemplars; a point cannot be scored otherwise."""
        return min(self._split, len(self.exemplars) - self._split) >= self._k

    def contrasts(self, columns: Matrix, users: Keys | None, before: int | None = None) -> Matrix:
        """Return the contrast of every point; NaN where a pool has no exemplar that may be compared with it.

        With `users`, no user is compared with their own exemplars. With `before` (ms), only exemplars whose outcome was
        known before that time are used. A point's contrast is bitwise independent of the other points.
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
        """Return the neighbours of one point, given as a column, without the user's own exemplars."""
        counting = self._parts(column[self._counts], np.empty((len(self._counts), 1, len(self.exemplars))))
        parts = np.zeros((len(column), len(self.exemplars)))
        parts[self._counts] = counting[:, 0]
        distances = ordered_sum(counting)
        self._leave_out(distances, None if user is None else np.array([user], dtype=np.int64), None)
        order = [n for n in np.argsort(distances[0], kind="stable").tolist() if distances[0, n] < np.inf]
        escalated = [n for n in order if n < self._split][: self._k]
        return Found(parts, distances[0], escalated, [n for n in order if n >= self._split][: self._k])

    def _parts(self, columns: Matrix, parts: Matrix) -> Matrix:
        """Write each feature's part in the distances into `parts`, shape (features, points, exemplars); return it."""
        absent = np.isnan(columns)
        shares = np.where(absent, 0.0, self._weights)
        total = ordered_sum(shares)
        shares /= np.where(total > 0, total, 1.0)
        points = np.where(absent, 0.0, columns) * self._scale
        np.subtract(points[:, :, None], self._columns[:, None, :], out=parts)
        np.multiply(parts, parts, out=parts)
        np.fmin(parts, FARTHEST, out=parts)  # NaN, where the exemplar lacks the feature, becomes FARTHEST
        np.multiply(parts, shares[:, :, None], out=parts)
        return parts

    def _leave_out(self, distances: Matrix, users: Keys | None, before: int | None) -> None:
        if users is not None:
            distances[users[:, None] == self._users] = np.inf
        if before is not None:
            distances[:, self._known_at >= before] = np.inf

    def _nearest(self, distances: Matrix) -> Matrix:
        """Return the mean of the at most `k` smallest finite values of each row; NaN where there is none."""
        nearest = np.sort(distances, axis=1)[:, : self._k]
        there = np.isfinite(nearest)
        count = np.add.reduce(there, axis=1, dtype=np.int64)
        total = ordered_sum(np.where(there, nearest, 0.0).T)
        mean: Matrix = np.where(count > 0, total, np.nan) / np.maximum(count, 1)
        return mean
