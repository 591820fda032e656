"""Knots of the additive model: the values at which a feature's function bends, chosen by the feature's declaration.

A function of a feature is linear between two neighbouring knots, and constant before the first and after the last: a
sum of tents, each one at its knot and zero at all others (linear B-splines: de Boor, A Practical Guide to Splines,
1978). Only symlog-transformed values are used, so knots are transformed too.

The *place* of a value is its position among the knots: 0 at the first, 1 at the second, 1.5 halfway to the third.
"""

from __future__ import annotations

from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from detectors.base.elementwise import symlog
from detectors.base.vectors import Matrix
from detectors.features.catalogue import CATALOGUE
from detectors.features.declare import ChannelFeature, Feature, Ratio, Session, Shift, Since, TokenNgram, Trend, Window

Places = NDArray[np.uint8]
"""Places in units of 1 / `STEPS` of a knot interval, rounded; `ABSENT` where there is no value."""
Knots = tuple[float, ...]

COUNTS: Knots = (0, 1, 2, 3, 5, 10, 30, 100)
"""Counts, sums and decayed sums."""
SECONDS: Knots = (0, 15, 60, 300, 1_800, 7_200, 43_200, 172_800, 604_800, 2_592_000)
"""Seconds since an event: from 15 s to 30 days."""
SHARES: Knots = (0, 0.25, 0.5, 0.75, 1)
"""Shares, ratios to messages, and scores of toxicity classifiers."""
DIFFERENCES: Knots = (-1, -0.5, 0, 0.5, 1)
"""Differences of two shares."""
QUOTIENTS: Knots = (0, 0.5, 1, 2, 4, 8, 24)
"""Ratios of two rates; 24 is a day's messages in one hour."""
LENGTHS: Knots = (0, 5, 10, 20, 40, 80, 160, 320)
"""Text lengths in characters."""
LONGER: Knots = (-160, -40, -10, 0, 10, 40, 160)
"""Differences in text length, in characters."""
SANCTIONS: Knots = (0, 3e-4, 1e-3, 2e-3, 3e-3, 5e-3, 1e-2, 5e-2, 0.2)
"""Sanctions per message, which are rare."""

MEANS: dict[str, Knots] = {"length": LENGTHS, "toxicity": SHARES, "excess": DIFFERENCES}
"""Knots of means and maxima, by signal. A signal that is not here is an amount like a count."""
SHIFTS: dict[str, Knots] = {"length": LONGER}
SURROUNDINGS: dict[str, Knots] = {"rate": COUNTS, "sanctions": SANCTIONS, "age": SECONDS, "answered": SECONDS}
"""Knots of channel features, by surrounding. A surrounding that is not here is a share."""

STEPS = 25
"""Steps per knot interval in which places are stored."""
ABSENT = 255
SLOTS = 12
"""Slots for a function's values at its knots, with one to spare."""


def knots_of(feature: Feature) -> Knots:
    """Return the knots of a declared quantity, in its own unit.

    >>> knots_of(Since("report"))[:4], knots_of(Ratio("repeat", "24h"))
    ((0, 15, 60, 300), (0, 0.25, 0.5, 0.75, 1))
    """
    match feature:
        case Since() | Session(happening="since"):
            return SECONDS
        case Trend() | Window(aggregate="spread"):
            return QUOTIENTS
        case Ratio():
            return SHARES
        case Shift(signal=signal):
            return SHIFTS.get(signal, DIFFERENCES)
        case ChannelFeature(surrounding=surrounding):
            return SURROUNDINGS.get(surrounding, SHARES)
        case Window(signal=signal, aggregate="mean" | "max"):
            return MEANS.get(signal, COUNTS)
        case _:
            return COUNTS


KNOTS: dict[str, Knots] = {
    feature.name: knots_of(feature) for feature in CATALOGUE if not isinstance(feature, TokenNgram)
}
"""Knots of every quantity, by feature name."""


class Scale:
    """The symlog-transformed knots of some features, in the given order; converts values to places."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.sizes = np.array([len(KNOTS[name]) for name in names])
        self._edges = np.full((len(names), SLOTS), np.inf)
        for row, name in enumerate(names):
            self._edges[row, : self.sizes[row]] = symlog(np.array(KNOTS[name], dtype=np.float64))
        inner = np.arange(SLOTS) < self.sizes[:, None] - 1
        self._inner = np.where(inner, self._edges, np.inf)[:, 1:, None]
        self._starts = np.arange(len(names))[:, None] * SLOTS

    def find(self, columns: Matrix) -> tuple[NDArray[np.intp], Matrix]:
        """Return the knot before each value, and the fraction of the way from it to the next knot.

        `columns` are symlog-transformed, shape (features, points). Knots are numbered with `SLOTS` per feature. A
        fraction is from 0 to 1, and NaN where there is no value.
        """
        before = (columns[:, None, :] >= self._inner).sum(axis=1) + self._starts
        edges = self._edges.ravel()
        first = edges[before]
        return before, np.minimum(np.maximum((columns - first) / (edges[before + 1] - first), 0.0), 1.0)

    def parts(self, columns: Matrix, levels: Matrix) -> Matrix:
        """Return each function's values for columns, given knot values `levels` (features, SLOTS); NaN where absent."""
        before, beyond = self.find(columns)
        flat = levels.ravel()
        parts: Matrix = flat[before] * (1.0 - beyond) + flat[before + 1] * beyond
        return parts

    def places(self, columns: Matrix) -> Places:
        """Return the places of symlog-transformed columns, shape (points, features)."""
        before, beyond = self.find(columns)
        steps = np.rint((before - self._starts + beyond) * STEPS)
        return np.where(np.isnan(steps), ABSENT, steps).T.astype(np.uint8)


def shape_of(name: str) -> int:
    """Return a checksum of a feature's knots."""
    return crc32(repr(tuple(map(float, KNOTS[name]))).encode())


def checked(state: dict[str, Any]) -> None:
    """Check that a dumped model has the current knots.

    Raises:
        ValueError: if a feature had other knots.
    """
    for name, shape in zip(state["features"], state["knots"], strict=True):
        if name in KNOTS and shape != shape_of(name):
            raise ValueError(f"{name} had other knots when this was learnt: score it with the forewarn that learnt it")
