"""Bins: fixed ones for probabilities, and how far apart two binned distributions are."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray

from detectors.base.elementwise import log, ordered_sum

EDGES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)
"""Upper ends of the bins of probabilities, the ends included; finer where scores of rare outcomes lie."""
BINS = tuple(f"{edge:g}" for edge in EDGES)
"""What the bins are called: their upper ends."""
SHIFTED = 0.25
"""From here on a population stability index is called a major shift, by the convention of credit scoring."""

Counts = NDArray[np.int64]
Indexes = NDArray[np.float64]


def bin_of(probability: float) -> int:
    """The bin a probability falls into.

    >>> BINS[bin_of(0.0)], BINS[bin_of(0.05)], BINS[bin_of(0.0501)], BINS[bin_of(1.0)]
    ('0.001', '0.05', '0.1', '1')
    """
    return min(bisect_left(EDGES, probability), len(EDGES) - 1)


def stability(before: Counts, after: Counts) -> Indexes:
    """Population stability index, the sum over bins of (q - p) * log(q / p), along the last axis.

    Half a count is added to every bin, so that an empty one is rare and not impossible. Two samples of n values of the
    same distribution in B bins come out near 2 * (B - 1) / n.

    >>> stability(np.array([50, 50]), np.array([50, 50])).item()
    0.0
    >>> round(stability(np.array([90, 10]), np.array([50, 50])).item(), 2)
    0.85
    """
    p, q = before + 0.5, after + 0.5
    p /= p.sum(axis=-1, keepdims=True)  # halves are added exactly, in whatever order
    q /= q.sum(axis=-1, keepdims=True)
    return ordered_sum(np.moveaxis((q - p) * log(q / p), -1, 0))
