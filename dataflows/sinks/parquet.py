"""A sink for decision points as served: one Parquet row each, in log order."""

from __future__ import annotations

from bisect import bisect_left
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dataflows.sinks.memory import MemorySink
from detectors.base.vectors import Matrix
from detectors.scoring.served import ServedBatch
from schemas.records.base import Position

ROWS = 65_536
"""Rows in a row group."""
REPEATED = ["user_id", "tier", "model_version"]
"""Columns with dictionary encoding; to try it on columns of doubles is wasted work."""


class FeatureTable(MemorySink[ServedBatch]):
    """Sink that stores served points column by column, for `table`.

    A million points take about 0.4 GB with 32 features, which is the memory a replay needs beyond its profiles.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self._names = names
        self._seqs: list[int] = []
        self._offsets: list[int] = []
        self._records: tuple[list[int], list[int]] = [], []  # log positions, and the offsets of their records, in order
        self._users: list[str] = []
        self._as_of: list[int] = []
        self._event_ids: list[str] = []
        self._scores: list[Matrix] = []
        self._tiers: list[str] = []
        self._versions: list[str] = []
        self._shadows: list[Matrix] = []
        self._vectors: list[Matrix] = []

    def keep(self, items: list[ServedBatch]) -> None:
        """Store batches of served points."""
        with self._lock:
            for served in items:
                users, as_of, event_ids, _, _, places, _ = zip(*served.points, strict=True)
                self._seqs.extend([seq for _, _, _, seq in places])
                self._offsets.extend([offset for _, _, offset, _ in places])
                self._users.extend(users)
                self._as_of.extend(as_of)
                self._event_ids.extend(event_ids)
                self._tiers.extend(served.tiers)
                self._versions.extend(served.versions)
                self._vectors.append(served.matrix)
                self._scores.append(served.probabilities)
                self._shadows.append(served.shadows)

    @property
    def places(self) -> NDArray[np.int64]:
        """Return the points' log positions, row by row."""
        return np.sort(np.array(self._seqs, dtype=np.int64))

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Return the offsets of the points' records, row by row."""
        order = np.argsort(np.array(self._seqs, dtype=np.int64), kind="stable")
        return np.array(self._offsets, dtype=np.int64)[order]

    def record_of(self, at: Position) -> int:
        """Return the first log position of the events made from the record at `at`.

        Only events that became points are considered; without an earlier one, the result is the position `at` itself.
        """
        if len(self._records[0]) != len(self._seqs):
            self._records = self.places.tolist(), self.offsets.tolist()
        places, offsets = self._records
        row = bisect_left(places, at.seq)
        while row and offsets[row - 1] == at.offset:
            row -= 1
        return min(at.seq, places[row]) if row < len(places) else at.seq

    def table(self, challengers: tuple[str, ...]) -> tuple[pa.Table, pa.Table]:
        """Return all points in log order, as two tables: as the champion served them, and the challengers' scores."""
        order = np.argsort(np.array(self._seqs, dtype=np.int64), kind="stable")
        take = pa.array(order)

        def column(values: list[str]) -> pa.Array:
            return pa.array(values, pa.string()).take(take)

        scores = np.concatenate([np.empty(0), *self._scores])[order]
        columns = np.empty((len(self._names), len(order)))
        filled = 0
        for matrix in self._vectors:  # batch by batch, because a matrix this large is slow to transpose at once
            columns[:, filled : filled + len(matrix)] = matrix.T
            filled += len(matrix)
        if not np.array_equal(order, np.arange(len(order))):
            columns = columns[:, order]
        identity = {
            "user_id": column(self._users),
            "as_of": pa.array(np.array(self._as_of, dtype=np.int64)[order], pa.timestamp("ms", tz="UTC")),
            "event_id": column(self._event_ids),
            "seq": pa.array(np.array(self._seqs, dtype=np.int64)[order]),
        }
        served = {
            **identity,
            "score": pa.array(scores, pa.float64(), from_pandas=True),
            "insufficient_history": pa.array(np.isnan(scores)),
            "tier": column(self._tiers),
            "model_version": column(self._versions),
        }
        for index, name in enumerate(self._names):
            served[name] = pa.array(columns[index], pa.float64(), from_pandas=True)
        shadows = dict(identity)
        for index, name in enumerate(challengers):
            values = np.concatenate([np.empty(0), *(shadow[index] for shadow in self._shadows)])[order]
            shadows[name] = pa.array(values, pa.float64(), from_pandas=True)
        return pa.table(served), pa.table(shadows)


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table so that the same rows always give the same bytes."""
    pq.write_table(table, path, row_group_size=ROWS, compression="zstd", use_dictionary=REPEATED, store_schema=False)
