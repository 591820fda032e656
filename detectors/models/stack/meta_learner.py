"""How a stack weighs its members: logistic regression on their standardised log-odds, learnt one example at a time.

    log-odds = intercept + sum of weight * (member's log-odds - their mean) / their standard deviation

Weights and intercept begin with the plain mean of the members and no intercept, with the variance `DOUBT`. No weight is
less than zero: a member that says the opposite of the truth is left out, not believed the other way round.

A member that says nothing of an example is left out of it, and the weights of the others are scaled so that their sum
stays.
"""

from __future__ import annotations

from math import isnan, nan, sqrt
from typing import Any

from detectors.models.posterior import Posterior

DOUBT = 0.3
"""Variance of each weight and of the intercept around where they begin."""
NARROWEST = 0.25
"""A standard deviation counts as at least this: a member that says nearly the same of everybody is not made loud."""
FARTHEST = 8.0
"""Standardised log-odds are bounded to this, in learning and in scoring alike."""
KEYS = ("counts", "means", "squares", "weights", "covariance")


class Weighing(Posterior):
    """Moments of every member's log-odds, and the posterior of their weights with the intercept's behind them.

    A variance counts as if one more log-odds had been seen, a whole unit from the mean.
    """

    def __init__(self, members: int) -> None:
        super().__init__([*[1.0 / members] * members, 0.0], [DOUBT] * (members + 1))
        self.counts = [0.0] * members
        self.means = [0.0] * members
        self.squares = [0.0] * members

    def score(self, logits: list[float]) -> float:
        """Log-odds of what the members say, NaN where one says nothing; NaN where none says anything."""
        return nan if all(map(isnan, logits)) else self.log_odds(self._inputs(logits))

    def learn(self, logits: list[float], label: bool, weight: float) -> None:
        """Learn from what members said of an example that they had not learnt; a negative weight takes back.

        What is taken back leaves no doubt behind: covariance and moments stay.
        """
        if all(map(isnan, logits)):
            return
        self.update(self._inputs(logits), label, weight)
        self.weights = [*[max(one, 0.0) for one in self.weights[:-1]], self.weights[-1]]
        if weight > 0:
            self._see(logits, weight)

    def _inputs(self, logits: list[float]) -> list[float]:
        """What the weights are multiplied with; zero for a member that says nothing, one for the intercept."""
        weights = self.weights[:-1]
        whole = said = 0.0
        for weight, logit in zip(weights, logits, strict=True):
            whole += weight
            said += 0.0 if isnan(logit) else weight
        more = whole / said if said > 0 else 1.0
        moments = zip(logits, self.means, spreads(self.counts, self.squares), strict=True)
        return [*(0.0 if isnan(one) else more * standard(one, mean, spread) for one, mean, spread in moments), 1.0]

    def _see(self, logits: list[float], weight: float) -> None:
        """Welford's update (Technometrics 4, 1962) by every member that said something, as often as it weighs."""
        for number, logit in enumerate(logits):
            if not isnan(logit):
                before = logit - self.means[number]
                self.counts[number] += weight
                self.means[number] += weight * before / self.counts[number]
                self.squares[number] += weight * before * (logit - self.means[number])

    def dump(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {key: getattr(self, key) for key in KEYS}

    def load(self, state: dict[str, Any]) -> None:
        """Become what was dumped."""
        for key in KEYS:
            setattr(self, key, state[key])


def spreads(counts: list[float], squares: list[float]) -> list[float]:
    """Standard deviations from counts and summed squared deviations; one where nothing was seen."""
    moments = zip(counts, squares, strict=True)
    return [max(sqrt((1.0 + square) / (1.0 + count)), NARROWEST) for count, square in moments]


def standard(logit: float, mean: float, spread: float) -> float:
    """Standardised log-odds, within `FARTHEST` of zero."""
    return max(-FARTHEST, min(FARTHEST, (logit - mean) / spread))
