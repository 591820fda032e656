"""A published model version: data that scores batches and explains single points, and never learns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import orjson

from detectors.base.elementwise import exp, ordered_sum
from detectors.base.points import DecisionPoint
from detectors.base.vectors import Matrix, matrix_from
from detectors.features.selection import FeatureSelection, columns_of
from detectors.models.track_record import track_of
from schemas.records.decisions import Exemplar, ModelVersion, Reason


class Terms(Protocol):
    """A dumped model at work on squashed columns, shape (features, points)."""

    @property
    def ready(self) -> bool:
        """Whether it holds what it takes to say anything."""
        ...

    def logits(self, columns: Matrix, users: Sequence[str]) -> Matrix:
        """Log-odds of every point; a point's bits do not depend on the points beside it. NaN where it cannot say."""
        ...

    def contributions(self, column: Matrix, user: str | None) -> Matrix:
        """What each feature of a single point adds to its log-odds; NaN or 0 where nothing."""
        ...

    def exemplars(self, column: Matrix, user: str | None, most: int) -> tuple[Exemplar, ...]:
        """The nearest exemplars that escalated, where it keeps any."""
        ...


class LinearTerms(NamedTuple):
    """A score as a sum: an intercept, and every feature's contribution, in log-odds.

    `parts` maps the columns a family reads, shape (features, points), to contributions of the same shape; NaN or zero
    where the feature is absent.
    """

    intercept: float
    parts: Callable[[Matrix], Matrix]

    @property
    def ready(self) -> bool:
        """A sum can always be added up."""
        return True

    def logits(self, columns: Matrix, users: Sequence[str]) -> Matrix:  # noqa: ARG002 - a sum knows no users
        """Contributions accumulated feature by feature.

        A row's bits must not depend on how many rows stand beside it, which neither a matrix product nor a sum would
        promise.
        """
        parts = self.parts(columns)
        present = np.where(np.isnan(parts), 0.0, parts)
        return ordered_sum(present) + self.intercept

    def contributions(self, column: Matrix, user: str | None) -> Matrix:  # noqa: ARG002 - a sum knows no users
        """What each feature adds; NaN where it is absent."""
        parts: Matrix = self.parts(column)[:, 0]
        return parts

    def exemplars(self, column: Matrix, user: str | None, most: int) -> tuple[Exemplar, ...]:  # noqa: ARG002
        """A sum keeps none."""
        return ()


class Family(NamedTuple):
    """How versions of a family are read: what of a vector, and which terms a dumped state stands for."""

    reads: FeatureSelection
    terms: Callable[[dict[str, Any], tuple[str, ...]], Terms]


def aligned(names: tuple[str, ...], state: dict[str, Any], key: str, missing: float) -> Matrix:
    """The numbers under `key` of a dumped model, in the order of `names`; `missing` for a feature it never saw."""
    known = dict(zip(state["features"], state[key], strict=True))
    return np.array([known.get(name, missing) for name in names], dtype=np.float64)


class FrozenModel:
    """A version at work. `ready` is whether it has seen enough positives to say anything; `track` its track record."""

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
        """Calibrated probabilities, one per row of raw features; NaN where the model is not ready.

        `users` are the rows' users, where that is known: nobody is compared with themselves.
        """
        return self.score(columns_of(matrix), users)

    def score(self, columns: Matrix, users: Sequence[str] = ()) -> Matrix:
        """The probabilities of vectors that were read already, by `columns_of`, for whatever models."""
        if not self.ready:
            return np.full(columns.shape[1], np.nan)
        logits = self._terms.logits(self._reads.of(columns), users)
        odds = exp(np.minimum(np.maximum(logits, -50.0), 50.0))
        probabilities: Matrix = np.minimum(odds * self._correction, 1.0)
        return probabilities

    def explain(self, point: DecisionPoint, most: int, column: Matrix | None = None) -> tuple[Reason, ...]:
        """The present features with the largest contributions, largest first, in log-odds.

        `column` is the point's own of the columns that `columns_of` made, where it did.
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
        """The users who escalated that the point is most like, nearest first; none, unless the model keeps any.

        `column` is as in `explain`.
        """
        return self._terms.exemplars(self._column(point, column), point.user_id, most)

    def _column(self, point: DecisionPoint, column: Matrix | None) -> Matrix:
        """What the model reads of a single point, shape (names, 1)."""
        return self._reads.of(columns_of(matrix_from([point.vector])) if column is None else column)
