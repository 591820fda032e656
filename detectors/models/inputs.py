"""What models are given: rows, made of vectors as the model reads them, and examples that weigh what it asks for."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

from detectors.base.points import Example
from detectors.base.vectors import Row, Vector, matrix_from
from detectors.features.catalogue import NAMES
from detectors.features.selection import EVERYTHING, FeatureSelection

PLACES = {name: place for place, name in enumerate(NAMES)}
"""By feature, its place in a row."""
BY_NAME = [PLACES[name] for name in sorted(NAMES)]
"""Places by the names of their features, the order of dumps."""


class Reader:
    """Makes one model's rows."""

    __slots__ = ("_unread",)

    def __init__(self, reads: FeatureSelection) -> None:
        read = frozenset(reads.columns)
        self._unread = [column for column in range(len(NAMES)) if column not in read]

    def rows(self, vectors: Sequence[Vector]) -> list[Row]:
        """The rows of these vectors, made at once."""
        if not vectors:
            return []
        readings = EVERYTHING.read(matrix_from(vectors))
        readings[:, self._unread] = nan
        rows: list[Row] = readings.tolist()
        return rows

    def of(self, row: Row) -> Row:
        """Of a row of everything, the row of this model."""
        given = row.copy()
        for column in self._unread:
            given[column] = nan
        return given


def weighed(example: Example, positive: float) -> Example:
    """The example as it weighs where a positive weighs so much against a negative."""
    return example._replace(weight=example.weight * positive) if example.label and positive != 1.0 else example
