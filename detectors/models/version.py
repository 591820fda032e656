"""Published model versions: frozen state that scores batches and explains single points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, isnan
from typing import Any, NamedTuple, Protocol

import numpy as np
import orjson

from detectors.base.elementary import log
from detectors.base.elementwise import exp, ordered_sum
from detectors.base.points import DecisionPoint
from detectors.base.vectors import Matrix, Vector, matrix_from
from detectors.features.selection import FeatureSelection, columns_of
from detectors.models.track_record import track_of
from schemas.records.decisions import Exemplar, ModelVersion, Reason


class Terms(Protocol):
    """Scoring terms of a dumped model, on columns made by `columns_of`, shape (features, points)."""

    @property
    def ready(self) -> bool:
        """Return whether the terms contain enough to score any point."""
        ...

    def logits(self, columns: Matrix, users: Sequence[str]) -> Matrix:
        """Return the log-odds of every point; NaN where a point cannot be scored.

        A point's log-odds are bitwise independent of the other points in the batch.
        """
        ...

    def contributions(self, column: Matrix, user: str | None) -> Matrix:
        """Return each feature's contribution to a single point's log-odds; NaN or 0 where it has none."""
        ...

    def start(self, column: Matrix, user: str | None) -> float:
        """Return the log-odds to which the contributions of a single point are added; NaN if it has no score."""
        ...

    def exemplars(self, column: Matrix, user: str | None, most: int) -> tuple[Exemplar, ...]:
        """Return at most `most` escalated exemplars, nearest first; empty if the model stores none."""
        ...


class LinearTerms(NamedTuple):
    """A score as a sum: an intercept and the contribution of every feature, in log-odds.

    `parts` maps the columns a family reads, shape (features, points), to contributions of the same shape; NaN or zero
    where the feature is absent.
    """

    intercept: float
    parts: Callable[[Matrix], Matrix]

    @property
    def ready(self) -> bool:
        """Return True: a sum is always defined."""
        return True

    def logits(self, columns: Matrix, users: Sequence[str]) -> Matrix:  # noqa: ARG002 - a sum is the same for any user
        """Return the intercept plus the contributions, added feature by feature.

        A point's bits must not depend on the number of points in the batch. Neither a matrix product nor numpy's own
        sum guarantees that.
        """
        parts = self.parts(columns)
        present = np.where(np.isnan(parts), 0.0, parts)
        return ordered_sum(present) + self.intercept

    def contributions(self, column: Matrix, user: str | None) -> Matrix:  # noqa: ARG002 - the same for any user
        """Return each feature's contribution; NaN where the feature is absent."""
        parts: Matrix = self.parts(column)[:, 0]
        return parts

    def start(self, column: Matrix, user: str | None) -> float:  # noqa: ARG002 - the same for any point
        """Return the intercept."""
        return self.intercept

    def exemplars(self, column: Matrix, user: str | None, most: int) -> tuple[Exemplar, ...]:  # noqa: ARG002
        """Return no exemplars: a sum stores none."""
        return ()


class Family(NamedTuple):
    """A model family: the features its versions read, and the function from a dumped state to scoring terms."""

    reads: FeatureSelection
    terms: Callable[[dict[str, Any], tuple[str, ...]], Terms]


def aligned(names: tuple[str, ...], state: dict[str, Any], key: str, missing: float) -> Matrix:
    """Return a dumped model's numbers under `key` in the order of `names`; `missing` for features it never saw."""
    known = dict(zip(state["features"], state[key], strict=True))
    return np.array([known.get(name, missing) for name in names], dtype=np.float64)


class Decomposition(NamedTuple):
    """A point's score as a sum: log-odds = `start` + all `contributions`, by feature; 0 where a feature has none.

    The log-odds are those of the model's weighted examples. `FrozenModel.probability_of` corrects for the weights.
    """

    log_odds: float
    start: float
    contributions: dict[str, float]


class FrozenModel:
    """A published version, loaded for scoring.

    `ready` is whether it has learnt enough positives and negatives to score. `track` is its track record, None if it
    has none.
    """

    __slots__ = ("_correction", "_reads", "_terms", "learned_until", "name", "ready", "track", "version")

    def __init__(self, record: ModelVersion, family: Family) -> None:
        document = orjson.loads(record.state)
        self.name = record.name
        self.version = record.version
        self.learned_until = record.learned_until
        self.track = track_of(document["track"]) if "track" in document else None
        self._reads = FeatureSelection(document["reads"]) if "reads" in document else family.reads
        self._correction: float = document["sample"] / document["positive_weight"]
        self._terms = family.terms(document["model"], self._reads.names)
        seen = min(record.positives, record.examples - record.positives)
        self.ready: bool = seen >= document["min_positives"] and self._terms.ready

    def probabilities(self, matrix: Matrix, users: Sequence[str] = ()) -> Matrix:
        """Return calibrated probabilities, one per row of raw features; NaN where the model is not ready.

        `users` are the rows' users, if known, so that no user is compared with their own exemplars.
        """
        return self.score(columns_of(matrix), users)

    def score(self, columns: Matrix, users: Sequence[str] = ()) -> Matrix:
        """Return the probabilities of columns already made by `columns_of`, which several models can share."""
        if not self.ready:
            return np.full(columns.shape[1], np.nan)
        return self._probabilities(self._terms.logits(self._reads.of(columns), users))

    def _probabilities(self, logits: Matrix) -> Matrix:
        odds = exp(np.minimum(np.maximum(logits, -50.0), 50.0))
        probabilities: Matrix = np.minimum(odds * self._correction, 1.0)
        return probabilities

    def probability_of(self, log_odds: float) -> float:
        """Return the probability that is served for these log-odds: the odds, corrected for sample and class weight."""
        return float(self._probabilities(np.array([log_odds]))[0])

    def log_odds_of(self, probability: float) -> float:
        """Return the lowest log-odds for which this probability is served; the inverse of `probability_of`."""
        return log(probability / self._correction) if probability > 0.0 else -inf

    def decompose(self, vector: Vector, user: str | None) -> Decomposition | None:
        """Return a point's log-odds with the contributions of all features the model reads; None without a score."""
        if not self.ready:
            return None
        column = self._reads.of(columns_of(matrix_from([vector])))
        log_odds = float(self._terms.logits(column, () if user is None else (user,))[0])
        if isnan(log_odds):
            return None
        parts = np.nan_to_num(self._terms.contributions(column, user)).tolist()
        contributions = dict(zip(self._reads.names, parts, strict=True))
        return Decomposition(log_odds, self._terms.start(column, user), contributions)

    def explain(self, point: DecisionPoint, most: int, column: Matrix | None = None) -> tuple[Reason, ...]:
        """Return the present features with the largest contributions (log-odds), the largest first.

        `column` is the point's own column from `columns_of`, if the caller has computed it.
        """
        vector, names = point.vector, self._reads.names
        values = [vector[place] for place in self._reads.columns]
        parts = self._terms.contributions(self._column(point, column), point.user_id).tolist()
        sizes = [abs(part) if value == value else 0.0 for part, value in zip(parts, values, strict=True)]  # noqa: PLR0124 - false only for NaN
        least = min(sorted(sizes)[-most:], default=0.0)
        largest = [
            (-size, name, value, part)
            for size, name, value, part in zip(sizes, names, values, parts, strict=True)
            if size >= least and size
        ]
        largest.sort()
        return tuple(
            Reason(detector=self.name, feature=name, value=value, contribution=part)
            for _, name, value, part in largest[:most]
        )

    def exemplars(self, point: DecisionPoint, most: int, column: Matrix | None = None) -> tuple[Exemplar, ...]:
        """Return at most `most` escalated exemplars, the most similar first; empty if the model stores none.

        `column` is as in `explain`.
        """
        return self._terms.exemplars(self._column(point, column), point.user_id, most)

    def _column(self, point: DecisionPoint, column: Matrix | None) -> Matrix:
        """Return the features that the model reads of a single point, shape (names, 1)."""
        return self._reads.of(columns_of(matrix_from([point.vector])) if column is None else column)
