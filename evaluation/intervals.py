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

from evaluation.metrics import Ranking
from evaluation.runs import Flags, Values

SAMPLES = 200
LEVEL = 0.95
SEED = 20_240_229


class Figure(NamedTuple):
    """A figure and its interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


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
