"""Standard scaling and logistic regression by AdaGrad, one example at a time, on plain lists.

The operations, and their order, are those of River 0.26's `StandardScaler | LogisticRegression` with `AdaGrad`, so that
every number comes out as River's pipeline would have it, to the last bit, for a tenth of the time.
"""

from __future__ import annotations

from math import exp, pow, sqrt  # noqa: A004 - River's schedule uses this one
from typing import final

EPSILON = 1e-8
"""Added to the sum of a weight's squared gradients (River's default)."""
STEEPEST = 20.0
"""Gradients are clipped here: no single weighted example moves a weight further than this times the learning rate."""
CERTAIN = 18.0
"""From these log-odds on, e**-18 next to 1 is left out of the gradient (River's log loss)."""


@final
class AdaGradLogistic:
    """The numbers of a model, a place in each list for every feature it has met.

    `counts`, `means` and `variances` are the scaler's (Welford), `weights` the regression's and `squares` the sums of
    their squared gradients. The intercept's rate falls with the root of `steps`.
    """

    __slots__ = (
        "_l2",
        "_places",
        "_rate",
        "counts",
        "intercept",
        "means",
        "names",
        "squares",
        "steps",
        "variances",
        "weights",
    )

    def __init__(self, rate: float, l2: float) -> None:
        self._rate = rate
        self._l2 = l2
        self._places: dict[str, int] = {}
        self.names: list[str] = []
        self.counts: list[int] = []
        self.means: list[float] = []
        self.variances: list[float] = []
        self.weights: list[float] = []
        self.squares: list[float] = []
        self.intercept = 0.0
        self.steps = 0

    def meet(self, name: str, count: int, mean: float, variance: float, weight: float, square: float) -> int:
        """Make a place for a feature, with what is known of it; the place."""
        place = len(self.names)
        self._places[name] = place
        self.names.append(name)
        self.counts.append(count)
        self.means.append(mean)
        self.variances.append(variance)
        self.weights.append(weight)
        self.squares.append(square)
        return place

    def learn(self, features: dict[str, float], label: bool, weight: float, scaler: bool) -> None:
        """Learn an example's features, with its weight; whether the `scaler` learns too."""
        places: list[int] = []
        values: list[float] = []
        for name, given in features.items():
            place = self._places.get(name, -1)
            places.append(self.meet(name, 0, 0.0, 0.0, 0.0, 0.0) if place < 0 else place)
            values.append(given)
        # by place and not by `zip`, which is what takes the time otherwise
        many = range(len(places))
        means, variances, weights, squares = self.means, self.variances, self.weights, self.squares
        if scaler:
            counts = self.counts
            for at in many:
                place, value = places[at], values[at]
                count = counts[place] + 1
                counts[place] = count
                before = means[place]
                mean = before + (value - before) / count
                means[place] = mean
                variance = variances[place]
                variances[place] = variance + ((value - before) * (value - mean) - variance) / count
        dot = 0.0
        for at in many:
            place = places[at]
            variance = variances[place]
            standard = (values[at] - means[place]) / pow(variance, 0.5) if variance else 0.0
            values[at] = standard
            dot += weights[place] * standard
        steep = min(max(_slope(dot + self.intercept, label) * weight, -STEEPEST), STEEPEST)
        self.intercept -= self._rate / pow(float(self.steps + 1), 0.5) * steep
        rate, l2 = self._rate, self._l2
        for at in many:
            place = places[at]
            gradient = values[at] * steep
            if l2:
                gradient += weights[place] * l2
            square = squares[place] + pow(gradient, 2.0)
            squares[place] = square
            weights[place] -= rate / pow(square + EPSILON, 0.5) * gradient
        self.steps += 1

    def logit(self, features: dict[str, float], flattest: float) -> float:
        """Log-odds of an example's features, each variance counting as at least `flattest`; changes nothing."""
        found = self.intercept
        for name, value in features.items():
            place = self._places.get(name, -1)
            if place >= 0 and self.variances[place] > 0:
                spread = sqrt(max(self.variances[place], flattest))
                found += (value - self.means[place]) * self.weights[place] / spread
        return found


def _slope(logit: float, label: bool) -> float:
    """The gradient of the log loss by the log-odds."""
    sign = 1.0 if label else -1.0
    margin = logit * sign
    if margin > CERTAIN:
        return exp(-margin) * -sign
    if margin < -CERTAIN:
        return -sign
    return -sign / (exp(margin) + 1.0)
