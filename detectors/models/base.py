"""The protocols of models: scoring, online learning, and their optional extensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from schemas.records.decisions import Exemplar, Reason

if TYPE_CHECKING:
    from detectors.features.selection import FeatureSelection
from detectors.base.points import DecisionPoint, Example
from detectors.base.vectors import Matrix, Row


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
    reads: FeatureSelection

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
class StoresExamples(Protocol):
    """What a model that keeps examples themselves has to hear of besides: time, and who is to be forgotten."""

    def advance(self, now: int) -> bool:
        """Take in that event time is `now` (ms); whether that changes what it scores."""
        ...

    def forget(self, user_id: str) -> bool:
        """Keep nothing that names the user or holds their vector; whether that changes what it publishes."""
        ...


@runtime_checkable
class PublishesSubset(Protocol):
    """What a model that keeps more than it publishes has besides."""

    def publish(self) -> dict[str, Any]:
        """What of its dump scoring needs."""
        ...


def publisher(model: OnlineModel) -> Callable[[], dict[str, Any]]:
    """What tells what of a model goes into its versions: all that it knows, unless it withholds some of that."""
    return model.publish if isinstance(model, PublishesSubset) else model.dump
