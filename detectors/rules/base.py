"""What every rule is: features, a limit, a runbook."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import isnan
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.base.points import DecisionPoint, Score
from detectors.base.vectors import Matrix, matrix_from
from detectors.features.catalogue import NAMES
from schemas.records.decisions import Reason

Columns = list[Matrix]
"""One column of values for each feature a rule reads."""
Fired = NDArray[np.bool_]
"""One truth value for each row."""


class Rule(ABC):
    """A detection by declared limits. Subclasses say which features they read and when they fire.

    `runbook` tells whoever receives the warning what to look at; `known_gaps` what the rule cannot see.
    """

    name: ClassVar[str]
    features: ClassVar[tuple[str, ...]]
    default_limit: ClassVar[float]
    runbook: ClassVar[str]
    known_gaps: ClassVar[str]

    def __init__(self, limit: float | None = None) -> None:
        self.limit = self.default_limit if limit is None else limit
        self._columns = tuple(NAMES.index(feature) for feature in self.features)

    @abstractmethod
    def fires(self, values: Columns) -> Fired:
        """Where the rule fires, given one column per feature; what it says of an absent value does not matter."""

    def fires_on(self, matrix: Matrix) -> Fired:
        """Where the rule fires on whole feature vectors, given as rows; not where a feature it needs is absent."""
        columns = [matrix[:, column] for column in self._columns]
        fired = self.fires(columns)
        if np.count_nonzero(fired):  # hardly ever
            for column in columns:
                fired &= ~np.isnan(column)
        return fired

    def score_one(self, point: DecisionPoint) -> Score:
        """1 with the raw counters as reasons if the rule fires, 0 if not, None if it cannot tell."""
        if any(isnan(point.vector[column]) for column in self._columns):
            return Score(self.name, None)
        if not self.fires_on(matrix_from([point.vector]))[0]:
            return Score(self.name, 0.0)
        reasons = tuple(
            Reason(detector=self.name, feature=feature, value=point.vector[column], contribution=None)
            for feature, column in zip(self.features, self._columns, strict=True)
        )
        return Score(self.name, 1.0, reasons)
