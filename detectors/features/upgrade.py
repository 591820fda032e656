"""Conversion of vectors that learners and lanes of earlier versions stored."""

from __future__ import annotations

from array import array
from math import nan

from detectors.base.vectors import Vector
from detectors.features.catalogue import NUMBERS

BEFORE_CODES, BEFORE_CHANNELS = 32, 33
"""Lengths of earlier vectors: the first quantities alone, and the same with the code of the recent tokens."""


def stored_vector(data: bytes) -> Vector:
    """Return a stored vector; features declared since then are absent (NaN)."""
    vector = array("d", data)
    code = vector.pop() if len(vector) == BEFORE_CHANNELS else nan
    if len(vector) == BEFORE_CODES:
        vector.extend([nan] * (len(NUMBERS) - BEFORE_CODES))
        vector.append(code)
    return vector
