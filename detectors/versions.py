"""Which version may score which point: the newest that is strictly older than it, among the recent ones kept."""

from __future__ import annotations

from bisect import bisect_right
from math import nan
from typing import Any, NamedTuple

import numpy as np

from detectors.contract import DecisionPoint, Matrix
from detectors.learn import Published
from detectors.models.catalogue import freeze
from detectors.models.version import FrozenModel
from schemas.records import ModelVersion

Note = str
"""`ok`, `ahead`, `no_version` or `insufficient_history`, as in RiskEvent."""

Choice = tuple[FrozenModel | None, Note]


class _Held(NamedTuple):
    record: ModelVersion
    choice: tuple[FrozenModel, Note]
    partition: int
    seq: int
    until: int  # learned_until, -1 where nothing was learnt


class Versions:
    """The recent versions of one model, as a lane keeps them.

    A version may score a point if it has learnt nothing at or after the point's as-of time and, within the point's
    own partition, was in force at the point's position. Of those the newest scores. What a lane has heard beyond a
    point's position is thereby without effect on it, so batching cannot change a score. A point may choose among the
    `keep` versions in force latest before it.
    """

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._held: list[_Held] = []
        self._seqs: list[int] = []
        self._dropped = 0

    def hear(self, published: list[Published]) -> None:
        """Take in versions, oldest first."""
        for version, partition, seq in published:
            model = freeze(version)
            choice = (model, "ok" if model.ready else "insufficient_history")
            until = -1 if model.learned_until is None else model.learned_until
            self._held.append(_Held(version, choice, partition, seq, until))
            self._seqs.append(seq)

    def choose_all(self, points: list[DecisionPoint], *, one_partition: bool) -> list[Choice]:
        """`choose` for each point; quick where, as nearly always, the newest version in force is old enough.

        With `one_partition` the points are in the order of the log.
        """
        held, seqs, most = self._held, self._seqs, len(self._held)
        newest = bisect_right(seqs, points[0].at.seq) if one_partition else most
        chosen: list[Choice] = []
        for _, as_of, _, _, _, (_, partition, _, seq) in points:
            if one_partition:
                while newest < most and seqs[newest] <= seq:
                    newest += 1
            if newest:
                candidate = held[newest - 1]
                if candidate.until < as_of and (
                    one_partition or candidate.partition != partition or candidate.seq <= seq
                ):
                    chosen.append(candidate.choice)
                    continue
            chosen.append(self.choose(as_of, partition, seq, one_partition=one_partition))
        return chosen

    def choose(self, as_of: int, partition: int, seq: int, *, one_partition: bool) -> Choice:
        """The version for a point and, if there is none, why."""
        held = self._held
        newest = bisect_right(self._seqs, seq) if one_partition else len(held)
        for index in range(newest - 1, max(-1, newest - 1 - self._keep), -1):
            candidate = held[index]
            if candidate.partition == partition and candidate.seq > seq:
                continue
            if candidate.until < as_of:
                return candidate.choice
        forgotten = self._dropped + newest > self._keep
        return None, "no_version" if forgotten else "insufficient_history"

    def trim(self, reached: int, *, one_partition: bool) -> None:
        """Drop what no later point may choose, `reached` being the position all points up to are scored."""
        newest = bisect_right(self._seqs, reached) if one_partition else len(self._held)
        surplus = newest - self._keep
        if surplus > 0:
            del self._held[:surplus], self._seqs[:surplus]
            self._dropped += surplus

    def state(self) -> list[Any]:
        """Everything as plain data."""
        return [self._dropped, [[h.record.model_dump(mode="json"), h.partition, h.seq] for h in self._held]]

    def restore(self, state: list[Any]) -> None:
        """Go on from a state."""
        self._dropped = state[0]
        self.hear(
            [Published(ModelVersion.model_validate(record), partition, seq) for record, partition, seq in state[1]]
        )


def probabilities_of(points: list[DecisionPoint], matrix: Matrix, chosen: list[Choice]) -> Matrix:
    """Each row scored by the version chosen for it; NaN without one."""
    first, _ = chosen[0]
    if first is not None and all(model is first for model, _ in chosen):  # as nearly always
        return first.probabilities(matrix, [point.user_id for point in points])
    values = np.full(len(matrix), nan)
    rows: dict[FrozenModel, list[int]] = {}
    for row, (model, _) in enumerate(chosen):
        if model is not None:
            rows.setdefault(model, []).append(row)
    for model, indexes in rows.items():
        values[indexes] = model.probabilities(matrix[indexes], [points[row].user_id for row in indexes])
    return values
