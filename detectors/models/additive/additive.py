"""An additive model: log-odds as a sum of functions of features (Hastie and Tibshirani, 1986), learnt by rehearsal.

The functions bend at knots (`knots`). Their values at the knots are learnt by logistic regression with AdaGrad. Labels
are rare, so a learning step uses a batch instead of one example: the `BATCH` latest examples, and earlier positives and
negatives in equal number (`rehearsal`). The functions therefore overestimate the base rate. A calibration, updated with
every example before the functions learn it, maps the scores to log-odds at the true base rate.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np

from detectors.base.elementwise import logistic, ordered_sum
from detectors.base.points import Example
from detectors.base.vectors import Matrix, Row
from detectors.features.catalogue import NUMBERS
from detectors.features.selection import QUANTITIES
from detectors.models.additive.calibration import Calibration
from detectors.models.additive.knots import ABSENT, SLOTS, STEPS, Places, Scale, checked, shape_of
from detectors.models.additive.rehearsal import PAIRS, Rehearsal, Rows, read, row_of
from detectors.models.version import LinearTerms

FAMILY = "additive_splines"
BATCH = 8
"""Latest examples per batch."""
RATE = 0.1
"""Step size of AdaGrad (Duchi et al., JMLR 2011)."""
BEGUN = 0.1
"""Initial value of every sum of squared gradients, so that the first steps are no larger than later ones."""
SMOOTH = 0.1
"""L2 penalty of the differences between neighbouring knots (P-splines: Eilers and Marx, Statistical Science 11, 1996).

Where there is no data, a function keeps its value at the neighbouring knot.
"""
SHRINK = 0.001
"""L2 penalty of the values at the knots."""
MEMORY = 1_000
"""Scoring uses the mean of the functions over this many batches (Polyak and Juditsky, 1992)."""
SURE = 30.0
"""Scores are clipped to this magnitude; beyond it they are practically certain."""

_PLACE = np.arange(256)
_BEFORE = np.where(_PLACE == ABSENT, 0, _PLACE // STEPS)
_BEYOND = np.where(_PLACE == ABSENT, 0.0, _PLACE % STEPS / STEPS)
_SHORT = np.where(_PLACE == ABSENT, 0.0, 1.0 - _BEYOND)
"""For each place: the knot before it (`_BEFORE`), and the weights of that knot (`_SHORT`) and of the next (`_BEYOND`).

An absent value has weight 0 for both.
"""


class Additive:
    """Log-odds = intercept + slope * (bias + sum of functions of the features); an absent feature adds nothing.

    Positives need no class weight: rehearsal balances them.

    A positive that is undone is no longer rehearsed, and the calibration learns the opposite. Its effect on the
    functions stays, and fades with further learning; the same is true of an erased user's examples.
    """

    family = FAMILY
    reads = QUANTITIES

    def __init__(self) -> None:
        self._scale = Scale(NUMBERS)
        self._column = np.empty((len(NUMBERS), 1))
        self._starts = np.arange(len(NUMBERS)) * SLOTS
        self._used = np.arange(SLOTS) < self._scale.sizes[:, None]
        self._joined = self._used[:, 1:].astype(np.float64)
        self._rehearsal = Rehearsal()
        self._calibration = Calibration()
        self._levels, self._mean = np.zeros(self._used.shape), np.zeros(self._used.shape)
        self._squares = np.full(self._used.shape, BEGUN)
        self._bias, self._mean_bias, self._bias_squares = 0.0, 0.0, BEGUN
        self._batches = 0

    def class_weight(self, _asked: float) -> float:
        """Return 1.0: a positive weighs the same as a negative in learning."""
        return 1.0

    def score_one(self, row: Row, _example: Example) -> float:
        """Return the log-odds of an example's features as a version made now would."""
        parts = self._scale.parts(self._read(row), self._mean)
        return self._calibration(self._mean_bias + float(ordered_sum(np.where(np.isnan(parts), 0.0, parts))[0]))

    def learn_one(self, row: Row, example: Example) -> None:
        """Queue one example, and learn the batch once it is complete.

        An example with a negative weight undoes an earlier one.
        """
        fresh = row_of(example.user_id, example.label, example.weight, self._scale.places(self._read(row)))
        if example.weight < 0:
            if self._rehearsal.take_back(fresh):
                self._calibrate([fresh], -1.0)
            return
        self._rehearsal.waiting.append(fresh)
        if len(self._rehearsal.waiting) >= BATCH:
            self._calibrate(self._rehearsal.waiting, 1.0)
            learnt = self._rehearsal.keep()
            if again := self._rehearsal.pairs():
                self._step(read(learnt + again))

    def _read(self, row: Row) -> Matrix:
        self._column[:, 0] = row[: len(NUMBERS)]
        return self._column

    def _calibrate(self, rows: list[bytes], sign: float) -> None:
        """Update the calibration with the rows' scores and labels; `sign` -1 undoes that."""
        labels, weights, places = read(rows)
        scores = self._mean_bias + self._sums(places, self._mean)
        for score, label, weight in zip(scores.tolist(), labels.tolist(), weights.tolist(), strict=True):
            self._calibration.learn(score, label, sign * weight)

    def _sums(self, places: Places, levels: Matrix) -> Matrix:
        """Return the sum over the features of the functions with values `levels`, for each row of places."""
        flat, before = levels.ravel(), _BEFORE[places] + self._starts
        return ordered_sum((flat[before] * _SHORT[places] + flat[before + 1] * _BEYOND[places]).T)

    def _step(self, rows: Rows) -> None:
        """Take one gradient step on the loss of these rows and the penalties, and update the mean functions."""
        scores = np.clip(self._bias + self._sums(rows.places, self._levels), -SURE, SURE)
        miss = (logistic(scores) - rows.labels) * rows.weights / PAIRS
        before = _BEFORE[rows.places] + self._starts
        under = [(before, _SHORT[rows.places]), (before + 1, _BEYOND[rows.places])]
        gradients = sum(
            np.bincount(knots.ravel(), (miss[:, None] * tents).ravel(), self._levels.size) for knots, tents in under
        )
        down = np.reshape(gradients, self._levels.shape) + SHRINK * self._levels
        rises = SMOOTH * self._joined * (self._levels[:, 1:] - self._levels[:, :-1])
        down[:, 1:] += rises
        down[:, :-1] -= rises
        self._squares += down * down
        self._levels -= RATE * down / np.sqrt(self._squares)
        lift = float(ordered_sum(miss))
        self._bias_squares += lift * lift
        self._bias -= RATE * lift / sqrt(self._bias_squares)
        self._batches += 1
        share = 1.0 / min(self._batches, MEMORY)
        self._mean += share * (self._levels - self._mean)
        self._mean_bias += share * (self._bias - self._mean_bias)

    def advance(self, _now: int) -> bool:
        """Return False: scores do not depend on time."""
        return False

    def forget(self, user_id: str) -> bool:
        """Erase a user's rows from rehearsal; return False, because scores do not change."""
        self._rehearsal.forget(user_id)
        return False

    def publish(self) -> dict[str, Any]:
        """Return the scoring state: each function's values at its knots, the bias, and the calibration."""
        return {
            "features": list(NUMBERS),
            "knots": [shape_of(name) for name in NUMBERS],
            "levels": self._listed(self._mean),
            "bias": self._mean_bias,
            "slope": self._calibration.slope,
            "intercept": self._calibration.intercept,
        }

    def dump(self) -> dict[str, Any]:
        """Return the scoring state, the optimiser's state and the rehearsal rows, as plain data."""
        return {
            **self.publish(),
            "calibration": self._calibration.dump(),
            "latest": self._listed(self._levels),
            "squares": self._listed(self._squares),
            "biases": [self._bias, self._bias_squares],
            "batches": self._batches,
            "rehearsal": self._rehearsal.dump(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Replace the model's state with a dumped one.

        Raises:
            ValueError: if a feature had other knots.
        """
        checked(state)
        self._mean = _levels(state, "levels", NUMBERS, 0.0)
        self._levels = _levels(state, "latest", NUMBERS, 0.0)
        self._squares = _levels(state, "squares", NUMBERS, BEGUN)
        self._mean_bias, (self._bias, self._bias_squares) = state["bias"], state["biases"]
        self._batches = state["batches"]
        self._calibration.load(state["calibration"])
        self._rehearsal.load(state["rehearsal"], state["features"], NUMBERS)

    def _listed(self, levels: Matrix) -> list[list[float]]:
        return [row[:size] for row, size in zip(levels.tolist(), self._scale.sizes.tolist(), strict=True)]

    @staticmethod
    def terms(state: dict[str, Any], names: tuple[str, ...]) -> LinearTerms:
        """Return the scoring terms of a published model on the features `names`.

        Raises:
            ValueError: if a feature had other knots.
        """
        checked(state)
        scale, levels = Scale(names), state["slope"] * _levels(state, "levels", names, 0.0)

        def contributions(columns: Matrix) -> Matrix:
            return scale.parts(columns, levels)

        return LinearTerms(state["intercept"] + state["slope"] * state["bias"], contributions)


def _levels(state: dict[str, Any], key: str, names: tuple[str, ...], missing: float) -> Matrix:
    """Return a dumped model's values at the knots, shape (names, SLOTS); `missing` where it has none."""
    levels = np.full((len(names), SLOTS), missing)
    known = dict(zip(state["features"], state[key], strict=True))
    for row, name in enumerate(names):
        levels[row, : len(known.get(name, ()))] = known.get(name, ())
    return levels
