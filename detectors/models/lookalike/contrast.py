"""Scoring with a dumped look-alike model: log-odds from contrasts, feature contributions, nearest exemplars."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import sqrt
from typing import Any

import numpy as np

from detectors.base.elementary import log
from detectors.base.elementwise import ordered_sum
from detectors.base.vectors import Matrix
from detectors.features.signals import key_of
from detectors.models.lookalike.exemplars import loaded
from detectors.models.lookalike.neighbours import NEAREST, Found, Metric, Neighbours
from detectors.models.version import aligned
from schemas.records.decisions import Exemplar

_ALIKE = 1e-9
"""Two distances with a smaller relative difference are equal: their logarithmic mean is either."""


class Contrast:
    """Scores by `intercept + slope * contrast`, and attributes the contrast to the features."""

    def __init__(self, state: dict[str, Any], names: tuple[str, ...]) -> None:
        self._state, self._names = state, names
        self._intercept, self._slope = float(state["intercept"]), float(state["slope"])
        self.ready = min(len(state[pool]["keys"]) for pool in ("escalated", "ordinary")) >= state["neighbours"]

    @cached_property
    def _neighbours(self) -> Neighbours:
        """Return the neighbour index, built when first needed: a lane holds every version, and scores with few."""
        state, names = self._state, self._names
        escalated, ordinary = (loaded(state[pool], state["features"], names) for pool in ("escalated", "ordinary"))
        metric = Metric(aligned(names, state, "variances", 0.0), aligned(names, state, "weights", 0.0))
        return Neighbours(escalated, ordinary, metric, state["neighbours"])

    def logits(self, columns: Matrix, users: Sequence[str]) -> Matrix:
        """Return the log-odds of symlog-transformed columns, shape (features, points).

        NaN where a pool holds no exemplar of another user.
        """
        keys = np.array([key_of(user) for user in users], dtype=np.int64) if users else None
        logits: Matrix = self._intercept + self._slope * self._neighbours.contrasts(columns, keys)
        return logits

    def contributions(self, column: Matrix, user: str | None) -> Matrix:
        """Return each feature's contribution to the log-odds of one symlog-transformed column, shape (features, 1).

        The contrast is a log ratio of two distances, and both are sums over features. A feature's contribution, before
        the slope, is the difference of its parts in the two distances over the logarithmic mean of the distances. These
        contributions add up to the contrast.
        """
        found = self._find(column, user)
        if not (found.escalated and found.ordinary):
            return np.zeros(len(column))
        near = ordered_sum(found.parts[:, found.escalated].T) / len(found.escalated)
        far = ordered_sum(found.parts[:, found.ordinary].T) / len(found.ordinary)
        low, high = float(ordered_sum(near)) + NEAREST, float(ordered_sum(far)) + NEAREST
        mean = high if abs(high - low) < _ALIKE * high else (high - low) / log(high / low)
        shares: Matrix = self._slope * (far - near) / mean
        return shares

    def start(self, column: Matrix, user: str | None) -> float:  # noqa: ARG002 - the same for any point
        """Return the intercept: the log-odds of a point as far from the one pool as from the other."""
        return self._intercept

    def exemplars(self, column: Matrix, user: str | None, most: int) -> tuple[Exemplar, ...]:
        """Return at most `most` escalated exemplars, nearest first."""
        found, held = self._find(column, user), self._neighbours.exemplars
        return tuple(
            Exemplar(
                exemplar_id=f"{held[number].key:016x}",
                distance=sqrt(float(found.distances[number])),
                known_at=held[number].known_at,
            )
            for number in found.escalated[:most]
        )

    def _find(self, column: Matrix, user: str | None) -> Found:
        return self._neighbours.find(column, None if user is None else key_of(user))
