"""Logistic regression on a few inputs with a normal posterior, learnt one example at a time.

Each example updates the posterior by one step of Newton's method (online Laplace approximation: Spiegelhalter and
Lauritzen, Networks 20, 1990). Steps are large while the posterior is wide, so there is no learning rate.
"""

from __future__ import annotations

from collections.abc import Sequence

from detectors.base.elementary import logistic

STEEPEST = 30.0
"""Log-odds are clipped to this magnitude; beyond it they are practically certain."""


class Posterior:
    """Means and covariance of the weights. The initial covariance is diagonal, with the given variances."""

    def __init__(self, weights: Sequence[float], variances: Sequence[float]) -> None:
        self.weights = list(weights)
        places = range(len(self.weights))
        self.covariance = [[variances[row] * (row == column) for column in places] for row in places]

    def log_odds(self, inputs: Sequence[float]) -> float:
        """Return the dot product of the mean weights and the inputs."""
        return _dot(self.weights, inputs)

    def update(self, inputs: Sequence[float], label: bool, weight: float) -> None:
        """Learn one example, whose inputs must not depend on its label.

        A negative weight moves the means in the opposite direction and leaves the covariance as it is.
        """
        certain = max(-STEEPEST, min(STEEPEST, self.log_odds(inputs)))
        probability = logistic(certain)
        if weight > 0:
            self.sharpen(inputs, weight * probability * (1.0 - probability))
        miss = weight * (label - probability)
        self.weights = [one + miss * _dot(row, inputs) for one, row in zip(self.weights, self.covariance, strict=True)]

    def sharpen(self, inputs: Sequence[float], information: float) -> None:
        """Add `information` times the inputs' outer product to the inverse covariance (Sherman and Morrison, 1950)."""
        known = [_dot(row, inputs) for row in self.covariance]
        share = information / (1.0 + information * _dot(known, inputs))
        self.covariance = [
            [one - share * a * b for one, b in zip(row, known, strict=True)]
            for row, a in zip(self.covariance, known, strict=True)
        ]


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    """Return the dot product, added up in index order; after Python 3.11, `sum` does not keep that order."""
    total = 0.0
    for a, b in zip(left, right, strict=True):
        total += a * b
    return total
