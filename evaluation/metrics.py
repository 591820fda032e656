"""Exact metrics of scores against matured labels, over arrays; ties count half.

Fractions are summed without rounding (`fsum`), so that sums are the same in any order.
"""

from __future__ import annotations

from math import fsum

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.bool_]
Scores = NDArray[np.float64]


def roc_auc(labels: Labels, scores: Scores) -> float | None:
    """Return the probability that a positive scores above a negative (Mann-Whitney); None without both classes.

    Ties count half.

    >>> roc_auc(np.array([False, True, True]), np.array([0.1, 0.1, 0.9]))
    0.75
    """
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return None
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2)[inverse]
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def average_precision(labels: Labels, scores: Scores) -> float | None:
    """Return the area under the precision-recall curve; None without positives.

    The area is the step-wise sum over distinct scores.

    >>> average_precision(np.array([False, True, True]), np.array([0.1, 0.2, 0.9]))
    1.0
    """
    positives = int(labels.sum())
    if not positives:
        return None
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(labels[order])
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    precision = hits[ends] / (ends + 1)
    gained = np.diff(np.concatenate([[0], hits[ends]]))
    return fsum((precision * gained).tolist()) / positives


def brier(labels: Labels, probabilities: Scores) -> float | None:
    """Return the mean squared difference of probability and outcome; None without points."""
    if not len(labels):
        return None
    misses = probabilities - labels
    return fsum((misses * misses).tolist()) / len(labels)
