"""Online Platt scaling: what a score is worth in log-odds, learnt one example at a time (Platt, 1999).

    log-odds = slope * score + intercept

Both have a normal posterior, which every example updates by a step of Newton's method (online Laplace approximation:
Spiegelhalter and Lauritzen, Networks 20, 1990), so there is no learning rate. A score that is still learnt itself is
soon worth something else: the posterior widens again while it learns, and remembers so much `MEMORY` of information.
"""

from __future__ import annotations

from math import exp, sqrt

DOUBT = 0.3
"""Variance of the slope around 1 at the beginning, and ever after at most."""
DISTANCE = 25.0
"""The same for the intercept around 0: base rates of one in a thousand are near."""
MEMORY = 500.0
"""Information, the sum of weight * p * (1 - p), that the posterior remembers."""
STEEPEST = 30.0
"""Log-odds beyond this are as good as certain."""
SOUND = 0.99
"""Slope and intercept are never more correlated than this."""


class Calibration:
    """Slope and intercept, and the covariance of the two: the slope's variance, theirs in common, the intercept's."""

    def __init__(self) -> None:
        self.slope = 1.0
        self.intercept = 0.0
        self._covariance = (DOUBT, 0.0, DISTANCE)

    def __call__(self, score: float) -> float:
        """Log-odds."""
        return self.slope * score + self.intercept

    def learn(self, score: float, label: bool, weight: float) -> None:
        """Learn from a score that did not know the label; with a negative weight, take back, but no certainty."""
        probability = 1.0 / (1.0 + exp(-max(-STEEPEST, min(STEEPEST, self(score)))))
        if weight > 0:
            self._sharpen(score, weight * probability * (1.0 - probability))
        slopes, common, intercepts = self._covariance
        miss = weight * (label - probability)
        self.slope = max(0.0, self.slope + miss * (slopes * score + common))
        self.intercept += miss * (common * score + intercepts)

    def _sharpen(self, score: float, information: float) -> None:
        """Forget as much as is about to be known, and know it (Sherman and Morrison, 1950)."""
        slopes, common, intercepts = (part * (1.0 + information / MEMORY) for part in self._covariance)
        slopes, intercepts = min(slopes, DOUBT), min(intercepts, DISTANCE)
        most = SOUND * sqrt(slopes * intercepts)
        common = max(-most, min(most, common))
        known = slopes * score + common, common * score + intercepts
        share = information / (1.0 + information * (known[0] * score + known[1]))
        self._covariance = (
            slopes - share * known[0] * known[0],
            common - share * known[0] * known[1],
            intercepts - share * known[1] * known[1],
        )

    def dump(self) -> list[float]:
        """All of it as plain data."""
        return [self.slope, self.intercept, *self._covariance]

    def load(self, state: list[float]) -> None:
        """Become what was dumped."""
        self.slope, self.intercept, *covariance = state
        slopes, common, intercepts = covariance
        self._covariance = slopes, common, intercepts
