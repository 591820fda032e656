"""Look-alikes: how much closer a point is to users who escalated than to ordinary ones, by exact nearest neighbours.

When a user escalates, the latest of their points becomes an exemplar at once. An ordinary exemplar is a point whose
whole horizon has passed without its user escalating. Until then the point waits, so that no label is used before it is
known. The waiting points are a sample by hash, of bounded size for each part of a horizon. Exemplars are removed when
they are too old, when the escalation is overturned, and when their user is erased.
"""

from __future__ import annotations

from math import isnan, nan
from typing import Any, NamedTuple

import numpy as np

from detectors.base.points import Example
from detectors.base.vectors import Matrix, Row
from detectors.features.catalogue import NUMBERS
from detectors.features.selection import QUANTITIES
from detectors.features.signals import key_of
from detectors.models.adagrad import AdaGradSlope
from detectors.models.lookalike.contrast import Contrast
from detectors.models.lookalike.exemplars import Exemplar, Pool, dumped, loaded, packed
from detectors.models.lookalike.moments import Moments
from detectors.models.lookalike.neighbours import Metric, Neighbours
from detectors.models.version import aligned
from detectors.policy.sections import LearningPolicy

FAMILY = "lookalike"
PARTS = 4
"""Parts of a horizon from each of which ordinary points are sampled."""
HORIZONS = 4
"""Horizons that a full pool of ordinary exemplars covers."""


class _Waiting(NamedTuple):
    """A candidate for an ordinary exemplar, and the part of time it was sampled from."""

    part: int
    exemplar: Exemplar


class Lookalike:
    """Two pools of exemplars; log-odds = intercept + slope * contrast, both learnt from the same examples.

    The calibration uses an example before it may join a pool, and compares it with exemplars of other users that were
    known before its point. A positive has the policy's class weight.
    """

    family = FAMILY
    reads = QUANTITIES

    def __init__(self, learning: LearningPolicy) -> None:
        self._k = learning.neighbours
        self._escalated = Pool(learning.exemplars, learning.exemplar_age)
        self._ordinary = Pool(learning.exemplars, learning.exemplar_age)
        self._share = max(1, learning.exemplars // (PARTS * HORIZONS))
        self._waiting: list[_Waiting] = []
        self._now = -1
        self._moments = Moments()
        self._metric = self._moments.metric()
        self._neighbours: Neighbours | None = None
        self._regression = AdaGradSlope(learning.learning_rate)
        self._positive_weight = learning.positive_weight

    def class_weight(self, asked: float) -> float:
        """Return the policy's weight of a positive relative to a negative."""
        return asked

    def score_one(self, row: Row, example: Example) -> float:
        """Return an example's log-odds, from exemplars known before its point.

        NaN where a pool has too few exemplars, or none that may be compared.
        """
        contrast = self._contrast(_numbers(row), key_of(example.user_id), example)
        return self._regression.logit(contrast)

    def learn_one(self, row: Row, example: Example) -> None:
        """Learn one example; a negative weight undoes one and removes its exemplar."""
        numbers = _numbers(row)
        user, origin = key_of(example.user_id), example.origin
        self._calibrate(numbers, user, example)
        # moments are without class weight, which belongs to the calibration only
        self._moments.see(numbers, example.weight / (self._positive_weight if example.label else 1.0), example.label)
        if example.weight < 0:
            if example.label:
                self._changed(self._escalated.drop(user, packed(numbers)))
            return
        if origin is None:
            return
        if example.label:
            self.forget(example.user_id)
            self._escalated.add(Exemplar(origin.key, user, example.known_at, packed(numbers)))
            self._changed(True)
        else:
            part = self._now * PARTS // max(1, origin.over_at - origin.as_of)
            self._offer(_Waiting(part, Exemplar(origin.key, user, origin.over_at, packed(numbers))))

    def advance(self, now: int) -> bool:
        """Advance to event time `now` (ms); return whether a pool changed.

        Candidates whose horizon has passed become ordinary exemplars, and exemplars that are too old are dropped.
        """
        self._now = now
        ripe = [waiting.exemplar for waiting in self._waiting if waiting.exemplar.known_at <= now]
        self._waiting = [waiting for waiting in self._waiting if waiting.exemplar.known_at > now]
        for exemplar in sorted(ripe, key=lambda exemplar: (exemplar.known_at, exemplar.key)):
            self._ordinary.add(exemplar)
        expired = self._escalated.expire(now) | self._ordinary.expire(now)
        return self._changed(bool(ripe) or expired)

    def forget(self, user_id: str) -> bool:
        """Erase a user's exemplars and candidates; return whether there were any."""
        user, before = key_of(user_id), len(self._waiting)
        self._waiting = [waiting for waiting in self._waiting if waiting.exemplar.user != user]
        waited = len(self._waiting) < before
        return self._changed(self._escalated.drop(user) | self._ordinary.drop(user)) or waited

    def _changed(self, is_so: bool) -> bool:
        """Recompute the metric and discard the neighbour index if a pool has changed; return `is_so`."""
        if is_so:
            self._metric, self._neighbours = self._moments.metric(), None
        return is_so

    def _offer(self, offered: _Waiting) -> None:
        """Keep a candidate if its hash is among the lowest of its part, and the lowest of its user in that part."""
        user, key = offered.exemplar.user, offered.exemplar.key
        rivals = [each for each in self._waiting if each.part == offered.part]
        worse = [each for each in rivals if each.exemplar.user == user]
        if not worse and len(rivals) >= self._share:
            worse = [max(rivals, key=lambda each: each.exemplar.key)]
        if worse and worse[0].exemplar.key <= key:
            return
        self._waiting = [each for each in self._waiting if each not in worse]
        self._waiting.append(offered)
        if len(self._waiting) > self._share * (PARTS + 2):  # more than correct clocks cause: drop the furthest ahead
            self._waiting.remove(max(self._waiting, key=lambda each: each.exemplar.known_at))

    def _contrast(self, numbers: Matrix, user: int, example: Example) -> float:
        """Return the contrast from exemplars known before the example's point; NaN where there are too few."""
        if self._neighbours is None:
            escalated, ordinary = self._escalated.exemplars, self._ordinary.exemplars
            self._neighbours = Neighbours(escalated, ordinary, self._metric, self._k)
        if not self._neighbours.enough:
            return nan
        before = example.known_at if example.origin is None else example.origin.as_of
        users = np.array([user], dtype=np.int64)
        return float(self._neighbours.contrasts(numbers[:, None], users, before)[0])

    def _calibrate(self, numbers: Matrix, user: int, example: Example) -> None:
        """Update the calibrator with the example's contrast."""
        value = self._contrast(numbers, user, example)
        if not isnan(value):
            self._regression.learn(value, example.label, example.weight)

    def dump(self) -> dict[str, Any]:
        """Return feature moments, metric, calibration, both pools and the candidates, as plain data."""
        regression = self._regression
        return {
            "features": list(NUMBERS),
            **self._moments.dump(),
            "variances": self._metric.variances.tolist(),
            "weights": self._metric.weights.tolist(),
            "neighbours": self._k,
            "slope": regression.slope,
            "gradient": regression.square,
            "intercept": regression.intercept,
            "steps": regression.steps,
            "now": self._now,
            "escalated": dumped(self._escalated.exemplars),
            "ordinary": dumped(self._ordinary.exemplars),
            "waiting": dumped([waiting.exemplar for waiting in self._waiting]),
            "parts": [waiting.part for waiting in self._waiting],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Replace the model's state with a dumped one."""
        known = state["features"]
        self._moments.load(state)
        self._metric = Metric(aligned(NUMBERS, state, "variances", 0.0), aligned(NUMBERS, state, "weights", 0.0))
        regression = self._regression
        regression.slope, regression.square = float(state["slope"]), float(state["gradient"])
        regression.intercept, regression.steps = float(state["intercept"]), state["steps"]
        self._now = state["now"]
        for pool, key in ((self._escalated, "escalated"), (self._ordinary, "ordinary")):
            for exemplar in loaded(state[key], known, NUMBERS):
                pool.add(exemplar)
        waiting = loaded(state["waiting"], known, NUMBERS)
        self._waiting = [_Waiting(part, exemplar) for part, exemplar in zip(state["parts"], waiting, strict=True)]
        self._neighbours = None

    @staticmethod
    def terms(state: dict[str, Any], names: tuple[str, ...]) -> Contrast:
        """Return a dumped model's scoring terms on the features `names`."""
        return Contrast(state, names)


def _numbers(row: Row) -> Matrix:
    return np.array(row[: len(NUMBERS)])
