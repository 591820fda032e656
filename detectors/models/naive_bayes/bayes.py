"""A challenger of another family: Gaussian naive Bayes, which models each feature's spread but no interactions."""

from __future__ import annotations

from typing import Any

import numpy as np

from detectors.base import elementwise
from detectors.base.elementary import log
from detectors.base.points import Example
from detectors.base.vectors import Matrix, Row
from detectors.features.catalogue import NAMES
from detectors.features.selection import QUANTITIES
from detectors.models.inputs import BY_NAME, PLACES
from detectors.models.naive_bayes.gaussians import LOUDEST, NARROWEST, Gaussians, log_odds, say
from detectors.models.version import LinearTerms, aligned

FAMILY = "gaussian_naive_bayes"
MOMENTS = ("counts", "means", "squares", "fourths")
KEYS = {False: "negative", True: "positive"}
"""The name of a class in a dump, by label."""


class Bayes:
    """River's `GaussianNB`; log-odds = prior log-odds + sum of per-feature log-likelihood ratios.

    A feature's ratio has more weight the more examples differ in it. Examples count as often as their weight; positives
    have no class weight, because a generative model needs none. The moments are stored as packed numbers and equal
    River's; `detectors.models.naive_bayes.export` makes River's model of them.
    """

    family = FAMILY
    reads = QUANTITIES

    def __init__(self) -> None:
        self._counts = {False: 0.0, True: 0.0}
        self._classes = {label: Gaussians(len(NAMES)) for label in self._counts}

    def class_weight(self, _asked: float) -> float:
        """Return 1.0: a positive weighs the same as a negative in learning."""
        return 1.0

    def score_one(self, row: Row, _example: Example) -> float:
        """Return the log-odds of an example's row as a version made now would."""
        prior = _prior(self._counts[True], self._counts[False])
        return log_odds(row, self._classes[False], self._classes[True], prior)

    def learn_one(self, row: Row, example: Example) -> None:
        """Count one example with its weight; a negative weight undoes that exactly."""
        label, weight = example.label, example.weight
        self._counts[label] = max(self._counts[label] + weight, 0.0)
        if weight > 0:
            self._classes[label].learn(row, weight)
        elif weight < 0:
            self._classes[label].take_back(row, -weight)

    def dump(self) -> dict[str, Any]:
        """Return class counts, and each class's moments of every feature, as plain data."""
        places = [place for place in BY_NAME if any(one.met[place] for one in self._classes.values())]
        state: dict[str, Any] = {"features": [NAMES[place] for place in places]}
        for label, key in KEYS.items():
            one = self._classes[label]
            state[f"{key}_count"] = self._counts[label]
            state[f"{key}_counts"] = [one.counts[place] for place in places]
            state[f"{key}_means"] = [one.means[place] for place in places]
            state[f"{key}_squares"] = [one.squares[place] for place in places]
            state[f"{key}_fourths"] = [one.fourths[place] for place in places]
        return state

    def load(self, state: dict[str, Any]) -> None:
        """Replace the model's state with a dumped one; features that are no longer declared are left out."""
        for label, key in KEYS.items():
            self._counts[label] = float(state[f"{key}_count"])
            one = self._classes[label] = Gaussians(len(NAMES))
            kept = (one.counts, one.means, one.squares, one.fourths)
            for numbers, what in zip(kept, MOMENTS, strict=True):
                for name, number in zip(state["features"], _moment(state, key, what), strict=True):
                    if (place := PLACES.get(name)) is not None:
                        one.met[place] = True
                        numbers[place] = float(number)

    @staticmethod
    def terms(state: dict[str, Any], names: tuple[str, ...]) -> LinearTerms:
        """Return a dumped model's scoring terms: log-likelihood ratios of the features `names`."""
        moments = {}
        for key in KEYS.values():
            numbers = {what: _moment(state, key, what) for what in MOMENTS}
            known = {"features": state["features"], **numbers}
            moments[key] = [aligned(names, known, what, 0.0) for what in MOMENTS]
        speak = np.minimum(moments["negative"][0], moments["positive"][0]) >= 2
        # one feature at a time, as in `log_odds`
        pairs = zip(speak.tolist(), *moments["negative"], *moments["positive"], strict=True)
        share = np.array([say(*pair) if speaks else 0.0 for speaks, *pair in pairs])[:, None]
        (mean0, var0), (mean1, var1) = (_spread(*one) for one in moments.values())
        shift = 0.5 * elementwise.log(var0 / var1)

        def contributions(columns: Matrix) -> Matrix:
            miss0, miss1 = columns - mean0, columns - mean1
            ratio = shift + miss0 * miss0 / (2.0 * var0) - miss1 * miss1 / (2.0 * var1)
            bounded: Matrix = np.minimum(np.maximum(ratio, -LOUDEST), LOUDEST) * share
            return bounded

        return LinearTerms(_prior(state["positive_count"], state["negative_count"]), contributions)


def _moment(state: dict[str, Any], key: str, what: str) -> list[float]:
    """Return one moment of every feature in a class of a dumped model.

    Versions before 0.2 have no fourths: there every example counts as one that differs.
    """
    if (known := state.get(f"{key}_{what}")) is not None:
        return list(known)
    moments = zip(state[f"{key}_squares"], state[f"{key}_counts"], strict=True)
    return [squares * squares / count if count else 0.0 for squares, count in moments]


def _spread(counts: Matrix, means: Matrix, squares: Matrix, _fourths: Matrix) -> tuple[Matrix, Matrix]:
    """Return means and variances as columns.

    Squares may be below zero by rounding where an example was undone; they count as zero.
    """
    variances = np.maximum(squares, 0.0) / np.maximum(counts - 1.0, 1.0)
    return means[:, None], variances[:, None] + NARROWEST


def _prior(positives: float, negatives: float) -> float:
    return log(max(positives, 1) / max(negatives, 1))
