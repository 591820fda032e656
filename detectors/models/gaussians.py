"""A normal distribution for every feature in one class, on packed numbers.

The operations, and their order, are those of River 0.26's `Gaussian`, which `GaussianNB` keeps for every class and
feature, so that every number comes out as River would have it, to the last bit, for a fiftieth of the time.
"""

from __future__ import annotations

from math import log, pow  # noqa: A004 - as `**` of two floats does it
from typing import final

from librt.vecs import vec

from detectors.contract import Row


@final
class Gaussians:
    """How often every value of a row was there, its mean, and its summed squared deviations from that (Welford).

    `met` is whether River would know of a value: it also does if it was only ever taken back.
    """

    __slots__ = ("counts", "means", "met", "squares")

    def __init__(self, places: int) -> None:
        nothing = [0.0] * places
        self.counts = vec[float](nothing)
        self.means = vec[float](nothing)
        self.squares = vec[float](nothing)
        self.met = [False] * places

    def learn(self, row: Row) -> None:
        """Count what is there of a row."""
        counts, means, squares, met = self.counts, self.means, self.squares, self.met
        for at in range(len(row)):
            value = row[at]
            if value == value:  # noqa: PLR0124 - all but NaN equal themselves
                count = counts[at] + 1.0
                counts[at] = count
                before = means[at]
                mean = before + 1.0 / count * (value - before)
                means[at] = mean
                squares[at] = squares[at] + (value - before) * (value - mean)
                met[at] = True

    def take_back(self, row: Row) -> None:
        """Undo that a row was counted, where more than one was."""
        counts, means, squares = self.counts, self.means, self.squares
        for at in range(len(row)):
            value = row[at]
            if value == value:  # noqa: PLR0124
                self.met[at] = True
                if counts[at] > 1:
                    count = counts[at] - 1.0
                    counts[at] = count
                    before = means[at]
                    mean = before - 1.0 / count * (value - before)
                    means[at] = mean
                    squares[at] = squares[at] - (value - before) * (value - mean)


def log_odds(
    row: Row, negatives: Gaussians, positives: Gaussians, prior: float, narrowest: float, most: float
) -> float:
    """A prior's log-odds and each value's log-likelihood ratio, within `most` either way; changes nothing.

    `narrowest` is added to every variance. A value speaks once it was seen twice in both classes.
    """
    found = prior
    for at in range(len(row)):
        value, count0, count1 = row[at], negatives.counts[at], positives.counts[at]
        if value == value and count0 >= 2 and count1 >= 2:  # noqa: PLR0124
            var0 = max(negatives.squares[at], 0.0) / (count0 - 1.0) + narrowest
            var1 = max(positives.squares[at], 0.0) / (count1 - 1.0) + narrowest
            near, far = (
                pow(value - negatives.means[at], 2.0) / (2 * var0),
                pow(value - positives.means[at], 2.0) / (2 * var1),
            )
            found += max(-most, min(most, 0.5 * log(var0 / var1) + near - far))
    return found
