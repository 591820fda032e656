"""Toxicity scorers: detection of a shift in values between a scorer's new version and the version before it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from detectors.monitoring.bins import BINS, SHIFTED, bin_of, stability

WINDOW = 512
"""Values of a version that are compared with as many values of the version before it."""
SCORERS = 32
"""Maximum number of tracked scorers. One that has filled a window stays, so made-up names cannot displace it."""
VERSIONS = 8
"""Maximum number of tracked versions of a scorer."""


class Scored(NamedTuple):
    """A scorer's result on a sampled message."""

    scorer: str
    version: str
    value: float


def looked_at(seq: int) -> bool:
    """Return whether a message's results are in the sample of one in eight, by the hash of its log position."""
    return seq * 0x9E3779B1 & 0xFFFFFFFF < 2**29


class ScoredBatch(NamedTuple):
    """Results in log order."""

    results: list[Scored]


class _Version:
    """Binned values of a version: its latest full window, None before the first, and the window being filled."""

    __slots__ = ("filling", "full", "size")

    def __init__(self, full: list[int] | None = None, filling: list[int] | None = None) -> None:
        self.full = full
        self.filling = [0] * len(BINS) if filling is None else filling
        self.size = sum(self.filling)


class _Scorer:
    """The versions of a scorer, the most recently seen last, and the version that filled a window last."""

    __slots__ = ("last", "versions")

    def __init__(self, last: str | None = None, versions: dict[str, _Version] | None = None) -> None:
        self.last = last
        self.versions = {} if versions is None else versions


class Scorers:
    """The tracked scorers. A version is compared once, when its first window is full."""

    def __init__(self) -> None:
        self._scorers: dict[str, _Scorer] = {}

    def take(self, results: list[Scored]) -> list[tuple[str, bool]]:
        """Add results in order; return the scorers whose new version was compared, and whether its values shifted."""
        compared: list[tuple[str, bool]] = []
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
                    compared.append((name, bool(stability(np.array(before), np.array(known.filling)) >= SHIFTED)))
                known.full, known.filling, known.size = known.filling, [0] * len(BINS), 0
                scorer.last = version
        return compared

    def _scorer(self, name: str) -> _Scorer | None:
        """Return the scorer of a name, marked as most recently seen; None if no tracked scorer may be evicted."""
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
        """Return the state as plain data."""
        return [
            (name, scorer.last, [(version, v.full, v.filling) for version, v in scorer.versions.items()])
            for name, scorer in self._scorers.items()
        ]

    def restore(self, state: list[Any]) -> None:
        """Restore a state."""
        self._scorers = {
            name: _Scorer(last, {version: _Version(full, filling) for version, full, filling in versions})
            for name, last, versions in state
        }
