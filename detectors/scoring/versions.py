"""Selection of the version that may score a point: the newest recent version strictly older than the point."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import pairwise
from math import nan
from typing import Any, NamedTuple

import numpy as np

from detectors.base.vectors import Matrix
from detectors.learning.learner import Published
from detectors.models.catalogue import freeze
from detectors.models.erasure import without_user
from detectors.models.river.trained import Trained
from detectors.models.version import FrozenModel
from detectors.scoring.batch import Batch
from schemas.records.decisions import ModelVersion

Note = str
"""`ok`, `ahead`, `no_version` or `insufficient_history`, as in RiskEvent."""

Choice = tuple[FrozenModel | None, Note]
NO_VERSION: Choice = (None, "no_version")
TOO_YOUNG: Choice = (None, "insufficient_history")


class Run(NamedTuple):
    """Consecutive points of a batch, from `start` up to but not including `stop`, with the same chosen version."""

    model: FrozenModel | None
    note: Note
    start: int
    stop: int


class _Held(NamedTuple):
    plain: dict[str, Any]  # the version's record as plain data
    choice: tuple[FrozenModel, Note]
    partition: int
    seq: int
    until: int  # learned_until, -1 if nothing was learnt
    trained: Trained | None


class Versions:
    """The recent versions of one model, as a lane stores them.

    A version may score a point if it has learnt nothing at or after the point's as-of time and, within the point's own
    partition, was in force at the point's position. The newest of these versions scores the point. Versions from
    beyond a point's position therefore have no effect on it, even if the lane has them already, so batching cannot
    change a score. A point may choose among the `keep` versions that came into force last before it.
    """

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._held: list[_Held] = []
        self._seqs: list[int] = []
        self._dropped = 0

    def hear(self, published: list[Published]) -> None:
        """Add versions, oldest first."""
        for version, partition, seq, trained in published:
            model = freeze(version, trained)
            choice = (model, "ok" if model.ready else "insufficient_history")
            until = -1 if model.learned_until is None else model.learned_until
            self._held.append(_Held(version.model_dump(mode="json"), choice, partition, seq, until, trained))
            self._seqs.append(seq)

    def choose_all(self, batch: Batch, *, one_partition: bool) -> list[Run]:
        """Return `choose` for each point, merged into runs; fast in the common case that many choices are equal."""
        seqs, runs = batch.seqs, list[tuple[Choice, int]]()
        first, last = seqs[0], seqs[-1]
        if len(seqs) == 1:
            return [Run(*self.choose(batch.as_of[0], batch.partitions[0], first, one_partition=one_partition), 0, 1)]
        # between two positions at which a version comes into force, the versions in force are the same
        cuts = {bisect_left(seqs, seq) for seq in self._seqs if first < seq <= last}
        for start, stop in pairwise((0, *sorted(cuts), len(seqs))):
            as_of, partitions = batch.as_of[start:stop], set(batch.partitions[start:stop])
            alike = self._alike(min(as_of), max(as_of), partitions, seqs[start], one_partition=one_partition)
            if alike is not None:
                runs.append((alike, stop))
                continue
            places = zip(as_of, batch.partitions[start:stop], seqs[start:stop], strict=True)
            for row, (time, partition, seq) in enumerate(places, start):
                runs.append((self.choose(time, partition, seq, one_partition=one_partition), row + 1))
        return runs_of(runs)

    def _alike(
        self, earliest: int, latest: int, partitions: set[int], seq: int, *, one_partition: bool
    ) -> Choice | None:
        """Return the choice that all points between two times (ms) share; None if that is not certain.

        The points are in these partitions and at `seq` or later, but before the next version comes into force.
        """
        held = self._held
        newest = bisect_right(self._seqs, seq) if one_partition else len(held)
        for index in range(newest - 1, max(-1, newest - 1 - self._keep), -1):
            _, choice, partition, since, until, _ = held[index]
            waits = since > seq and partition in partitions
            if until < earliest and not waits:
                return choice
            if until < latest and not (waits and len(partitions) == 1):
                return None
        return self._none(newest)

    def choose(self, as_of: int, partition: int, seq: int, *, one_partition: bool) -> Choice:
        """Return the version for a point, or the reason why there is none."""
        held = self._held
        newest = bisect_right(self._seqs, seq) if one_partition else len(held)
        for index in range(newest - 1, max(-1, newest - 1 - self._keep), -1):
            candidate = held[index]
            if candidate.partition == partition and candidate.seq > seq:
                continue
            if candidate.until < as_of:
                return candidate.choice
        return self._none(newest)

    def _none(self, newest: int) -> Choice:
        """Return the choice for a point that no version may score.

        It is `NO_VERSION` if more than `keep` versions were in force, so that a suitable one may have been dropped.
        """
        return NO_VERSION if self._dropped + newest > self._keep else TOO_YOUNG

    def trim(self, reached: int, *, one_partition: bool) -> None:
        """Drop versions that no later point may choose; all points up to position `reached` are scored."""
        newest = bisect_right(self._seqs, reached) if one_partition else len(self._held)
        surplus = newest - self._keep
        if surplus > 0:
            del self._held[:surplus], self._seqs[:surplus]
            self._dropped += surplus

    def forget(self, user: int) -> None:
        """Remove the exemplars of the user with this hash from every version."""
        for place, held in enumerate(self._held):
            version = ModelVersion.model_validate(held.plain)
            if (without := without_user(version, user)) is not version:
                model = freeze(without, held.trained)
                choice = (model, "ok" if model.ready else "insufficient_history")
                self._held[place] = held._replace(plain=without.model_dump(mode="json"), choice=choice)

    def state(self) -> list[Any]:
        """Return the state as plain data."""
        return [
            self._dropped,
            [[h.plain, h.partition, h.seq] + ([] if h.trained is None else [h.trained.data]) for h in self._held],
        ]

    def restore(self, state: list[Any]) -> None:
        """Restore a state."""
        self._dropped = state[0]
        self.hear(
            [
                Published(ModelVersion.model_validate(record), partition, seq, *map(Trained, trained))
                for record, partition, seq, *trained in state[1]
            ]
        )


def runs_of(chosen: Iterable[tuple[Choice, int]]) -> list[Run]:
    """Return the longest runs of equal choices; each choice comes with the row before which it ends."""
    runs: list[Run] = []
    start = end = 0
    last: Choice | None = None
    for choice, stop in chosen:
        if last is not None and choice is not last:
            runs.append(Run(*last, start, end))
            start = end
        last, end = choice, stop
    if last is not None:
        runs.append(Run(*last, start, end))
    return runs


def probabilities_of(batch: Batch, runs: list[Run]) -> Matrix:
    """Return each point's probability by the version chosen for it; NaN without a version."""
    model = runs[0].model
    if len(runs) == 1 and model is not None:  # the common case
        return model.score(batch.columns, batch.users)
    rows: dict[FrozenModel, list[int]] = {}
    for model, _, start, stop in runs:
        if model is not None:
            rows.setdefault(model, []).extend(range(start, stop))
    values = np.full(len(batch), nan)
    for model, indexes in rows.items():
        values[indexes] = model.score(batch.columns.take(indexes, axis=1), [batch.users[row] for row in indexes])
    return values
