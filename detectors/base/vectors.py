"""Feature vectors: one point as packed doubles, many points as a matrix."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from struct import pack
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Vector: TypeAlias = "array[float]"
"""One value per declared feature, as packed doubles; NaN if absent. A vector is never modified once created."""


Matrix = NDArray[np.float64]
"""Vectors as rows, shape (points, features)."""


Row: TypeAlias = list[float]
"""The input of a model: one value per declared feature, quantities transformed by symlog; NaN if absent or not read."""


def vector_from(values: Iterable[float]) -> Vector:
    """Return a vector of these values."""
    packed = tuple(values)
    return array("d", pack(f"{len(packed)}d", *packed))


def matrix_from(vectors: Sequence[Vector]) -> Matrix:
    """Return one or more vectors as the rows of a matrix, by concatenating their packed doubles."""
    matrix: Matrix = np.frombuffer(b"".join(vectors)).reshape(len(vectors), -1)
    return matrix
