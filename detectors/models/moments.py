"""What counts for how much when vectors are compared: moments of every feature, over all points and over positives."""

from __future__ import annotations

from typing import Any

import numpy as np

from detectors.contract import Matrix
from detectors.features.catalogue import NUMBERS
from detectors.models.neighbours import FLATTEST, Metric
from detectors.models.version import aligned

FEW = 10.0
"""A feature seen in so many positives has half of its weight."""
KEYS = ("counts", "means", "squares", "escalated_counts", "escalated_means")


class Moments:
    """Counts, means and summed squared deviations of squashed features, and the means of positives."""

    def __init__(self) -> None:
        self.counts, self.means, self.squares, self.escalated_counts, self.escalated_means = (
            np.zeros(len(NUMBERS)) for _ in KEYS
        )

    def see(self, row: Matrix) -> None:
        """Welford's update (Technometrics 4, 1962) by every feature that is present."""
        present = ~np.isnan(row)
        values = np.where(present, row, self.means)
        self.counts += present
        before = values - self.means
        self.means += before / np.maximum(self.counts, 1.0)
        self.squares += before * (values - self.means)

    def see_escalated(self, row: Matrix, sign: int) -> None:
        """A positive's vector, or with `sign` -1 one that is taken back."""
        counts = np.maximum(self.escalated_counts + sign * ~np.isnan(row), 0.0)
        changed = counts != self.escalated_counts
        step = np.where(changed, row - self.escalated_means, 0.0) / np.maximum(counts, 1.0)
        self.escalated_means += sign * step
        self.escalated_counts = counts

    def metric(self) -> Metric:
        """Each feature's variance, and as weight the squared distance of the positives' mean from all, over that.

        Without weights, features that have nothing to do with escalating would drown those that have. The weight of
        one that few positives have shown is small.
        """
        variances = np.where(self.counts > 1, self.squares / np.maximum(self.counts - 1.0, 1.0), 0.0)
        apart = (self.escalated_means - self.means) ** 2 / np.maximum(variances, FLATTEST)
        return Metric(variances, apart * self.escalated_counts / (self.escalated_counts + FEW))

    def dump(self) -> dict[str, list[float]]:
        """All of it as plain data, in the order of the features."""
        return {key: getattr(self, key).tolist() for key in KEYS}

    def load(self, state: dict[str, Any]) -> None:
        """Become the moments that were dumped, by the names of their features."""
        for key in KEYS:
            setattr(self, key, aligned(NUMBERS, state, key, 0.0))
