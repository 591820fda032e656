"""Online Platt scaling: scores to log-odds, learnt one example at a time (Platt, 1999).

    log-odds = slope * score + intercept

The model behind the score is still learning, so the right slope and intercept drift. Therefore the posterior of the two
widens with every example, and retains information of at most `MEMORY`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from detectors.models.posterior import Posterior

DOUBT = 0.3
"""Variance of the slope around 1 at the beginning, and its upper bound afterwards."""
DISTANCE = 25.0
"""The same for the intercept around 0; wide enough that a base rate of one in a thousand is plausible."""
MEMORY = 500.0
"""Information, the sum of weight * p * (1 - p), that the posterior retains."""
SOUND = 0.99
"""Upper bound on the magnitude of the correlation between slope and intercept."""


class Calibration(Posterior):
    """The posterior of slope and intercept. The slope is never less than zero."""

    def __init__(self) -> None:
        super().__init__((1.0, 0.0), (DOUBT, DISTANCE))

    @property
    def slope(self) -> float:
        """Return the slope, the factor of the score."""
        return self.weights[0]

    @property
    def intercept(self) -> float:
        """Return the intercept, which is added."""
        return self.weights[1]

    def __call__(self, score: float) -> float:
        """Return the log-odds of a score."""
        return self.slope * score + self.intercept

    def learn(self, score: float, label: bool, weight: float) -> None:
        """Learn from a score that does not depend on the label.

        A negative weight moves slope and intercept in the opposite direction and leaves the covariance as it is.
        """
        self.update((score, 1.0), label, weight)
        self.weights[0] = max(0.0, self.slope)

    def sharpen(self, inputs: Sequence[float], information: float) -> None:
        """Widen the posterior by the factor `1 + information / MEMORY`, within bounds, then add the information."""
        (slopes, common), (_, intercepts) = self.covariance
        more = 1.0 + information / MEMORY
        slopes, intercepts = min(slopes * more, DOUBT), min(intercepts * more, DISTANCE)
        most = SOUND * sqrt(slopes * intercepts)
        common = max(-most, min(most, common * more))
        self.covariance = [[slopes, common], [common, intercepts]]
        super().sharpen(inputs, information)

    def dump(self) -> list[float]:
        """Return slope, intercept, the slope's variance, the covariance, and the intercept's variance."""
        (slopes, common), (_, intercepts) = self.covariance
        return [*self.weights, slopes, common, intercepts]

    def load(self, state: list[float]) -> None:
        """Restore dumped values."""
        slope, intercept, slopes, common, intercepts = state
        self.weights, self.covariance = [slope, intercept], [[slopes, common], [common, intercepts]]
