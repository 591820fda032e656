"""Drift of model inputs and outputs: the stability index of each column's latest window against a reference window.

River's detectors are not used. ADWIN keeps its window in compiled buckets that can be neither read nor set, so it can
be snapshot only as a pickle. KSWIN holds a random generator. Page-Hinkley detects only changes of the mean, with a
threshold in units of the feature. The stability index detects any change of shape, has no unit, and its state is
counts. As in River, a column that drifted restarts from its new distribution.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.base.vectors import Matrix
from detectors.monitoring.bins import SHIFTED, Counts, stability

WINDOW = 512
"""Rows in a window. Without a change, the index of a column is near 0.04, far below `SHIFTED`."""
BINS = 10
"""Bins of a column, split at the deciles of its reference; one more bin is for absent values."""

Rows = NDArray[np.float32]


class Drift:
    """Column-wise comparison of windows of rows. Windows are cut by row count, so batching has no effect."""

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._held: list[Rows] = []
        self._number = 0
        self._edges: Rows | None = None
        self._reference: Counts = np.zeros((columns, BINS + 1), np.int64)

    def take(self, rows: Matrix) -> list[list[int]]:
        """Add rows, NaN where absent; return the columns that drifted, one list for each compared window."""
        windows = []
        # single precision is enough for deciles, and halves the size of a snapshot
        self._held.append(rows.astype(np.float32))
        self._number += len(rows)
        while self._number >= WINDOW:
            held = np.concatenate(self._held)
            self._held, self._number = [held[WINDOW:]], self._number - WINDOW
            drifted = self._compare(held[:WINDOW])
            if drifted is not None:
                windows.append(drifted)
        return windows

    def _compare(self, window: Rows) -> list[int] | None:
        """Return the columns that differ from the reference; None for the first window, which becomes the reference."""
        if self._edges is None:
            self._edges = _deciles(window)
            self._reference = _counts(window, self._edges)
            return None
        drifted = np.flatnonzero(stability(self._reference, _counts(window, self._edges)) >= SHIFTED)
        if len(drifted):
            self._edges[:, drifted] = _deciles(window[:, drifted])
            self._reference[drifted] = _counts(window[:, drifted], self._edges[:, drifted])
        columns: list[int] = drifted.tolist()
        return columns

    def state(self) -> dict[str, Any]:
        """Return the state as plain data."""
        return {
            "columns": self._columns,
            "rows": b"".join([rows.tobytes() for rows in self._held]),
            "edges": None if self._edges is None else self._edges.tobytes(),
            "reference": self._reference.tobytes(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state; ignore one with a different number of columns."""
        if state["columns"] != self._columns:
            return
        self._held = [np.frombuffer(state["rows"], np.float32).reshape(-1, self._columns)]
        self._number = len(self._held[0])
        edges = state["edges"]
        self._edges = None if edges is None else np.frombuffer(edges, np.float32).reshape(-1, self._columns).copy()
        self._reference = np.frombuffer(state["reference"], np.int64).reshape(self._columns, -1).copy()


def _deciles(window: Rows) -> Rows:
    """Return the inner deciles of each column, shape (BINS - 1, columns); infinity for a column without values."""
    ordered = np.sort(window, axis=0)  # NaN sorts last
    present = np.count_nonzero(~np.isnan(window), axis=0)
    places = np.maximum(np.ceil(np.arange(1, BINS)[:, None] / BINS * present).astype(np.int64) - 1, 0)
    edges: Rows = np.where(present > 0, np.take_along_axis(ordered, places, axis=0), np.inf).astype(np.float32)
    return edges


def _counts(window: Rows, edges: Rows) -> Counts:
    """Return the number of values in each bin, shape (columns, BINS + 1); the last bin counts absent values."""
    columns = window.shape[1]
    placed = np.zeros(window.shape, np.int64)
    for edge in edges:
        placed += window > edge
    placed[np.isnan(window)] = BINS
    flat = placed + np.arange(columns) * (BINS + 1)
    counts: Counts = np.bincount(flat.ravel(), minlength=columns * (BINS + 1)).reshape(columns, BINS + 1)
    return counts
