"""Figures with intervals: the same statistic on samples of users drawn with replacement.

Points of one user are not independent, so users are drawn instead of points (the cluster bootstrap: Davison and
Hinkley, "Bootstrap Methods and their Application", 1997, chapter 3.8). Two scores are compared within each sample,
which is much sharper than comparing their intervals.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.base.elementwise import ordered_sum
from evaluation.runs import Flags, Values

SAMPLES = 200
LEVEL = 0.95
SEED = 20_240_229


class Figure(NamedTuple):
    """A figure and its interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


class Ranking:
    """Rows sorted by a score once, for repeated weighting; stored as groups of equal score that hold positives."""

    def __init__(self, positive: Flags, score: Values) -> None:
        self._order = np.argsort(-score, kind="stable")
        ranked = score[self._order]
        starts = np.flatnonzero(np.diff(ranked, prepend=np.nan) != 0)
        group = np.repeat(np.arange(len(starts)), np.diff([*starts, len(ranked)]))
        self._places = np.flatnonzero(positive[self._order])
        groups, self._member = np.unique(group[self._places], return_inverse=True)
        self._starts, self._ends = starts[groups], np.append(starts[1:], len(ranked))[groups]

    def figures(self, weight: Values) -> tuple[float, float]:
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


def draws(user: NDArray[np.int64], samples: int = SAMPLES) -> Iterator[Values]:
    """Yield the count of each row in each sample; every call yields the same samples."""
    _, member = np.unique(user, return_inverse=True)
    users = int(member.max(initial=-1)) + 1
    rng = np.random.default_rng(SEED)
    for _ in range(samples if users else 0):
        drawn = np.bincount(rng.integers(0, users, users), minlength=users)
        yield drawn[member].astype(np.float64)


def interval(value: float | None, sampled: NDArray[np.float64]) -> Figure:
    """Return the value with the percentile interval of its samples; no interval if over a tenth are undefined."""
    defined = sampled[~np.isnan(sampled)]
    if value is None or np.isnan(value):
        return Figure(None, None, None)
    if len(defined) < 0.9 * max(len(sampled), 1):
        return Figure(float(value), None, None)
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Figure(float(value), float(low), float(high))


class Compared(NamedTuple):
    """The figures of several scores on the same rows, and the lead of the first over each of the others."""

    roc_auc: dict[str, Figure]
    average_precision: dict[str, Figure]
    roc_auc_above: dict[str, Figure]
    average_precision_above: dict[str, Figure]


def compare_scores(
    positive: Flags, user: NDArray[np.int64], scores: dict[str, Values], samples: int = SAMPLES
) -> Compared:
    """Return ROC-AUC and average precision of every score with intervals, and the first score's lead over each."""
    rankings = {name: Ranking(positive, score) for name, score in scores.items()}
    ones = np.ones(len(positive))
    whole = {name: ranking.figures(ones) for name, ranking in rankings.items()}
    sampled = {name: np.full((samples, 2), np.nan) for name in scores}
    for sample, weight in enumerate(draws(user, samples)):
        for name, ranking in rankings.items():
            sampled[name][sample] = ranking.figures(weight)
    first = next(iter(scores))

    def figure(name: str, which: int) -> Figure:
        return interval(whole[name][which], sampled[name][:, which])

    def lead(name: str, which: int) -> Figure:
        return interval(whole[first][which] - whole[name][which], sampled[first][:, which] - sampled[name][:, which])

    others = [name for name in scores if name != first]
    return Compared(
        {name: figure(name, 0) for name in scores},
        {name: figure(name, 1) for name in scores},
        {name: lead(name, 0) for name in others},
        {name: lead(name, 1) for name in others},
    )
