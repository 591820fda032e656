"""Standard scaling and logistic regression with AdaGrad, one example at a time, on packed numbers.

The operations and their order are those of River 0.26's `StandardScaler | LogisticRegression` with `AdaGrad`, in a
small part of the time. Two things differ. Standardised values are bounded, so that one example of a feature that almost
no user has shown does not move any score far. Exponentials and roots give the same bits on every processor, where River
uses `**` and the C library's `exp`.
"""

from __future__ import annotations

from math import sqrt
from typing import Final, final

from librt.vecs import vec

from detectors.base.elementary import exp
from detectors.base.vectors import Row

EPSILON = 1e-8
"""Added to the sum of a weight's squared gradients (River's default)."""
STEEPEST = 20.0
"""Gradients are clipped to this: one weighted example moves no weight by more than this times the learning rate."""
FARTHEST: Final = 4.0
"""Bound on standardised values, in standard deviations, in learning and scoring alike.

A feature that was the same for n examples has a standard deviation near 1 / sqrt(n) when it first differs; without a
bound, that one value would outweigh all others. See docs/explanation/learning.md for the choice of the bound.
"""
CERTAIN = 18.0
"""From these log-odds on, e**-18 is dropped next to 1 in the gradient (as in River's log loss)."""


@final
class AdaGradLogistic:
    """State of a scaler and a logistic regression, one entry per value of a row.

    `counts`, `means` and `variances` belong to the scaler (Welford). `weights` belong to the regression, and `squares`
    are the sums of their squared gradients. The intercept's learning rate is divided by the root of the number of
    steps.
    """

    __slots__ = ("_l2", "_rate", "counts", "intercept", "means", "squares", "steps", "variances", "weights")

    def __init__(self, places: int, rate: float, l2: float) -> None:
        self._rate = rate
        self._l2 = l2
        nothing = [0.0] * places
        self.counts = vec[float](nothing)
        self.means = vec[float](nothing)
        self.variances = vec[float](nothing)
        self.weights = vec[float](nothing)
        self.squares = vec[float](nothing)
        self.intercept = 0.0
        self.steps = 0

    def learn(self, row: Row, label: bool, weight: float, scaler: bool) -> None:
        """Learn an example's row with its weight; update the scaler too if `scaler` is true."""
        means, variances, weights, squares = self.means, self.variances, self.weights, self.squares
        places = range(len(row))
        if scaler:
            counts = self.counts
            for at in places:
                value = row[at]
                if value == value:  # noqa: PLR0124 - only NaN differs from itself
                    count = counts[at] + 1.0
                    counts[at] = count
                    before = means[at]
                    mean = before + (value - before) / count
                    means[at] = mean
                    variance = variances[at]
                    variances[at] = variance + ((value - before) * (value - mean) - variance) / count
        standards = vec[float](row)
        dot = 0.0
        for at in places:
            value = standards[at]
            if value == value:  # noqa: PLR0124
                variance = variances[at]
                standard = bounded((value - means[at]) / sqrt(variance)) if variance else 0.0
                standards[at] = standard
                dot += weights[at] * standard
        steep = min(max(_slope(dot + self.intercept, label) * weight, -STEEPEST), STEEPEST)
        self.intercept -= self._rate / sqrt(float(self.steps + 1)) * steep
        rate, l2 = self._rate, self._l2
        for at in places:
            standard = standards[at]
            if standard == standard:  # noqa: PLR0124
                gradient = standard * steep
                if l2:
                    gradient += weights[at] * l2
                square = squares[at] + gradient * gradient
                squares[at] = square
                weights[at] = weights[at] - rate / sqrt(square + EPSILON) * gradient
        self.steps += 1

    def logit(self, row: Row) -> float:
        """Return the log-odds of an example's row; state does not change."""
        found = self.intercept
        for at in range(len(row)):
            value, variance = row[at], self.variances[at]
            if value == value and variance > 0:  # noqa: PLR0124
                found += bounded((value - self.means[at]) / sqrt(variance)) * self.weights[at]
        return found


@final
class AdaGradSlope:
    """River's `LogisticRegression` with `AdaGrad` on one input: log-odds = intercept + slope * input."""

    __slots__ = ("_rate", "intercept", "slope", "square", "steps")

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self.slope = self.square = self.intercept = 0.0
        self.steps = 0

    def logit(self, value: float) -> float:
        """Return the log-odds of an input; state does not change."""
        return self.intercept + self.slope * value

    def learn(self, value: float, label: bool, weight: float) -> None:
        """Learn an example's input with its weight."""
        steep = min(max(_slope(self.slope * value + self.intercept, label) * weight, -STEEPEST), STEEPEST)
        self.intercept -= self._rate / sqrt(float(self.steps + 1)) * steep
        gradient = value * steep
        self.square += gradient * gradient
        self.slope -= self._rate / sqrt(self.square + EPSILON) * gradient
        self.steps += 1


def bounded(standard: float) -> float:
    """Return a standardised value clipped to at most `FARTHEST` from zero."""
    return max(-FARTHEST, min(FARTHEST, standard))


def _slope(logit: float, label: bool) -> float:
    """Return the derivative of the log loss with respect to the log-odds."""
    sign = 1.0 if label else -1.0
    margin = logit * sign
    if margin > CERTAIN:
        return exp(-margin) * -sign
    if margin < -CERTAIN:
        return -sign
    return -sign / (exp(margin) + 1.0)
