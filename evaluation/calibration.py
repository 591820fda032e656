"""Calibration of probabilities: the reliability curve and its error."""

from __future__ import annotations

from math import fsum
from typing import NamedTuple

import numpy as np

from evaluation.runs import Flags, Values

BINS = 15


class Bin(NamedTuple):
    """Points of similar probability: their range, number, mean probability, and share of positives."""

    low: float
    high: float
    points: int
    predicted: float
    observed: float


def reliability(positive: Flags, probability: Values, bins: int = BINS) -> list[Bin]:
    """Return the reliability curve over bins of equal number, lowest probability first; ties stay in one bin.

    Bins of equal width would put nearly all points of a rare target into the first.
    """
    if not len(probability):
        return []
    order = np.argsort(probability, kind="stable")
    ranked, truth = probability[order], positive[order]
    cuts = np.linspace(0, len(ranked), bins + 1).astype(int)[1:-1]
    cuts = np.unique(np.searchsorted(ranked, ranked[cuts], side="left"))
    found = []
    for chunk, hits in zip(np.split(ranked, cuts), np.split(truth, cuts), strict=True):
        if len(chunk):
            many, true = len(chunk), int(hits.sum())
            found.append(Bin(float(chunk[0]), float(chunk[-1]), many, fsum(chunk.tolist()) / many, true / many))
    return found


def calibration_error(curve: list[Bin]) -> float | None:
    """Return the expected calibration error: the mean distance of prediction and observation, weighted by points.

    Naeini, Cooper and Hauskrecht, AAAI 2015, here over bins of equal number. None without points.

    >>> calibration_error([Bin(0.0, 0.2, 3, 0.1, 0.0), Bin(0.8, 0.8, 1, 0.8, 1.0)])
    0.125
    """
    points = sum(one.points for one in curve)
    if not points:
        return None
    return fsum(one.points * abs(one.predicted - one.observed) for one in curve) / points
