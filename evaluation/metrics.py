"""Exact metrics of scores against matured labels, over arrays; ties count half.

Fractions are summed without rounding (`fsum`), so that sums are the same in any order.
"""

from __future__ import annotations

from math import fsum

import numpy as np
from numpy.typing import NDArray

from detectors.base.elementwise import ordered_sum

Labels = NDArray[np.bool_]
Scores = NDArray[np.float64]


class Ranking:
    """Rows sorted by a score once, for repeated weighting; stored as groups of equal score that hold positives."""

    def __init__(self, positive: Labels, score: Scores) -> None:
        self._order = np.argsort(-score, kind="stable")
        ranked = score[self._order]
        starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1])[: len(ranked)])
        group = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(ranked)))
        self._places = np.flatnonzero(positive[self._order])
        groups, self._member = np.unique(group[self._places], return_inverse=True)
        self._starts, self._ends = starts[groups], np.append(starts[1:], len(ranked))[groups]

    def figures(self, weight: Scores) -> tuple[float, float]:
        """Return ROC-AUC (ties half) and average precision of the weighted rows; NaN where a class is missing.

        `weight` has one value per row. Average precision is the step-wise sum over distinct scores.
        """
        weight = weight[self._order]
        above = np.concatenate([[0.0], np.cumsum(weight)])
        gained = np.bincount(self._member, weight[self._places], minlength=len(self._starts))
        hits = np.cumsum(gained)
        if not len(hits) or hits[-1] <= 0:
            return np.nan, np.nan
        alarms = above[self._ends]
        precision = np.divide(hits, alarms, out=np.zeros_like(hits), where=alarms > 0)
        average = float(ordered_sum(precision * gained) / hits[-1])
        negatives = above[-1] - hits[-1]
        if negatives <= 0:
            return np.nan, average
        before = above[self._starts] - (hits - gained)
        tied = alarms - above[self._starts] - gained
        # the terms are whole numbers and halves, so the sum is exact
        return float((gained * (negatives - before - tied / 2)).sum() / (hits[-1] * negatives)), average


def roc_auc(labels: Labels, scores: Scores) -> float | None:
    """Return the probability that a positive scores above a negative (Mann-Whitney); None without both classes.

    Ties count half.

    >>> roc_auc(np.array([False, True, True]), np.array([0.1, 0.1, 0.9]))
    0.75
    """
    found, _ = Ranking(labels, scores).figures(np.ones(len(labels)))
    return None if np.isnan(found) else found


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
