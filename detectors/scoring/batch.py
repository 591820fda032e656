"""Batches of decision points that are scored together, column by column."""

from __future__ import annotations

from collections.abc import Sequence

from detectors.base.points import DecisionPoint
from detectors.base.vectors import matrix_from
from detectors.features.selection import columns_of
from detectors.profiles.results import LaneItem


class Batch:
    """At least one decision point, in log order, with the readings of all versions computed once.

    `matrix` holds the points' vectors as rows, shape (points, features). `columns` holds the readings, shape (features,
    points): see `columns_of`.
    """

    __slots__ = ("as_of", "columns", "events", "matrix", "partitions", "points", "seqs", "users")

    def __init__(self, points: Sequence[DecisionPoint]) -> None:
        self.points = points
        self.users, self.as_of, _, vectors, self.events, places, _ = zip(*points, strict=True)
        _, self.partitions, _, self.seqs = zip(*places, strict=True)
        self.matrix = matrix_from(vectors)
        self.columns = columns_of(self.matrix)

    def __len__(self) -> int:
        return len(self.points)


def between(due: list[LaneItem], points: int) -> dict[int, list[LaneItem]]:
    """Group erasures and outcomes by the index of the decision point they precede."""
    found: dict[int, list[LaneItem]] = {}
    if len(due) > points:
        row = 0
        for item in due:
            if isinstance(item, DecisionPoint):
                row += 1
            else:
                found.setdefault(row, []).append(item)
    return found
