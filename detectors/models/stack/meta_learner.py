"""A stack's meta-learner: logistic regression on the members' standardised log-odds, one example at a time.

    log-odds = intercept + sum of weight * (member's log-odds - their mean) / their standard deviation

The weights begin with the plain mean of the members and the intercept with zero, each with the variance `DOUBT`. No
weight is less than zero: a member whose log-odds contradict the labels is left out, not inverted.

A member that cannot score an example is left out of it, and the weights of the others are scaled so that their sum
stays the same.
"""

from __future__ import annotations

from math import isnan, nan, sqrt
from typing import Any

from detectors.models.posterior import Posterior

DOUBT = 0.3
"""Initial variance of each weight and of the intercept."""
NARROWEST = 0.25
"""Lower bound on a standard deviation: nearly constant log-odds of a member are not amplified."""
FARTHEST = 8.0
"""Bound on standardised log-odds, in learning and scoring alike."""
KEYS = ("counts", "means", "squares", "weights", "covariance")


class Weighing(Posterior):
    """Moments of every member's log-odds, and the posterior of their weights, with the intercept last.

    A variance includes one virtual log-odds value, one unit from the mean.
    """

    def __init__(self, members: int) -> None:
        super().__init__([*[1.0 / members] * members, 0.0], [DOUBT] * (members + 1))
        self.counts = [0.0] * members
        self.means = [0.0] * members
        self.squares = [0.0] * members

    def score(self, logits: list[float]) -> float:
        """Return the combined log-odds; members with NaN are left out, and the result is NaN if all are."""
        return nan if all(map(isnan, logits)) else self.log_odds(self._inputs(logits))

    def learn(self, logits: list[float], label: bool, weight: float) -> None:
        """Learn from the members' log-odds of an example that they had not learnt; a negative weight undoes one.

        Undoing changes the weights only: covariance and moments stay.
        """
        if all(map(isnan, logits)):
            return
        self.update(self._inputs(logits), label, weight)
        self.weights = [*[max(one, 0.0) for one in self.weights[:-1]], self.weights[-1]]
        if weight > 0:
            self._see(logits, weight)

    def _inputs(self, logits: list[float]) -> list[float]:
        """Return the regression's inputs: 0 for a member without log-odds, 1 for the intercept."""
        weights = self.weights[:-1]
        whole = said = 0.0
        for weight, logit in zip(weights, logits, strict=True):
            whole += weight
            said += 0.0 if isnan(logit) else weight
        more = whole / said if said > 0 else 1.0
        moments = zip(logits, self.means, spreads(self.counts, self.squares), strict=True)
        return [*(0.0 if isnan(one) else more * standard(one, mean, spread) for one, mean, spread in moments), 1.0]

    def _see(self, logits: list[float], weight: float) -> None:
        """Update the moments of every member with log-odds, `weight` times (Welford, Technometrics 4, 1962)."""
        for number, logit in enumerate(logits):
            if not isnan(logit):
                before = logit - self.means[number]
                self.counts[number] += weight
                self.means[number] += weight * before / self.counts[number]
                self.squares[number] += weight * before * (logit - self.means[number])

    def dump(self) -> dict[str, Any]:
        """Return the full state as plain data."""
        return {key: getattr(self, key) for key in KEYS}

    def load(self, state: dict[str, Any]) -> None:
        """Restore a dumped state."""
        for key in KEYS:
            setattr(self, key, state[key])


def spreads(counts: list[float], squares: list[float]) -> list[float]:
    """Return standard deviations, at least `NARROWEST`, from counts and summed squared deviations; 1 without data."""
    moments = zip(counts, squares, strict=True)
    return [max(sqrt((1.0 + square) / (1.0 + count)), NARROWEST) for count, square in moments]


def standard(logit: float, mean: float, spread: float) -> float:
    """Return standardised log-odds, clipped to at most `FARTHEST` from zero."""
    return max(-FARTHEST, min(FARTHEST, (logit - mean) / spread))
