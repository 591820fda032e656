"""A challenger of another family: Gaussian naive Bayes, which knows each feature's spread but no interplay."""

from __future__ import annotations

from collections.abc import Callable
from math import log
from typing import Any

import numpy as np
from river import naive_bayes, proba

from detectors.contract import Example, Matrix
from detectors.models.version import QUANTITIES, LinearTerms, aligned

FAMILY = "gaussian_naive_bayes"
NARROWEST = 0.01
"""Added to every variance, so that a feature seen constant in one class cannot decide alone."""
LOUDEST = 3.0
"""A single feature's contribution in log-odds is kept within this, because features are far from independent."""


class Bayes:
    """River's `GaussianNB`; log-odds = prior log-odds + sum of per-feature log-likelihood ratios.

    Positives are counted without class weight: a generative model needs none.
    """

    family = FAMILY
    reads = QUANTITIES

    def __init__(self) -> None:
        make: Callable[[], Any] = naive_bayes.GaussianNB  # River annotates only part of its classes
        self.model = make()

    def class_weight(self, _asked: float) -> float:
        """What a positive weighs against a negative in what this model learns: the same."""
        return 1.0

    def score_one(self, features: dict[str, float], _example: Example) -> float:
        """Log-odds of an example's features, as a version made now would give them."""
        logit = _prior(self.model.class_counts.get(True, 0), self.model.class_counts.get(False, 0))
        negatives, positives = (self.model.gaussians.get(label, {}) for label in (False, True))
        for name, value in features.items():
            if name not in negatives or name not in positives:
                continue
            (mean0, var0, count0), (mean1, var1, count1) = (_moments(by[name]) for by in (negatives, positives))
            if min(count0, count1) >= 2:
                ratio = 0.5 * log(var0 / var1) + (value - mean0) ** 2 / (2 * var0) - (value - mean1) ** 2 / (2 * var1)
                logit += max(-LOUDEST, min(LOUDEST, ratio))
        return logit

    def learn_one(self, features: dict[str, float], example: Example) -> None:
        """Learn one example; with a negative weight, take one back exactly."""
        label = example.label
        if example.weight >= 0:
            self.model.learn_one(features, label)
            return
        if self.model.class_counts[label] <= 1:
            return
        self.model.class_counts[label] -= 1
        for name, value in features.items():
            gaussian = self.model.gaussians[label][name]
            if gaussian.n_samples > 1:
                gaussian.revert(value)

    def dump(self) -> dict[str, Any]:
        """Class counts and each class's feature moments (count, mean, summed squared deviations) as plain data."""
        state: dict[str, Any] = {}
        names = sorted({name for gaussians in self.model.gaussians.values() for name in gaussians})
        state["features"] = names
        for label, key in ((False, "negative"), (True, "positive")):
            gaussians = [self.model.gaussians[label][name] for name in names]
            state[f"{key}_count"] = self.model.class_counts[label]
            state[f"{key}_counts"] = [gaussian.n_samples for gaussian in gaussians]
            state[f"{key}_means"] = [gaussian.mu for gaussian in gaussians]
            state[f"{key}_squares"] = [gaussian._var._S for gaussian in gaussians]  # noqa: SLF001 - a variance would lose bits
        return state

    def load(self, state: dict[str, Any]) -> None:
        """Become the model that was dumped."""
        from_moments: Callable[..., Any] = proba.Gaussian._from_state  # noqa: SLF001 - River's own constructor from moments
        for label, key in ((False, "negative"), (True, "positive")):
            if state[f"{key}_count"]:
                self.model.class_counts[label] = state[f"{key}_count"]
            moments = (state[f"{key}_counts"], state[f"{key}_means"], state[f"{key}_squares"])
            for name, n, mean, squares in zip(state["features"], *moments, strict=True):
                gaussian = from_moments(n, mean, 0.0, ddof=1)
                gaussian._var._S = squares  # noqa: SLF001 - as dumped
                self.model.gaussians[label][name] = gaussian

    @staticmethod
    def terms(state: dict[str, Any], names: tuple[str, ...]) -> LinearTerms:
        """Per-feature log-likelihood ratios of a dumped model over all declared features."""
        moments = {}
        for key in ("negative", "positive"):
            counts = aligned(names, state, f"{key}_counts", 0.0)[:, None]
            # below zero where something was taken back that was learnt before this model joined
            squares = np.maximum(aligned(names, state, f"{key}_squares", 0.0)[:, None], 0.0)
            variances = squares / np.maximum(counts - 1, 1)
            moments[key] = aligned(names, state, f"{key}_means", 0.0)[:, None], variances + NARROWEST, counts
        (mean0, var0, count0), (mean1, var1, count1) = moments["negative"], moments["positive"]
        known = np.minimum(count0, count1) >= 2
        shift = 0.5 * np.log(var0 / var1)

        def contributions(columns: Matrix) -> Matrix:
            ratio = shift + (columns - mean0) ** 2 / (2 * var0) - (columns - mean1) ** 2 / (2 * var1)
            bounded: Matrix = np.where(known, np.clip(ratio, -LOUDEST, LOUDEST), 0.0)
            return bounded

        return LinearTerms(_prior(state["positive_count"], state["negative_count"]), contributions)


def _prior(positives: float, negatives: float) -> float:
    return log(max(positives, 1) / max(negatives, 1))


def _moments(gaussian: Any) -> tuple[float, float, float]:
    """Mean, variance and count of one feature in one class, as `Bayes.terms` takes them."""
    count = gaussian.n_samples
    squares = max(gaussian._var._S, 0.0)  # noqa: SLF001 - as dumped
    return gaussian.mu, squares / max(count - 1, 1) + NARROWEST, count
