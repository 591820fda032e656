"""Moments of every feature, over all points and over positives, and the distance metric that follows from them."""

from __future__ import annotations

from typing import Any

import numpy as np

from detectors.base.vectors import Matrix
from detectors.features.catalogue import NUMBERS
from detectors.models.lookalike.neighbours import FLATTEST, Metric
from detectors.models.version import aligned

FEW = 10.0
"""Positives that have a feature, or points that differ in it, at which it has half of its weight."""
KEYS = ("counts", "means", "squares", "fourths", "escalated_counts", "escalated_means")


class Moments:
    """Counts, means and summed squared deviations of symlog-transformed features, and the means of positives.

    `fourths` are the sums of the squares of what single points added to `squares`.
    """

    def __init__(self) -> None:
        self.counts, self.means, self.squares, self.fourths, self.escalated_counts, self.escalated_means = (
            np.zeros(len(NUMBERS)) for _ in KEYS
        )

    def see(self, row: Matrix, weight: float, label: bool) -> None:
        """Count a point `weight` times (Welford, Technometrics 4, 1962); a negative weight undoes that."""
        present = ~np.isnan(row)
        self.counts, self.means, added = _moved(row, present, weight, self.counts, self.means)
        nothing = self.counts <= 0.0
        self.squares = np.where(nothing, 0.0, np.maximum(self.squares + weight * added, 0.0))
        self.fourths = np.where(nothing, 0.0, np.maximum(self.fourths + weight * added * added, 0.0))
        if label:
            moments = self.escalated_counts, self.escalated_means
            self.escalated_counts, self.escalated_means, _ = _moved(row, present, weight, *moments)

    def metric(self) -> Metric:
        """Return each feature's variance and weight.

        A weight is the squared distance of the positives' mean from the overall mean, over the variance. Without
        weights, features unrelated to escalation would outweigh the related ones. The weight is small for a feature
        that few positives have, and for one in which few points differ from all others. The effective number of
        differing points is the squared sum of the squared deviations over the sum of their squares (Kish, Survey
        Sampling, 1965). The mean of n positives is uncertain by 1 / n in variance, which is added to the variance.
        """
        variances = np.where(self.counts > 1, self.squares / np.maximum(self.counts - 1.0, 1.0), 0.0)
        apart = self.escalated_means - self.means
        known = np.maximum(variances, FLATTEST) + 1.0 / np.maximum(self.escalated_counts, 1.0)
        differ = self.squares * self.squares / np.where(self.fourths > 0.0, self.fourths, np.inf)
        shares = differ / (differ + FEW) * self.escalated_counts / (self.escalated_counts + FEW)
        return Metric(variances, apart * apart / known * shares)

    def dump(self) -> dict[str, list[float]]:
        """Return the full state as plain data, in the order of the features."""
        return {key: getattr(self, key).tolist() for key in KEYS}

    def load(self, state: dict[str, Any]) -> None:
        """Restore dumped moments, matched by feature name.

        A state from before 0.2 has no fourths: there every point counts as one that differs.
        """
        for key in KEYS:
            if key in state:
                setattr(self, key, aligned(NUMBERS, state, key, 0.0))
        if "fourths" not in state:
            self.fourths = self.squares * self.squares / np.maximum(self.counts, 1.0)


def _moved(row: Matrix, present: Matrix, weight: float, counts: Matrix, means: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    """Return counts and means after counting a row `weight` times, and the squares it adds per unit of weight."""
    grown = np.maximum(counts + weight * present, 0.0)
    miss = np.where(present, row - means, 0.0)
    moved = np.where(grown > 0.0, means + miss * weight / np.where(grown > 0.0, grown, 1.0), 0.0)
    return grown, moved, miss * np.where(present, row - moved, 0.0)
