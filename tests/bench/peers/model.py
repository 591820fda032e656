"""The model, as River has it: a pipeline that scores and learns one example at a time, in process."""

from __future__ import annotations

from copy import deepcopy
from math import log1p
from typing import Any

from river import base, compose, linear_model, optim, preprocessing

LEARNING_RATE, STEEPEST = 0.05, 20.0
SAMPLE, POSITIVE_WEIGHT, MIN_EXAMPLES = 0.1, 5.0, 10
MOST_REASONS = 4
FARTHEST = 4.0
"""Standardised features are bounded to so many deviations."""

Features = dict[str, float]


def squash(x: Features) -> Features:
    """What the model reads of features, none of which is negative."""
    return {name: log1p(value) for name, value in x.items()}


class Bounded(base.Transformer):
    """Keeps standardised features within the bound."""

    def transform_one(self, x: dict[Any, float]) -> dict[Any, float]:
        return {name: max(-FARTHEST, min(FARTHEST, value)) for name, value in x.items()}


class Model:
    """`StandardScaler | Bounded | LogisticRegression`, with sampling and class weight undone in what it answers."""

    def __init__(self) -> None:
        self.scaler: Any = preprocessing.StandardScaler()
        self.regression = linear_model.LogisticRegression(
            optimizer=optim.AdaGrad(LEARNING_RATE),
            l2=0.0,
            intercept_lr=optim.schedulers.InverseScaling(LEARNING_RATE, power=0.5),
            clip_gradient=STEEPEST,
        )
        self.bounded = Bounded()
        self.pipeline = compose.Pipeline(self.scaler, self.bounded, self.regression)
        self.examples = self.positives = 0

    def probability(self, z: Features) -> float | None:
        """The probability; None before enough of both kinds were learnt."""
        if self.positives < MIN_EXAMPLES or self.examples - self.positives < MIN_EXAMPLES:
            return None
        p = self.pipeline.predict_proba_one(z)[True]
        return min(p / (1.0 - p) * SAMPLE / POSITIVE_WEIGHT, 1.0) if p < 1.0 else 1.0

    def learn(self, z: Features, *, label: bool, weight: float = 1.0) -> None:
        """Learn one example."""
        self.pipeline.learn_one(z, label, w=weight * POSITIVE_WEIGHT if label else weight)
        self.examples += 1
        self.positives += label

    def take_back(self, z: Features, weight: float) -> None:
        """Take back a positive: its features have been seen, so the scaler is left alone."""
        if self.positives > 0:
            self.regression.learn_one(self.standardised(z), True, w=-weight * POSITIVE_WEIGHT)
            self.examples -= 1
            self.positives -= 1

    def standardised(self, z: Features) -> Features:
        """What the regression is given."""
        scaled: Features = self.bounded.transform_one(self.scaler.transform_one(z))
        return scaled

    def copy(self) -> Model:
        """The model as it is now, to be kept."""
        return deepcopy(self)

    def reasons(self, x: Features, z: Features) -> list[dict[str, Any]]:
        """The features that moved a score most, with their counters."""
        weights = self.regression.weights
        parts = {name: weights.get(name, 0.0) * value for name, value in self.standardised(z).items()}
        first = sorted(parts, key=lambda name: (-abs(parts[name]), name))[:MOST_REASONS]
        return [
            {"detector": "logistic", "feature": name, "value": x[name], "contribution": parts[name]}
            for name in first
            if parts[name]
        ]
