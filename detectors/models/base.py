"""The protocols of models: scoring, online learning, and their optional extensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from schemas.records.decisions import Exemplar, Reason

if TYPE_CHECKING:
    from detectors.features.selection import FeatureSelection
    from detectors.models.river.trained import Trained
from detectors.base.points import DecisionPoint, Example
from detectors.base.vectors import Matrix, Row


class Scorer(Protocol):
    """A frozen model version: it scores batches and explains single points, and never learns.

    A row's probability is bitwise independent of the other rows in the batch.
    """

    def probabilities(self, matrix: Matrix, users: Sequence[str] = ()) -> Matrix:
        """Return calibrated probabilities, one per row; NaN where history is insufficient.

        `users` are the rows' users, if known, so that no user is compared with their own exemplars.
        """
        ...

    def explain(self, point: DecisionPoint, most: int) -> tuple[Reason, ...]:
        """Return at most `most` features that moved the score most, with raw counters and contributions in log-odds."""
        ...

    def exemplars(self, point: DecisionPoint, most: int) -> tuple[Exemplar, ...]:
        """Return at most `most` escalated exemplars, the most similar first; empty if the model stores none."""
        ...


class OnlineModel(Protocol):
    """A model that learns example by example and is published as data."""

    family: str
    reads: FeatureSelection

    def class_weight(self, asked: float) -> float:
        """Return the weight of a positive relative to a negative in learning; `asked` is the policy's weight."""
        ...

    def score_one(self, row: Row, example: Example) -> float:
        """Return an example's log-odds as a version made now would; NaN if it cannot be scored.

        Scoring does not change the model's state.
        """
        ...

    def learn_one(self, row: Row, example: Example) -> None:
        """Learn one example: its row, label and weight. The row is neither stored nor modified."""
        ...

    def dump(self) -> dict[str, Any]:
        """Return the full model state as plain data."""
        ...

    def load(self, state: dict[str, Any]) -> None:
        """Replace the model's state with a dumped one."""
        ...


@runtime_checkable
class StoresExamples(Protocol):
    """Extra methods of models that store examples: expiry by time and erasure."""

    def advance(self, now: int) -> bool:
        """Advance the model's clock to event time `now` (ms); return whether that changes its scores."""
        ...

    def forget(self, user_id: str) -> bool:
        """Erase everything that names the user or holds their vector; return whether the published state changes."""
        ...


@runtime_checkable
class PublishesSubset(Protocol):
    """A model whose published state is smaller than its training state."""

    def publish(self) -> dict[str, Any]:
        """Return the part of the dump that scoring needs."""
        ...


@runtime_checkable
class PublishesTrained(Protocol):
    """A model whose versions score with a trained object, which no topic carries, beside their published state.

    `stopped` is the reason why the model learns no further; empty if it does.
    """

    stopped: str

    def trained(self) -> Trained:
        """Return a copy of the trained object in its current state."""
        ...


def publisher(model: OnlineModel) -> Callable[[], dict[str, Any]]:
    """Return the function that serialises a model's published state: `publish` if defined, else `dump`."""
    return model.publish if isinstance(model, PublishesSubset) else model.dump
