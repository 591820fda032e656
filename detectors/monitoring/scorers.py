"""Toxicity scorers: whether a new version of one says something else than the version before it did."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from detectors.monitoring.bins import BINS, SHIFTED, bin_of, stability

WINDOW = 512
"""Values of a version that are compared with as many of the version before it."""
SCORERS = 32
"""Scorers that are known at a time. One that has filled a window keeps its place, so made-up names cannot take it."""
VERSIONS = 8
"""Versions of a scorer that are known at a time."""


class Scored(NamedTuple):
    """A scorer's result, of the sample that is looked at."""

    scorer: str
    version: str
    value: float


def looked_at(seq: int) -> bool:
    """Whether the results of a message are in the sample, by the hash of its place in the log: one in eight is."""
    return seq * 0x9E3779B1 & 0xFFFFFFFF < 2**29


class ScoredBatch(NamedTuple):
    """Results in the order of the log."""

    results: list[Scored]


class _Version:
    """What a version said: its latest full window, None before it has one, and the window that is filling."""

    __slots__ = ("filling", "full", "size")

    def __init__(self, full: list[int] | None = None, filling: list[int] | None = None) -> None:
        self.full = full
        self.filling = [0] * len(BINS) if filling is None else filling
        self.size = sum(self.filling)


class _Scorer:
    """The versions of a scorer, latest heard of last, and the one that filled a window last."""

    __slots__ = ("last", "versions")

    def __init__(self, last: str | None = None, versions: dict[str, _Version] | None = None) -> None:
        self.last = last
        self.versions = {} if versions is None else versions


class Scorers:
    """The scorers heard of. A version is compared once, when its first window is full."""

    def __init__(self) -> None:
        self._scorers: dict[str, _Scorer] = {}

    def take(self, results: list[Scored]) -> list[tuple[str, bool]]:
        """Take results in their order; the scorers of which a new version was compared, and if its values shifted."""
        told: list[tuple[str, bool]] = []
        for name, version, value in results:
            scorer = self._scorer(name)
            if scorer is None:
                continue
            known = scorer.versions.pop(version, None) or _Version()
            scorer.versions[version] = known
            if len(scorer.versions) > VERSIONS:
                del scorer.versions[next(v for v in scorer.versions if v != scorer.last)]
            known.filling[bin_of(value)] += 1
            known.size += 1
            if known.size == WINDOW:
                before = None if scorer.last is None else scorer.versions[scorer.last].full
                if known.full is None and before is not None:
                    told.append((name, bool(stability(np.array(before), np.array(known.filling)) >= SHIFTED)))
                known.full, known.filling, known.size = known.filling, [0] * len(BINS), 0
                scorer.last = version
        return told

    def _scorer(self, name: str) -> _Scorer | None:
        """The scorer of a name, now heard of last; None where all places are taken for good."""
        scorer = self._scorers.pop(name, None)
        if scorer is None:
            if len(self._scorers) >= SCORERS:
                passing = next((n for n, known in self._scorers.items() if known.last is None), None)
                if passing is None:
                    return None
                del self._scorers[passing]
            scorer = _Scorer()
        self._scorers[name] = scorer
        return scorer

    def state(self) -> list[Any]:
        """Everything as plain data."""
        return [
            (name, scorer.last, [(version, v.full, v.filling) for version, v in scorer.versions.items()])
            for name, scorer in self._scorers.items()
        ]

    def restore(self, state: list[Any]) -> None:
        """Go on from a state."""
        self._scorers = {
            name: _Scorer(last, {version: _Version(full, filling) for version, full, filling in versions})
            for name, last, versions in state
        }
