"""Decision points as a lane served them: with the score, its model version and the resulting tier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import isnan
from typing import NamedTuple

import numpy as np

from detectors.base.points import DecisionPoint
from detectors.base.vectors import Matrix
from schemas.records.decisions import Tier


class Served(NamedTuple):
    """A decision point as it was served. `shadow` holds the challengers' probabilities, NaN where absent."""

    point: DecisionPoint
    probability: float | None
    tier: Tier
    model_version: str
    shadow: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ServedBatch:
    """Decision points that a lane served together, column by column; iteration yields them one by one.

    `matrix` holds the points' vectors as rows, shape (points, features). `probabilities` is NaN where absent. `shadows`
    holds the challengers' probabilities, shape (challengers, points). `held_back` is the number of points at which the
    budget suppressed a warning. `unscored` is the number of points without a score, by cause, and `silent` the number
    of points with a score but without a threshold to reach, by cause.
    """

    points: list[DecisionPoint]
    matrix: Matrix
    probabilities: Matrix
    tiers: list[Tier]
    versions: list[str]
    shadows: Matrix
    held_back: int = 0
    unscored: Counter[str] = field(default_factory=Counter)
    silent: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.points)

    def __iter__(self) -> Iterator[Served]:
        shadows = self.shadows.T.tolist()
        for row in zip(self.points, self.probabilities.tolist(), self.tiers, self.versions, shadows, strict=True):
            point, value, tier, version, shadow = row
            yield Served(point, None if isnan(value) else value, tier, version, tuple(shadow))


def joined(batches: list[ServedBatch]) -> ServedBatch:
    """Return the batches concatenated in order."""
    full = [batch for batch in batches if batch]
    held_back = sum(batch.held_back for batch in batches)
    unscored, silent = Counter[str](), Counter[str]()
    for batch in batches:
        unscored.update(batch.unscored)
        silent.update(batch.silent)
    if len(full) < 2:
        return replace(full[0] if full else NONE_SERVED, held_back=held_back, unscored=unscored, silent=silent)
    return ServedBatch(
        [point for batch in full for point in batch.points],
        np.concatenate([batch.matrix for batch in full]),
        np.concatenate([batch.probabilities for batch in full]),
        [tier for batch in full for tier in batch.tiers],
        [version for batch in full for version in batch.versions],
        np.concatenate([batch.shadows for batch in full], axis=1),
        held_back,
        unscored,
        silent,
    )


NONE_SERVED = ServedBatch([], np.empty((0, 0)), np.empty(0), [], [], np.empty((0, 0)))
