"""A challenger of another family: Gaussian naive Bayes, which knows each feature's spread but no interplay."""

from __future__ import annotations

from collections.abc import Callable
from math import log
from typing import Any

import numpy as np
from river import naive_bayes, proba

from detectors.contract import Example, Matrix, Row
from detectors.features.catalogue import NAMES
from detectors.models.gaussians import Gaussians, log_odds
from detectors.models.reading import BY_NAME, PLACES
from detectors.models.version import QUANTITIES, LinearTerms, aligned

FAMILY = "gaussian_naive_bayes"
NARROWEST = 0.01
"""Added to every variance, so that a feature seen constant in one class cannot decide alone."""
LOUDEST = 3.0
"""A single feature's contribution in log-odds is kept within this, because features are far from independent."""
KEYS = {False: "negative", True: "positive"}
"""By label, what a class is called in a dump."""


class Bayes:
    """River's `GaussianNB`; log-odds = prior log-odds + sum of per-feature log-likelihood ratios.

    Positives are counted without class weight: a generative model needs none. The moments are kept as packed numbers,
    and come out as River's; `river` gives them to River.
    """

    family = FAMILY
    reads = QUANTITIES

    def __init__(self) -> None:
        self._counts = {False: 0, True: 0}
        self._classes = {label: Gaussians(len(NAMES)) for label in self._counts}

    def class_weight(self, _asked: float) -> float:
        """What a positive weighs against a negative in what this model learns: the same."""
        return 1.0

    def score_one(self, row: Row, _example: Example) -> float:
        """Log-odds of an example's row, as a version made now would give them."""
        prior = _prior(self._counts[True], self._counts[False])
        return log_odds(row, self._classes[False], self._classes[True], prior, NARROWEST, LOUDEST)

    def learn_one(self, row: Row, example: Example) -> None:
        """Learn one example; with a negative weight, take one back exactly."""
        label = example.label
        if example.weight >= 0:
            self._counts[label] += 1
            self._classes[label].learn(row)
        elif self._counts[label] > 1:
            self._counts[label] -= 1
            self._classes[label].take_back(row)

    def dump(self) -> dict[str, Any]:
        """Class counts and each class's feature moments (count, mean, summed squared deviations) as plain data."""
        places = [place for place in BY_NAME if any(one.met[place] for one in self._classes.values())]
        state: dict[str, Any] = {"features": [NAMES[place] for place in places]}
        for label, key in KEYS.items():
            one = self._classes[label]
            state[f"{key}_count"] = self._counts[label]
            state[f"{key}_counts"] = [one.counts[place] for place in places]
            state[f"{key}_means"] = [one.means[place] for place in places]
            state[f"{key}_squares"] = [one.squares[place] for place in places]
        return state

    def load(self, state: dict[str, Any]) -> None:
        """Become the model that was dumped; a feature that is declared no more is left out."""
        for label, key in KEYS.items():
            self._counts[label] = state[f"{key}_count"]
            one = self._classes[label] = Gaussians(len(NAMES))
            moments = (state[f"{key}_counts"], state[f"{key}_means"], state[f"{key}_squares"])
            for name, count, mean, squares in zip(state["features"], *moments, strict=True):
                if (place := PLACES.get(name)) is not None:
                    one.met[place] = True
                    one.counts[place], one.means[place], one.squares[place] = float(count), float(mean), float(squares)

    def river(self) -> naive_bayes.GaussianNB:
        """River's own model with what this one knows, which would learn on just as it does."""
        make: Callable[[], naive_bayes.GaussianNB] = naive_bayes.GaussianNB  # River annotates only part of its classes
        from_moments: Callable[..., Any] = proba.Gaussian._from_state  # noqa: SLF001 - River's own constructor from moments
        model, state = make(), self.dump()
        for label, key in KEYS.items():
            if state[f"{key}_count"]:
                model.class_counts[label] = state[f"{key}_count"]
            moments = (state[f"{key}_counts"], state[f"{key}_means"], state[f"{key}_squares"])
            for name, count, mean, squares in zip(state["features"], *moments, strict=True):
                gaussian = model.gaussians[label][name] = from_moments(count, mean, 0.0, ddof=1)
                gaussian._var._S = squares  # noqa: SLF001 - a variance would lose bits
        return model

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
