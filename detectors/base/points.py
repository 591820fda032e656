"""Inputs, outputs and interface of detectors: decision points, examples and scores.

A detector turns a DecisionPoint into a Score with `score_one`. If it learns, it consumes Examples with `learn_one`.
`detectors.checks` has the checks that every detector passes.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from detectors.base.vectors import Vector
from schemas.records.base import Position
from schemas.records.decisions import Reason


class DecisionPoint(NamedTuple):
    """The moment a score is due: a user, an as-of time (ms), a feature vector and the triggering event.

    `events` is the number of the user's events so far, the triggering one included. `moderation` is true if that one is
    a moderation event; ids of moderation events and of messages are separate.
    """

    user_id: str
    as_of: int
    event_id: str
    vector: Vector
    events: int
    at: Position
    moderation: bool = False


class Origin(NamedTuple):
    """The decision point of an example: its hash (`point_key`), its as-of time, and the end of its horizon.

    Times are event times in ms. A negative label is final only after the end of the horizon.
    """

    key: int
    as_of: int
    over_at: int


class Example(NamedTuple):
    """A decision point's vector as served, with a label and a weight.

    `known_at` is the event time (ms) at which the label was known; `learned_until` is computed from it. A negative
    weight takes back what was learnt with the same positive weight (an overturned sanction). `origin` is None if it is
    no longer stored.
    """

    user_id: str
    known_at: int
    vector: Vector
    label: bool
    weight: float
    origin: Origin | None = None


class Score(NamedTuple):
    """The result of a detector: a probability, or None for *insufficient history*; reasons if requested."""

    detector: str
    probability: float | None
    reasons: tuple[Reason, ...] = ()


class Detector(Protocol):
    """The interface of everything that turns a decision point into a score."""

    @property
    def name(self) -> str:
        """Return the detector's name in reasons and metrics."""
        ...

    def score_one(self, point: DecisionPoint) -> Score:
        """Return the score of one decision point, without changing any state."""
        ...
