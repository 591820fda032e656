"""Reads the vectors that learners and lanes of earlier versions kept."""

from __future__ import annotations

from array import array
from math import nan

from detectors.base.vectors import Vector
from detectors.features.catalogue import NUMBERS

BEFORE_CODES, BEFORE_CHANNELS = 32, 33
"""Lengths of earlier vectors: the quantities there were at first, and the same with the code of the latest tokens."""


def stored_vector(data: bytes) -> Vector:
    """A vector as it was stored; features that were declared since then are absent in it."""
    vector = array("d", data)
    code = vector.pop() if len(vector) == BEFORE_CHANNELS else nan
    if len(vector) == BEFORE_CODES:
        vector.extend([nan] * (len(NUMBERS) - BEFORE_CODES))
        vector.append(code)
    return vector
