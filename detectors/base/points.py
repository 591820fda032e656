"""What every detector is given and gives back, and the verbs it has.

A detector turns a DecisionPoint into a Score with `score_one`, and, if it learns, consumes Examples with `learn_one`.
The laws every detector obeys are functions in `detectors.checks`.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from detectors.base.vectors import Vector
from schemas.records.base import Position
from schemas.records.decisions import Reason


class DecisionPoint(NamedTuple):
    """The moment a score is due: who, as of when (ms), on what features, because of which event.

    `events` is how many events the user has shown, the triggering one included; `moderation` whether that is a
    moderation event, whose ids are told apart from those of messages.
    """

    user_id: str
    as_of: int
    event_id: str
    vector: Vector
    events: int
    at: Position
    moderation: bool = False


class Origin(NamedTuple):
    """The decision point an example is of: its hash (`point_key`), its as-of time, and when its horizon is over.

    Times are event times in ms. A negative is a label for good only once its horizon is over.
    """

    key: int
    as_of: int
    over_at: int


class Example(NamedTuple):
    """A decision point's vector as served, with a label and a weight.

    `known_at` is the event time (ms) at which the label was known, what `learned_until` is made of. A negative weight
    takes back what was learnt with the same positive weight (an overturned sanction). `origin` is None where it is no
    longer known.
    """

    user_id: str
    known_at: int
    vector: Vector
    label: bool
    weight: float
    origin: Origin | None = None


class Score(NamedTuple):
    """A detector's belief: a probability, or None for *insufficient history*; reasons where asked for."""

    detector: str
    probability: float | None
    reasons: tuple[Reason, ...] = ()


class Detector(Protocol):
    """Anything that turns a decision point into a score."""

    @property
    def name(self) -> str:
        """What reasons and metrics call it."""
        ...

    def score_one(self, point: DecisionPoint) -> Score:
        """The score of one decision point; changes nothing."""
        ...
