"""What every detector is given and gives back, and the verbs it has.

A detector turns a DecisionPoint into a Score with `score_one`, and, if it learns, consumes Examples with `learn_one`.
The laws every detector obeys are functions in `detectors.checks`.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from struct import pack
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from schemas.records import Exemplar, Position, Reason

if TYPE_CHECKING:
    from detectors.models.version import Reads

Vector: TypeAlias = "array[float]"
"""One value per declared feature, as packed doubles; NaN where absent. It is never changed once made."""
Matrix = NDArray[np.float64]
"""Vectors as rows."""
Row: TypeAlias = list[float]
"""A vector as a model is given it: a value per declared feature, quantities squashed; NaN where absent or not read."""


def vector_from(values: Iterable[float]) -> Vector:
    """A vector of these values."""
    packed = tuple(values)
    return array("d", pack(f"{len(packed)}d", *packed))


def matrix_from(vectors: Sequence[Vector]) -> Matrix:
    """Vectors as the rows of a matrix, at least one of them; packed doubles need only be laid end to end."""
    matrix: Matrix = np.frombuffer(b"".join(vectors)).reshape(len(vectors), -1)
    return matrix


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


class Scorer(Protocol):
    """A frozen model version: scores batches, explains single points, never learns.

    A row's probability does not depend on the rows beside it, to the last bit.
    """

    def probabilities(self, matrix: Matrix, users: Sequence[str] = ()) -> Matrix:
        """Calibrated probabilities, one per row; NaN where history is insufficient.

        `users` are the rows' users, where that is known: nobody is compared with themselves.
        """
        ...

    def explain(self, point: DecisionPoint, most: int) -> tuple[Reason, ...]:
        """The features that moved the score most, with raw counters and contributions in log-odds."""
        ...

    def exemplars(self, point: DecisionPoint, most: int) -> tuple[Exemplar, ...]:
        """The users who escalated that the point is most like, nearest first; none, unless the model keeps any."""
        ...


class OnlineModel(Protocol):
    """A model that learns example by example and is published as data."""

    family: str
    reads: Reads

    def class_weight(self, asked: float) -> float:
        """What a positive weighs against a negative in what this model learns, when `asked` is the policy's wish."""
        ...

    def score_one(self, row: Row, example: Example) -> float:
        """Log-odds of an example, as a version made now would give them; NaN where it cannot say. Changes nothing."""
        ...

    def learn_one(self, row: Row, example: Example) -> None:
        """Learn one example: the row of its vector, its label and weight. The row is not kept, nor written on."""
        ...

    def dump(self) -> dict[str, Any]:
        """Everything the model knows as plain data."""
        ...

    def load(self, state: dict[str, Any]) -> None:
        """Become the model that was dumped."""
        ...


@runtime_checkable
class Remembers(Protocol):
    """What a model that keeps examples themselves has to hear of besides: time, and who is to be forgotten."""

    def advance(self, now: int) -> bool:
        """Take in that event time is `now` (ms); whether that changes what it scores."""
        ...

    def forget(self, user_id: str) -> bool:
        """Keep nothing that names the user or holds their vector; whether that changes what it publishes."""
        ...


@runtime_checkable
class Withholds(Protocol):
    """What a model that keeps more than it publishes has besides."""

    def publish(self) -> dict[str, Any]:
        """What of its dump scoring needs."""
        ...


def publisher(model: OnlineModel) -> Callable[[], dict[str, Any]]:
    """What tells what of a model goes into its versions: all that it knows, unless it withholds some of that."""
    return model.publish if isinstance(model, Withholds) else model.dump
