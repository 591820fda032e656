"""Model inputs: rows limited to the features a model reads, and examples scaled by the class weight."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

from detectors.base.points import Example
from detectors.base.vectors import Row, Vector, matrix_from
from detectors.features.catalogue import NAMES
from detectors.features.selection import EVERYTHING, FeatureSelection

PLACES = {name: place for place, name in enumerate(NAMES)}
"""Row index by feature name."""
BY_NAME = [PLACES[name] for name in sorted(NAMES)]
"""Row indices in the order of feature names, which is the order of dumps."""


class Reader:
    """Builds the rows of one model."""

    __slots__ = ("_unread",)

    def __init__(self, reads: FeatureSelection) -> None:
        read = frozenset(reads.columns)
        self._unread = [column for column in range(len(NAMES)) if column not in read]

    def rows(self, vectors: Sequence[Vector]) -> list[Row]:
        """Return the rows of these vectors, built in one batch; features this model does not read are NaN."""
        if not vectors:
            return []
        readings = EVERYTHING.read(matrix_from(vectors))
        readings[:, self._unread] = nan
        rows: list[Row] = readings.tolist()
        return rows

    def of(self, row: Row) -> Row:
        """Return a copy of a full row in which features this model does not read are NaN."""
        given = row.copy()
        for column in self._unread:
            given[column] = nan
        return given


def weighed(example: Example, positive: float) -> Example:
    """Scale a positive example's weight by the class weight `positive`; return a negative unchanged."""
    return example._replace(weight=example.weight * positive) if example.label and positive != 1.0 else example
