"""Online Platt scaling: what a score is worth in log-odds, learnt one example at a time (Platt, 1999).

    log-odds = slope * score + intercept

A score that is still learnt itself is soon worth something else: the posterior of the two widens again while it learns,
and remembers so much `MEMORY` of information.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from detectors.models.posterior import Posterior

DOUBT = 0.3
"""Variance of the slope around 1 at the beginning, and ever after at most."""
DISTANCE = 25.0
"""The same for the intercept around 0: base rates of one in a thousand are near."""
MEMORY = 500.0
"""Information, the sum of weight * p * (1 - p), that the posterior remembers."""
SOUND = 0.99
"""Slope and intercept are never more correlated than this."""


class Calibration(Posterior):
    """Slope and intercept. No slope is less than zero."""

    def __init__(self) -> None:
        super().__init__((1.0, 0.0), (DOUBT, DISTANCE))

    @property
    def slope(self) -> float:
        """What a score is multiplied by."""
        return self.weights[0]

    @property
    def intercept(self) -> float:
        """What is added."""
        return self.weights[1]

    def __call__(self, score: float) -> float:
        """Log-odds."""
        return self.slope * score + self.intercept

    def learn(self, score: float, label: bool, weight: float) -> None:
        """Learn from a score that did not know the label; with a negative weight, take back, but no certainty."""
        self.update((score, 1.0), label, weight)
        self.weights[0] = max(0.0, self.slope)

    def sharpen(self, inputs: Sequence[float], information: float) -> None:
        """Forget as much as is about to be known, and know it."""
        (slopes, common), (_, intercepts) = self.covariance
        more = 1.0 + information / MEMORY
        slopes, intercepts = min(slopes * more, DOUBT), min(intercepts * more, DISTANCE)
        most = SOUND * sqrt(slopes * intercepts)
        common = max(-most, min(most, common * more))
        self.covariance = [[slopes, common], [common, intercepts]]
        super().sharpen(inputs, information)

    def dump(self) -> list[float]:
        """Slope and intercept, the slope's variance, what the two have in common, the intercept's variance."""
        (slopes, common), (_, intercepts) = self.covariance
        return [*self.weights, slopes, common, intercepts]

    def load(self, state: list[float]) -> None:
        """Become what was dumped."""
        slope, intercept, slopes, common, intercepts = state
        self.weights, self.covariance = [slope, intercept], [[slopes, common], [common, intercepts]]
