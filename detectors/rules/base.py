"""What every rule is: features, a limit, a runbook."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from detectors.contract import DecisionPoint, Score, Vector
from detectors.features.catalogue import NAMES
from schemas.records import Reason


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
    def fires(self, values: tuple[float, ...]) -> bool:
        """Whether the rule fires on the values of its features, none of them absent."""

    def fires_on(self, vector: Vector) -> bool | None:
        """Whether the rule fires on a whole feature vector; None where a feature it needs is absent."""
        values = tuple([vector[column] for column in self._columns])
        for value in values:
            if value != value:  # noqa: PLR0124 - only NaN differs from itself
                return None
        return self.fires(values)

    def score_one(self, point: DecisionPoint) -> Score:
        """1 with the raw counters as reasons if the rule fires, 0 if not, None if it cannot tell."""
        fired = self.fires_on(point.vector)
        if not fired:
            return Score(self.name, None if fired is None else 0.0)
        reasons = tuple(
            Reason(detector=self.name, feature=feature, value=point.vector[column], contribution=None)
            for feature, column in zip(self.features, self._columns, strict=True)
        )
        return Score(self.name, 1.0, reasons)
