"""The count of high probabilities that came true."""

from __future__ import annotations

from tests.kit.outputs import outputs
from tools.studies.top import ranges


def test_each_range_counts_its_matured_points_their_users_and_how_often_they_came_true() -> None:
    """A certain point belongs to the highest range; one too near the end of the log to none."""
    points = [(0, 0, 1.0), (1, 1, 1.0), (1, 2, 0.9), (2, 3, 0.1), (0, 99, 1.0), (8, 100, 0.0), (9, 100, 0.0)]
    top, high, middle, low = ranges(outputs(points, {0: [(6, 7)]}))
    assert (top.points, top.users, top.true) == (2, 2, 0.5)
    assert (high.points, high.users, high.true) == (1, 1, 0.0)
    assert (middle.points, middle.true, low.points) == (0, None, 0)
