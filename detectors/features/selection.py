"""Feature selection: which features a model reads, and their columns."""

from __future__ import annotations

from collections.abc import Collection

from detectors.base.elementwise import symlog
from detectors.base.vectors import Matrix
from detectors.features.catalogue import CODES, NAMES, NUMBERS


class FeatureSelection:
    """The features that a model reads, in catalogue order: quantities transformed by symlog, codes unchanged."""

    __slots__ = ("_rows", "columns", "names")

    def __init__(self, names: Collection[str]) -> None:
        known = frozenset(names)
        self.columns = [column for column, name in enumerate(NAMES) if name in known]
        self.names = tuple(NAMES[column] for column in self.columns)
        begin, end = (self.columns[0], self.columns[-1] + 1) if self.columns else (0, 0)
        # adjacent columns are a slice, which numpy does not copy
        self._rows = slice(begin, end) if end - begin == len(self.columns) else self.columns

    def read(self, matrix: Matrix) -> Matrix:
        """Return the selected features of whole vectors, shape (points, names)."""
        return self.of(columns_of(matrix)).T

    def of(self, columns: Matrix) -> Matrix:
        """Return the selected features, shape (names, points), from all features as returned by `columns_of`."""
        readings: Matrix = columns[self._rows]
        return readings


QUANTITIES = FeatureSelection(NUMBERS)
"""The selection of models that compute with quantities."""


CATEGORIES = FeatureSelection(CODES)
"""The selection of models that look up codes."""


EVERYTHING = FeatureSelection(NAMES)
"""The selection of models that combine other models."""


def columns_of(matrix: Matrix) -> Matrix:
    """Return whole vectors as columns, shape (features, points): quantities transformed by symlog, codes unchanged."""
    columns: Matrix = matrix.T.copy()
    columns[: len(NUMBERS)] = symlog(columns[: len(NUMBERS)])
    return columns
