"""The champion: standard scaling and logistic regression, learnt by adaptive gradient descent with class weights."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
from river import compose, linear_model, optim, preprocessing
from river.utils import VectorDict

from detectors.contract import Example, Matrix
from detectors.models.version import QUANTITIES, LinearTerms, aligned

FAMILY = "logistic_regression"
FLATTEST = 1e-6
"""A feature's variance counts as at least this when scoring: one seen all but constant must not decide alone."""
STEEPEST = 20.0
"""Gradients are clipped here: no single weighted example moves a weight further than this times the learning rate."""


class Logistic:
    """River's `StandardScaler | LogisticRegression`; log-odds = intercept + sum of weight * standardised feature.

    AdaGrad (Duchi et al., JMLR 2011) gives every weight its own falling step: features that are nearly always absent
    keep learning when they do occur.
    """

    family = FAMILY
    reads = QUANTITIES

    def __init__(self, learning_rate: float = 0.05, l2: float = 0.0) -> None:
        self.scaler: Any = preprocessing.StandardScaler()
        self.regression = linear_model.LogisticRegression(
            optimizer=optim.AdaGrad(learning_rate),
            l2=l2,
            intercept_lr=optim.schedulers.InverseScaling(learning_rate, power=0.5),
            clip_gradient=STEEPEST,
        )
        self.pipeline = compose.Pipeline(self.scaler, self.regression)

    def class_weight(self, asked: float) -> float:
        """What a positive weighs against a negative in what this model learns."""
        return asked

    def score_one(self, features: dict[str, float], _example: Example) -> float:
        """Log-odds of an example's features, as a version made now would give them."""
        means, variances, weights = self.scaler.means, self.scaler.vars, self.regression.weights
        logit = float(self.regression.intercept)
        for name, value in features.items():
            variance = variances.get(name, 0.0)
            if variance > 0:
                logit += (value - means[name]) * weights.get(name, 0.0) / sqrt(max(variance, FLATTEST))
        return logit

    def learn_one(self, features: dict[str, float], example: Example) -> None:
        """Learn one example; with a negative weight, take one back (its features have been seen already)."""
        label, weight = example.label, example.weight
        if weight < 0:
            self.regression.learn_one(self.scaler.transform_one(features), label, w=weight)
        else:
            self.pipeline.learn_one(features, label, w=weight)

    def dump(self) -> dict[str, Any]:
        """Scaler moments, weights, summed squared gradients, intercept and step count as plain data."""
        names = sorted(self.scaler.means)
        weights = self.regression.weights
        return {
            "features": names,
            "counts": [self.scaler.counts[name] for name in names],
            "means": [self.scaler.means[name] for name in names],
            "variances": [self.scaler.vars[name] for name in names],
            "weights": [weights.get(name, 0.0) for name in names],
            "gradients": [self.regression.optimizer.g2[name] for name in names],
            "intercept": self.regression.intercept,
            "steps": self.regression.optimizer.n_iterations,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Become the model that was dumped."""
        names = state["features"]
        self.scaler.counts.update(dict(zip(names, state["counts"], strict=True)))
        self.scaler.means.update(dict(zip(names, state["means"], strict=True)))
        self.scaler.vars.update(dict(zip(names, state["variances"], strict=True)))
        self.regression._weights = VectorDict(dict(zip(names, state["weights"], strict=True)))  # noqa: SLF001 - River has no public setter
        self.regression.optimizer.g2.update(dict(zip(names, state["gradients"], strict=True)))
        self.regression.intercept = state["intercept"]
        self.regression.optimizer.n_iterations = state["steps"]

    @staticmethod
    def terms(state: dict[str, Any], names: tuple[str, ...]) -> LinearTerms:
        """Per-feature log-odds contributions of a dumped model as arrays over all declared features."""
        means = aligned(names, state, "means", 0.0)[:, None]
        variances = aligned(names, state, "variances", 0.0)[:, None]
        weights = aligned(names, state, "weights", 0.0)[:, None]
        slopes = np.where(variances > 0, weights / np.sqrt(np.maximum(variances, FLATTEST)), 0.0)

        def contributions(columns: Matrix) -> Matrix:
            parts: Matrix = (columns - means) * slopes
            return parts

        return LinearTerms(intercept=float(state["intercept"]), parts=contributions)
