"""The base class of rules: features, a limit, a runbook."""

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
"""One column of values for each feature that a rule reads."""
Fired = NDArray[np.bool_]
"""One boolean for each row."""


class Rule(ABC):
    """A detection by declared limits. Subclasses define the features they read and the condition under which they fire.

    `runbook` is the guidance for the recipient of a warning; `known_gaps` lists the cases that the rule cannot detect.
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
        """Return for each row whether the rule fires, given one column per feature; rows with NaN are ignored."""

    def fires_on(self, matrix: Matrix) -> Fired:
        """Return for each feature vector (row) whether the rule fires; False if a feature it needs is absent."""
        columns = [matrix[:, column] for column in self._columns]
        fired = self.fires(columns)
        if np.count_nonzero(fired):  # rare
            for column in columns:
                fired &= ~np.isnan(column)
        return fired

    def score_one(self, point: DecisionPoint) -> Score:
        """Return 1 with the raw counters as reasons if the rule fires, 0 if not, None if a feature is absent."""
        if any(isnan(point.vector[column]) for column in self._columns):
            return Score(self.name, None)
        if not self.fires_on(matrix_from([point.vector]))[0]:
            return Score(self.name, 0.0)
        reasons = tuple(
            Reason(detector=self.name, feature=feature, value=point.vector[column], contribution=None)
            for feature, column in zip(self.features, self._columns, strict=True)
        )
        return Score(self.name, 1.0, reasons)
