"""How a stack weighs its members: logistic regression on their standardised log-odds, learnt one example at a time.

    log-odds = intercept + sum of weight * (member's log-odds - their mean) / their standard deviation

Weights and intercept have a normal posterior, which every example updates by a step of Newton's method (online Laplace
approximation: Spiegelhalter and Lauritzen, Networks 20, 1990). It begins with the plain mean of the members and no
intercept, with the variance `DOUBT`: steps are large while little is known, and need no learning rate. No weight is
less than zero: a member that says the opposite of the truth is left out, not believed the other way round.

A member that says nothing of an example is left out of it, and the weights of the others are scaled so that their sum
stays.
"""

from __future__ import annotations

from math import exp, isnan, nan, sqrt
from typing import Any

DOUBT = 0.3
"""Variance of each weight and of the intercept around where they begin."""
STEEPEST = 50.0
"""Log-odds beyond this are as good as certain."""
KEYS = ("counts", "means", "squares", "weights", "covariance")


class Weighing:
    """Moments of every member's log-odds, and the posterior of their weights with the intercept's behind them.

    A variance counts as if one more log-odds had been seen, a whole unit from the mean.
    """

    def __init__(self, members: int) -> None:
        self.counts = [0.0] * members
        self.means = [0.0] * members
        self.squares = [0.0] * members
        self.weights = [*[1.0 / members] * members, 0.0]
        self.covariance = [[DOUBT * (row == column) for column in range(members + 1)] for row in range(members + 1)]

    def score(self, logits: list[float]) -> float:
        """Log-odds of what the members say, NaN where one says nothing; NaN where none says anything."""
        return nan if all(map(isnan, logits)) else _dot(self.weights, self._inputs(logits))

    def learn(self, logits: list[float], label: bool, weight: float) -> None:
        """Learn from what members said of an example that they had not learnt; a negative weight takes back.

        What is taken back leaves no doubt behind: covariance and moments stay.
        """
        if all(map(isnan, logits)):
            return
        inputs = self._inputs(logits)
        certain = max(-STEEPEST, min(STEEPEST, _dot(self.weights, inputs)))
        probability = 1.0 / (1.0 + exp(-certain))
        if weight > 0:
            self._sharpen(inputs, weight * probability * (1.0 - probability))
            self._see(logits)
        miss = weight * (label - probability)
        moved = [one + miss * _dot(row, inputs) for one, row in zip(self.weights, self.covariance, strict=True)]
        self.weights = [*[max(one, 0.0) for one in moved[:-1]], moved[-1]]

    def _inputs(self, logits: list[float]) -> list[float]:
        """What the weights are multiplied with; zero for a member that says nothing, one for the intercept."""
        weights = self.weights[:-1]
        said = sum(weight for weight, logit in zip(weights, logits, strict=True) if not isnan(logit))
        more = sum(weights) / said if said > 0 else 1.0
        moments = zip(logits, self.means, spreads(self.counts, self.squares), strict=True)
        return [*(0.0 if isnan(logit) else more * (logit - mean) / spread for logit, mean, spread in moments), 1.0]

    def _sharpen(self, inputs: list[float], information: float) -> None:
        """Add an example's information to the posterior: the inverse of its covariance (Sherman and Morrison, 1950)."""
        known = [_dot(row, inputs) for row in self.covariance]
        share = information / (1.0 + information * _dot(known, inputs))
        self.covariance = [
            [one - share * a * b for one, b in zip(row, known, strict=True)]
            for row, a in zip(self.covariance, known, strict=True)
        ]

    def _see(self, logits: list[float]) -> None:
        """Welford's update (Technometrics 4, 1962) by every member that said something."""
        for number, logit in enumerate(logits):
            if not isnan(logit):
                before = logit - self.means[number]
                self.counts[number] += 1.0
                self.means[number] += before / self.counts[number]
                self.squares[number] += before * (logit - self.means[number])

    def dump(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {key: getattr(self, key) for key in KEYS}

    def load(self, state: dict[str, Any]) -> None:
        """Become what was dumped."""
        for key in KEYS:
            setattr(self, key, state[key])


def spreads(counts: list[float], squares: list[float]) -> list[float]:
    """Standard deviations from counts and summed squared deviations; one where nothing was seen."""
    return [sqrt((1.0 + square) / (1.0 + count)) for count, square in zip(counts, squares, strict=True)]


def _dot(left: list[float], right: list[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))
