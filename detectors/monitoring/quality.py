"""Online evaluation of one lane: its points and warnings until their labels are mature, and its drift."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np

from detectors.base.log_clock import LogClock
from detectors.base.vectors import Matrix
from detectors.features.catalogue import NUMBERS
from detectors.features.signals import key_of
from detectors.monitoring.bins import BINS, bin_of
from detectors.monitoring.drift import Drift
from detectors.monitoring.pending import KEYS, Item, Pending
from detectors.monitoring.scorers import Scored, Scorers
from detectors.profiles.results import Outcome
from schemas.records.base import Position
from schemas.records.decisions import Tier

SAMPLE = KEYS // 16
"""Decision points with a lower key are sampled: one in 16, so that a window is not a few users' busy hour."""
POINTS = 2048
"""Maximum number of sampled points that wait in a lane."""
WARNINGS = 2048
"""Maximum number of warnings that wait in a lane."""
USERS = 64
"""Maximum number of users in a partition's clock: a lane has many partitions, and its state must be small."""
MILLION = 1_000_000

Counts = dict[str, Counter[str]]
"""Measurements by the name of the count and its label. Counts of different lanes and times can be summed."""


def keys_of(seqs: Iterable[int]) -> list[int]:
    """Return the keys of log positions: golden-ratio hashes (Knuth), which spread any range evenly.

    >>> keys_of(range(3))
    [0, 10368889, 3960563]
    """
    return [seq * 0x9E3779B97F4A7C15 >> 40 & KEYS - 1 for seq in seqs]


def row_of(at: Position) -> int:
    """Return an identifier of a record, from its topic and offset. All events made from one log row share it.

    >>> row_of(Position("log", 0, 7, 3)) == row_of(Position("log", 0, 7, 4)) != row_of(Position("log", 0, 8, 4))
    True
    """
    return key_of(at.topic) ^ at.offset


class Live:
    """Measurements of one lane: pending points and warnings, drift, and the counts since they were last taken.

    An item matures when its `horizon` and the allowed `lateness` (ms) are over.
    """

    def __init__(self, *, horizon: int, lateness: int) -> None:
        self.points = Pending(horizon, lateness, POINTS, SAMPLE)
        self.warnings = Pending(horizon, lateness, WARNINGS)
        self._clocks: dict[int, LogClock] = {}
        self._drift = Drift(len(NUMBERS) + 1)
        self._scorers = Scorers()
        self._counts: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def point(
        self, user_id: str, as_of: int, partition: int, seq: int, key: int, probability: float, row: int = -1
    ) -> None:
        """Add a sampled decision point that was served; NaN as probability only advances the clock.

        `row` identifies the record that the point came from: see `row_of`.
        """
        self._advance(user_id, as_of, partition)
        if probability == probability:  # noqa: PLR0124 - false only for NaN
            self.points.offer(Item(user_id, as_of, partition, seq, key, "", probability, row))

    def warning(self, user_id: str, as_of: int, partition: int, seq: int, key: int, tier: Tier, row: int = -1) -> None:
        """Add a published warning that raised a user's tier."""
        self.warnings.offer(Item(user_id, as_of, partition, seq, key, tier.value, 0.0, row))

    def outcome(self, outcome: Outcome) -> None:
        """Record an escalation or a reversal on the pending items. Items that are already mature are not affected."""
        user_id, as_of, kind, at, cause, _, _ = outcome
        for pending in (self.points, self.warnings):
            if kind == "escalated":
                pending.escalated(user_id, as_of, cause, row_of(at))
            else:
                pending.overturned(user_id, cause)
        self._advance(user_id, as_of, at.partition)

    def erase(self, user_id: str, partition: int) -> None:
        """Erase a user from everything but the counts."""
        self.points.erase(user_id)
        self.warnings.erase(user_id)
        if partition in self._clocks:
            self._clocks[partition].forget(user_id)

    def rows(self, matrix: Matrix, probabilities: Matrix) -> None:
        """Check sampled points for drift: their probabilities, and the numeric features that begin each vector."""
        for drifted in self._drift.take(np.column_stack([matrix[:, : len(NUMBERS)], probabilities])):
            self._count("drift_windows", "all", 1)
            for column in drifted:
                self._count("drifts", NUMBERS[column] if column < len(NUMBERS) else "score", 1)

    def scored(self, results: list[Scored]) -> None:
        """Add results of toxicity scorers, in log order."""
        for scorer, shifted in self._scorers.take(results):
            self._count("scorer_versions", scorer, 1)
            if shifted:
                self._count("scorer_shifts", scorer, 1)

    def _advance(self, user_id: str, time: int, partition: int) -> None:
        """Advance a partition's clock, and count the items that become mature."""
        clock = self._clocks.get(partition)
        if clock is None:
            clock = self._clocks[partition] = LogClock(USERS)
        before = clock.now
        clock.advance(user_id, time)
        if clock.now == before:
            return
        for item, positive in self.points.mature(partition, clock.now):
            label = BINS[bin_of(item.value)]
            self._count("matured_points", label, 1)
            self._count("matured_probability_millionths", label, round(item.value * MILLION))
            self._count("matured_positives", label, int(positive))
        for item, positive in self.warnings.mature(partition, clock.now):
            self._count("matured_warnings", item.label, 1)
            self._count("matured_right", item.label, int(positive))

    def take(self) -> Counts:
        """Return the counts since the last call."""
        if not self._counts:
            return {}
        counts, self._counts = self._counts, defaultdict(Counter)
        return dict(counts)

    def _count(self, name: str, label: str, amount: int) -> None:
        self._counts[name][label] += amount

    def state(self) -> dict[str, Any]:
        """Return the state as plain data, without the counts, which are taken before a snapshot."""
        return {
            "points": self.points.state(),
            "warnings": self.warnings.state(),
            "clocks": {partition: clock.state() for partition, clock in self._clocks.items()},
            "features": NUMBERS,
            "drift": self._drift.state(),
            "scorers": self._scorers.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state. Drift detection restarts if the declared features have changed."""
        self.points.restore(state["points"])
        self.warnings.restore(state["warnings"])
        self._clocks = {partition: LogClock.load(clock, USERS) for partition, clock in state["clocks"].items()}
        if tuple(state["features"]) == NUMBERS:
            self._drift.restore(state["drift"])
        self._scorers.restore(state["scorers"])
