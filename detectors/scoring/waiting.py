"""Conversion of a lane's waiting items to plain data and back."""

from __future__ import annotations

from typing import Any

from detectors.base.points import DecisionPoint
from detectors.features.upgrade import stored_vector
from detectors.profiles.results import Erasure, LaneItem, Outcome
from schemas.records.base import Position


def plain(item: LaneItem) -> tuple[int, tuple[Any, ...]]:
    """Return the kind of an item (0: point, 1: erasure, 2: outcome), and its fields as plain data."""
    if isinstance(item, DecisionPoint):
        return 0, (*item[:3], item.vector.tobytes(), *item[4:])
    return (1 if isinstance(item, Erasure) else 2), tuple(item)


def item_of(kind: int, fields: list[Any]) -> LaneItem:
    """Return the item for the output of `plain`; version 1 had no outcomes, and used false and true for 0 and 1.

    Before version 4, a point did not contain whether its event was moderation, nor an outcome the identity of its
    escalation.
    """
    if kind == 0:
        vector, at, moderation = stored_vector(fields[3]), Position(*fields[5]), fields[6:] or (False,)
        return DecisionPoint._make((*fields[:3], vector, fields[4], at, *moderation))
    if kind == 1:
        return Erasure._make((*fields[:2], Position(*fields[2])))
    return Outcome._make((*fields[:3], Position(*fields[3]), *(fields[4:] or (-1, -1, -1))))
