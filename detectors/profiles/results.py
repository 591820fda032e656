"""What a user's events come to: items for the user's lane, and lessons for the learners."""

from __future__ import annotations

from typing import NamedTuple

from detectors.base.points import DecisionPoint, Example
from detectors.base.vectors import Vector
from detectors.labels.reservoir import Change, Turn
from detectors.profiles.user import EventResult
from schemas.records.base import Position


class Erasure(NamedTuple):
    """A user is to be forgotten, in turn with the points around it."""

    user_id: str
    as_of: int
    at: Position


class Outcome(NamedTuple):
    """A user escalated, or an escalation was overturned: what warnings are measured against.

    `as_of` is when the user escalated, or the time of the reversal. `cause` tells the user's escalations apart: an
    overturned one has the `cause` of the one it takes back, which was at `escalated_at` (ms) and place `escalated_seq`.
    """

    user_id: str
    as_of: int
    kind: Change
    at: Position
    cause: int = -1
    escalated_at: int = -1
    escalated_seq: int = -1


LaneItem = DecisionPoint | Erasure | Outcome
"""What reaches a lane of its users, each user's items in the order of the log."""


def cause_of(outcome: Outcome) -> str:
    """Return what tells an escalation from others of its user: the hash of the event that completed it, and when."""
    return f"{outcome.cause:016x}-{outcome.escalated_at}"


class TrackedPoint(NamedTuple):
    """A decision point whose score goes into the track record: as of when (ms), and the vector as served."""

    as_of: int
    vector: Vector


class TrainingEvent(NamedTuple):
    """What one event teaches: its place in the source partition, and the examples it made known.

    `time` is the event time, or -1 where the record was no event. `erased` says that the user asked to be forgotten:
    from there on the learner holds nothing that names them. What their earlier events taught stays in the weights.
    Where a track record is kept, `asked` is the decision point the event made, and `turns` are the escalations it made
    or overturned.
    """

    partition: int
    seq: int
    user_id: str
    time: int
    examples: tuple[Example, ...]
    erased: bool
    asked: TrackedPoint | None = None
    turns: tuple[Turn, ...] = ()


def training_event_of(step: EventResult, tracked_from: int | None = None) -> TrainingEvent:
    """What a user's step teaches; `tracked_from` is the number of events from which points go into the track record."""
    _, partition, _, seq = step.at
    point, erased = step.point, step.outcome == "erased"
    if tracked_from is None:
        # no frame of Python, as calling the class would make; there is one for every event
        plain = (partition, seq, step.user_id, step.time, step.examples, erased, None, ())
        return tuple.__new__(TrainingEvent, plain)
    asked = TrackedPoint(point.as_of, point.vector) if point is not None and point.events >= tracked_from else None
    return TrainingEvent(partition, seq, step.user_id, step.time, step.examples, erased, asked, step.turns)


def outcomes_of(step: EventResult) -> list[Outcome]:
    """Return the outcomes of a user's step, in order."""
    found = []
    for kind, cause, time, seq in step.turns:
        as_of = time if kind == "escalated" else step.time
        found.append(Outcome(step.user_id, as_of, kind, step.at, cause, time, seq))
    return found
