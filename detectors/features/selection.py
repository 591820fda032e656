"""Feature selection: which features a model reads, and their columns."""

from __future__ import annotations

from collections.abc import Collection

from detectors.base.elementwise import symlog
from detectors.base.vectors import Matrix
from detectors.features.catalogue import CODES, NAMES, NUMBERS


class FeatureSelection:
    """Which features a model reads, in the order of the catalogue: quantities squashed, codes as they are."""

    __slots__ = ("_rows", "columns", "names")

    def __init__(self, names: Collection[str]) -> None:
        known = frozenset(names)
        self.columns = [column for column, name in enumerate(NAMES) if name in known]
        self.names = tuple(NAMES[column] for column in self.columns)
        begin, end = (self.columns[0], self.columns[-1] + 1) if self.columns else (0, 0)
        # neighbours need not be copied
        self._rows = slice(begin, end) if end - begin == len(self.columns) else self.columns

    def read(self, matrix: Matrix) -> Matrix:
        """The readings, shape (points, names), of whole vectors."""
        return self.of(columns_of(matrix)).T

    def of(self, columns: Matrix) -> Matrix:
        """The readings, shape (names, points), among those of all features: see `columns_of`."""
        readings: Matrix = columns[self._rows]
        return readings


QUANTITIES = FeatureSelection(NUMBERS)
"""What a model reads that reckons with numbers."""


CATEGORIES = FeatureSelection(CODES)
"""What a model reads that looks codes up."""


EVERYTHING = FeatureSelection(NAMES)
"""What a model reads that is made of others."""


def columns_of(matrix: Matrix) -> Matrix:
    """What models may read of whole vectors, shape (features, points): quantities squashed, codes as they are."""
    columns: Matrix = matrix.T.copy()
    columns[: len(NUMBERS)] = symlog(columns[: len(NUMBERS)])
    return columns
