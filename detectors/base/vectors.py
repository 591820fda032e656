"""Feature vectors: one point as packed numbers, many as a matrix."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from struct import pack
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Vector: TypeAlias = "array[float]"
"""One value per declared feature, as packed doubles; NaN where absent. It is never changed once made."""


Matrix = NDArray[np.float64]
"""Vectors as rows."""


Row: TypeAlias = list[float]
"""A vector as a model is given it: a value per declared feature, quantities squashed; NaN where absent or not read."""


def vector_from(values: Iterable[float]) -> Vector:
    """A vector of these values."""
    packed = tuple(values)
    return array("d", pack(f"{len(packed)}d", *packed))


def matrix_from(vectors: Sequence[Vector]) -> Matrix:
    """Vectors as the rows of a matrix, at least one of them; packed doubles need only be laid end to end."""
    matrix: Matrix = np.frombuffer(b"".join(vectors)).reshape(len(vectors), -1)
    return matrix
