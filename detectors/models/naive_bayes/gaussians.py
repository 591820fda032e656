"""Normal distributions of every feature in one class, on packed numbers.

The operations and their order are those of River 0.26's `Gaussian`, which `GaussianNB` keeps for every class and
feature. Every moment therefore equals River's to the last bit, for a fiftieth of the time.
"""

from __future__ import annotations

from typing import Final, final

from librt.vecs import vec

from detectors.base.elementary import log
from detectors.base.vectors import Row

NARROWEST: Final = 0.01
"""Added to every variance, so that a feature that is constant in one class cannot decide alone."""
LOUDEST: Final = 3.0
"""Bound on a single feature's contribution in log-odds, because features are far from independent."""
FEW: Final = 10.0
"""Number of differing examples at which a feature has half of its weight."""


@final
class Gaussians:
    """Count, mean and summed squared deviations (Welford) of every value of a row.

    `fourths` are the sums of the squares of what single examples added to `squares`. `met` is whether River would have
    an entry for a value, which it also has if the value was only ever undone.
    """

    __slots__ = ("counts", "fourths", "means", "met", "squares")

    def __init__(self, places: int) -> None:
        nothing = [0.0] * places
        self.counts = vec[float](nothing)
        self.means = vec[float](nothing)
        self.squares = vec[float](nothing)
        self.fourths = vec[float](nothing)
        self.met = [False] * places

    def learn(self, row: Row, weight: float) -> None:
        """Count the present values of a row `weight` times."""
        counts, means, squares, fourths, met = self.counts, self.means, self.squares, self.fourths, self.met
        for at in range(len(row)):
            value = row[at]
            if value == value:  # noqa: PLR0124 - only NaN differs from itself
                count = counts[at] + weight
                counts[at] = count
                before = means[at]
                mean = before + weight / count * (value - before)
                means[at] = mean
                squares[at] = squares[at] + weight * (value - before) * (value - mean)
                added = (value - before) * (value - mean)
                fourths[at] = fourths[at] + weight * added * added
                met[at] = True

    def take_back(self, row: Row, weight: float) -> None:
        """Undo counting a row `weight` times; moments become zero where the count does not stay above zero."""
        counts, means, squares, fourths = self.counts, self.means, self.squares, self.fourths
        for at in range(len(row)):
            value = row[at]
            if value == value:  # noqa: PLR0124
                self.met[at] = True
                count = counts[at] - weight
                if count <= 0.0:
                    counts[at] = means[at] = squares[at] = fourths[at] = 0.0
                    continue
                counts[at] = count
                before = means[at]
                mean = before - weight / count * (value - before)
                means[at] = mean
                squares[at] = squares[at] - weight * (value - before) * (value - mean)
                added = (value - before) * (value - mean)
                fourths[at] = max(fourths[at] - weight * added * added, 0.0)


def log_odds(row: Row, negatives: Gaussians, positives: Gaussians, prior: float) -> float:
    """Return the prior's log-odds plus each value's log-likelihood ratio; state does not change.

    A value contributes once it was seen twice in both classes, and more the more examples differ in it.
    """
    found = prior
    for at in range(len(row)):
        value, count0, count1 = row[at], negatives.counts[at], positives.counts[at]
        if value == value and count0 >= 2 and count1 >= 2:  # noqa: PLR0124
            var0 = max(negatives.squares[at], 0.0) / (count0 - 1.0) + NARROWEST
            var1 = max(positives.squares[at], 0.0) / (count1 - 1.0) + NARROWEST
            miss0, miss1 = value - negatives.means[at], value - positives.means[at]
            ratio = 0.5 * log(var0 / var1) + miss0 * miss0 / (2.0 * var0) - miss1 * miss1 / (2.0 * var1)
            found += max(-LOUDEST, min(LOUDEST, ratio)) * say(
                count0,
                negatives.means[at],
                negatives.squares[at],
                negatives.fourths[at],
                count1,
                positives.means[at],
                positives.squares[at],
                positives.fourths[at],
            )
    return found


def say(
    count0: float,
    mean0: float,
    squares0: float,
    fourths0: float,
    count1: float,
    mean1: float,
    squares1: float,
    fourths1: float,
) -> float:
    """Return a feature's weight, from 0 to 1: n / (n + FEW) for n examples that differ.

    n is the effective number of the squared deviations from the mean of both classes (Kish, Survey Sampling, 1965):
    their sum squared over the sum of their squares. It is 1 where a single example differs from all others, regardless
    of how many those are and how far away it is.
    """
    mean = (count0 * mean0 + count1 * mean1) / (count0 + count1)
    apart0, apart1 = (mean0 - mean) * (mean0 - mean), (mean1 - mean) * (mean1 - mean)
    total = max(squares0, 0.0) + max(squares1, 0.0) + count0 * apart0 + count1 * apart1
    whole = fourths0 + fourths1 + count0 * apart0 * apart0 + count1 * apart1 * apart1
    if total * total <= 0.0 or whole <= 0.0:
        return 0.0
    differ = min(total * total / whole, count0 + count1)
    return differ / (differ + FEW)
