"""Fixed bins for probabilities, and the stability index between two binned distributions."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray

from detectors.base.elementwise import log, ordered_sum

EDGES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)
"""Inclusive upper edges of the probability bins; finer at low values, where scores of rare outcomes lie."""
BINS = tuple(f"{edge:g}" for edge in EDGES)
"""Labels of the bins: their upper edges."""
SHIFTED = 0.25
"""From this value on, a population stability index is a major shift, by the convention of credit scoring."""

Counts = NDArray[np.int64]
Indexes = NDArray[np.float64]


def bin_of(probability: float) -> int:
    """Return the index of the bin that contains a probability.

    >>> BINS[bin_of(0.0)], BINS[bin_of(0.05)], BINS[bin_of(0.0501)], BINS[bin_of(1.0)]
    ('0.001', '0.05', '0.1', '1')
    """
    return min(bisect_left(EDGES, probability), len(EDGES) - 1)


def stability(before: Counts, after: Counts) -> Indexes:
    """Return the population stability index, the sum over bins of (q - p) * log(q / p), along the last axis.

    Half a count is added to every bin, so that an empty bin has a small probability instead of zero. Two samples of n
    values from the same distribution in B bins give about 2 * (B - 1) / n.

    >>> stability(np.array([50, 50]), np.array([50, 50])).item()
    0.0
    >>> round(stability(np.array([90, 10]), np.array([50, 50])).item(), 2)
    0.85
    """
    p, q = before + 0.5, after + 0.5
    p /= p.sum(axis=-1, keepdims=True)  # sums of halves are exact in any order
    q /= q.sum(axis=-1, keepdims=True)
    return ordered_sum(np.moveaxis((q - p) * log(q / p), -1, 0))
