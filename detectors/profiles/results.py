"""Results of a user's events: items for the user's lane, and training events for the learners."""

from __future__ import annotations

from typing import NamedTuple

from detectors.base.points import DecisionPoint, Example
from detectors.base.vectors import Vector
from detectors.labels.reservoir import Change, Turn
from detectors.profiles.user import EventResult
from schemas.records.base import Position


class Erasure(NamedTuple):
    """The erasure of a user, in log order with the points around it."""

    user_id: str
    as_of: int
    at: Position


class Outcome(NamedTuple):
    """An escalation of a user, or the reversal of one: the labels that warnings are measured against.

    `as_of` is the time (ms) of the escalation or of the reversal. `cause` identifies the escalation among those of its
    user; a reversal has the `cause` of the escalation that it overturns. That escalation was at `escalated_at` (ms) and
    log position `escalated_seq`.
    """

    user_id: str
    as_of: int
    kind: Change
    at: Position
    cause: int = -1
    escalated_at: int = -1
    escalated_seq: int = -1


LaneItem = DecisionPoint | Erasure | Outcome
"""An input of a lane; each user's items arrive in log order."""


def cause_of(outcome: Outcome) -> str:
    """Return an escalation's identifier for its user: the hash of the event that completed it, and its time."""
    return f"{outcome.cause:016x}-{outcome.escalated_at}"


class TrackedPoint(NamedTuple):
    """A decision point whose score enters the threshold statistics: as-of time (ms), and vector as served."""

    as_of: int
    vector: Vector


class TrainingEvent(NamedTuple):
    """The training data of one event: its position in the source partition, and the examples that it made known.

    `time` is the event time (ms), or -1 if the record was no event. `erased` marks the erasure of the user: from there
    on the learner holds nothing that identifies them, but the effect of their earlier events stays in the weights. If
    threshold statistics are kept, `asked` is the event's decision point, and `turns` are the escalations that it
    completed or overturned.
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
    """Return the training event of an event result.

    `tracked_from` is the number of events from which a user's points enter the threshold statistics, None without them.
    """
    _, partition, _, seq = step.at
    point, erased = step.point, step.outcome == "erased"
    if tracked_from is None:
        # avoids the Python frame of a constructor call, because this runs for every event
        plain = (partition, seq, step.user_id, step.time, step.examples, erased, None, ())
        return tuple.__new__(TrainingEvent, plain)
    asked = TrackedPoint(point.as_of, point.vector) if point is not None and point.events >= tracked_from else None
    return TrainingEvent(partition, seq, step.user_id, step.time, step.examples, erased, asked, step.turns)


def outcomes_of(step: EventResult) -> list[Outcome]:
    """Return the outcomes of an event result, in order."""
    found = []
    for kind, cause, time, seq in step.turns:
        as_of = time if kind == "escalated" else step.time
        found.append(Outcome(step.user_id, as_of, kind, step.at, cause, time, seq))
    return found
