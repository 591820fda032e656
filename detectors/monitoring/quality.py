"""Live evaluation of one lane: its points and warnings until their labels are mature, and its drift."""

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
from detectors.policy.policy import Policy
from detectors.profiles.results import Outcome
from schemas.records.base import Position
from schemas.records.decisions import Tier

SAMPLE = KEYS // 16
"""Decision points with a lower key are looked at: one in 16, so that a window is not some users' busy hour."""
POINTS = 2048
"""Sampled points that wait in a lane, at most."""
WARNINGS = 2048
"""Warnings that wait in a lane, at most."""
USERS = 64
"""Users by whose times a partition's clock goes, at most: a lane has many partitions, and its state is to be small."""
MILLION = 1_000_000

Counts = dict[str, Counter[str]]
"""What was measured: by the name of the count and its label. Counts of different lanes and times may be added up."""


def keys_of(seqs: Iterable[int]) -> list[int]:
    """Keys of places in the log: their hashes by the golden ratio (Knuth), which spread any stretch evenly.

    >>> keys_of(range(3))
    [0, 10368889, 3960563]
    """
    return [seq * 0x9E3779B97F4A7C15 >> 40 & KEYS - 1 for seq in seqs]


def row_of(at: Position) -> int:
    """Return what tells a record: its topic and offset. All events that a log's row is made into have one.

    >>> row_of(Position("log", 0, 7, 3)) == row_of(Position("log", 0, 7, 4)) != row_of(Position("log", 0, 8, 4))
    True
    """
    return key_of(at.topic) ^ at.offset


class Live:
    """What is measured of one lane. `counts` is what was measured since it was last taken."""

    def __init__(self, policy: Policy) -> None:
        horizon, grace = policy.target.horizon, policy.allowed_lateness
        self.points = Pending(horizon, grace, POINTS, SAMPLE)
        self.warnings = Pending(horizon, grace, WARNINGS)
        self._clocks: dict[int, LogClock] = {}
        self._drift = Drift(len(NUMBERS) + 1)
        self._scorers = Scorers()
        self._counts: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def point(
        self, user_id: str, as_of: int, partition: int, seq: int, key: int, probability: float, row: int = -1
    ) -> None:
        """A sampled decision point was served; with NaN for the probability it only moves the clock.

        `row` tells the record it came of: see `row_of`.
        """
        self._advance(user_id, as_of, partition)
        if probability == probability:  # noqa: PLR0124 - false only for NaN
            self.points.offer(Item(user_id, as_of, partition, seq, key, "", probability, row))

    def warning(self, user_id: str, as_of: int, partition: int, seq: int, key: int, tier: Tier, row: int = -1) -> None:
        """A warning was published that raised a user's tier."""
        self.warnings.offer(Item(user_id, as_of, partition, seq, key, tier.value, 0.0, row))

    def outcome(self, outcome: Outcome) -> None:
        """A user escalated, or an escalation was overturned. What is mature by now is beyond its reach."""
        user_id, as_of, kind, at, cause, _, _ = outcome
        for pending in (self.points, self.warnings):
            if kind == "escalated":
                pending.escalated(user_id, as_of, cause, row_of(at))
            else:
                pending.overturned(user_id, cause)
        self._advance(user_id, as_of, at.partition)

    def erase(self, user_id: str, partition: int) -> None:
        """Forget a user, but for counts."""
        self.points.erase(user_id)
        self.warnings.erase(user_id)
        if partition in self._clocks:
            self._clocks[partition].forget(user_id)

    def rows(self, matrix: Matrix, probabilities: Matrix) -> None:
        """Sampled points, whose vectors begin with the numbers, and their probabilities: looked through for drift."""
        for drifted in self._drift.take(np.column_stack([matrix[:, : len(NUMBERS)], probabilities])):
            self._count("drift_windows", "all", 1)
            for column in drifted:
                self._count("drifts", NUMBERS[column] if column < len(NUMBERS) else "score", 1)

    def scored(self, results: list[Scored]) -> None:
        """Scorers' results, in the order of the log."""
        for scorer, shifted in self._scorers.take(results):
            self._count("scorer_versions", scorer, 1)
            if shifted:
                self._count("scorer_shifts", scorer, 1)

    def _advance(self, user_id: str, time: int, partition: int) -> None:
        """Move a partition's clock, and count what has become mature by it."""
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
        """What was measured since the last call."""
        if not self._counts:
            return {}
        counts, self._counts = self._counts, defaultdict(Counter)
        return dict(counts)

    def _count(self, name: str, label: str, amount: int) -> None:
        self._counts[name][label] += amount

    def state(self) -> dict[str, Any]:
        """Everything as plain data, but for counts, which are taken before."""
        return {
            "points": self.points.state(),
            "warnings": self.warnings.state(),
            "clocks": {partition: clock.state() for partition, clock in self._clocks.items()},
            "features": NUMBERS,
            "drift": self._drift.state(),
            "scorers": self._scorers.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state. Drift begins anew where other features are declared now."""
        self.points.restore(state["points"])
        self.warnings.restore(state["warnings"])
        self._clocks = {partition: LogClock.load(clock, USERS) for partition, clock in state["clocks"].items()}
        if tuple(state["features"]) == NUMBERS:
            self._drift.restore(state["drift"])
        self._scorers.restore(state["scorers"])
