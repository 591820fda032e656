"""The champion: standard scaling and logistic regression with AdaGrad and class weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from detectors.base.points import Example
from detectors.base.vectors import Matrix, Row
from detectors.features.catalogue import NAMES
from detectors.features.selection import QUANTITIES
from detectors.models.adagrad import FARTHEST, AdaGradLogistic
from detectors.models.inputs import BY_NAME, PLACES
from detectors.models.version import LinearTerms, aligned

FAMILY = "logistic_regression"


class Logistic:
    """River's `StandardScaler | LogisticRegression`, with standardised features bounded in between.

    Log-odds = intercept + sum of weight * bounded standardised feature.

    AdaGrad (Duchi et al., JMLR 2011) gives every weight its own decreasing step size, so features that are nearly
    always absent keep learning when they do occur. The sums are computed on packed numbers and equal River's;
    `detectors.models.linear.export` makes River's model of them. One example moves log-odds by no more than
    `learning_rate * FARTHEST` through a feature that is new.
    """

    family = FAMILY
    reads = QUANTITIES

    def __init__(self, learning_rate: float = 0.05, l2: float = 0.0) -> None:
        self.learning_rate, self.l2 = learning_rate, l2
        self._model = AdaGradLogistic(len(NAMES), learning_rate, l2)

    def class_weight(self, asked: float) -> float:
        """Return the policy's weight of a positive relative to a negative."""
        return asked

    def score_one(self, row: Row, _example: Example) -> float:
        """Return the log-odds of an example's row as a version made now would."""
        return self._model.logit(row)

    def learn_one(self, row: Row, example: Example) -> None:
        """Learn one example; a negative weight undoes one.

        Undoing leaves the scaler as it is, because it has already counted the features.
        """
        self._model.learn(row, example.label, example.weight, example.weight >= 0)

    def dump(self) -> dict[str, Any]:
        """Return scaler moments, weights, summed squared gradients, intercept and step count as plain data."""
        model = self._model
        # River has no entry for a feature that occurred only in undone examples
        places = [place for place in BY_NAME if model.counts[place]]
        return {
            "features": [NAMES[place] for place in places],
            "counts": [int(model.counts[place]) for place in places],
            "means": [model.means[place] for place in places],
            "variances": [model.variances[place] for place in places],
            "weights": [model.weights[place] for place in places],
            "gradients": [model.squares[place] for place in places],
            "intercept": model.intercept,
            "steps": model.steps,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Replace the model's state with a dumped one; features that are no longer declared are left out."""
        model = self._model = AdaGradLogistic(len(NAMES), self.learning_rate, self.l2)
        kept = (model.counts, model.means, model.variances, model.weights, model.squares)
        for numbers, key in zip(kept, ("counts", "means", "variances", "weights", "gradients"), strict=True):
            for name, number in zip(state["features"], state[key], strict=True):
                if (place := PLACES.get(name)) is not None:
                    numbers[place] = float(number)
        model.intercept, model.steps = float(state["intercept"]), state["steps"]

    @staticmethod
    def terms(state: dict[str, Any], names: tuple[str, ...]) -> LinearTerms:
        """Return a dumped model's scoring terms: log-odds contributions of the features `names`."""
        means = aligned(names, state, "means", 0.0)[:, None]
        variances = aligned(names, state, "variances", 0.0)[:, None]
        weights = aligned(names, state, "weights", 0.0)[:, None]
        varies = variances > 0
        deviations, weights = np.sqrt(np.where(varies, variances, 1.0)), np.where(varies, weights, 0.0)

        def contributions(columns: Matrix) -> Matrix:
            parts: Matrix = np.minimum(np.maximum((columns - means) / deviations, -FARTHEST), FARTHEST) * weights
            return parts

        return LinearTerms(intercept=float(state["intercept"]), parts=contributions)
