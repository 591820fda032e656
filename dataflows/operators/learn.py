"""Learn: trains every model on the same training events, under a key of its own, and updates the lanes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import bytewax.operators as op
from bytewax.dataflow import Stream, operator
from bytewax.operators import StatefulBatchLogic

from detectors.base.state import pack, unpack
from detectors.learning.learner import STATE_VERSION, Learner
from detectors.models.catalogue import new_model
from detectors.models.track_record import TrackRecord
from detectors.policy.policy import Policy
from detectors.profiles.results import TrainingEvent
from detectors.scoring.shard import ModelUpdate
from schemas.records.rejects import Reject

log = logging.getLogger(__name__)


class TrainingEvents(NamedTuple):
    """A batch of training events for one model."""

    model: str
    events: list[TrainingEvent]


def track_record_of(policy: Policy) -> TrackRecord:
    """Return an empty track record for a policy."""
    return TrackRecord(
        horizon=policy.target.horizon,
        expiry=policy.warnings.expiry,
        memory=policy.promises.memory,
        lowest=policy.lowest_threshold,
    )


def learner_of(policy: Policy, model: str) -> Learner:
    """Return a new learner of one of a policy's models, with a track record if any decision depends on it."""
    track = track_record_of(policy) if policy.tracked else None
    return Learner(model, policy.learning_of(model), track, partial(new_model, model, policy))


class LearnLogic(StatefulBatchLogic[TrainingEvents, ModelUpdate, bytes]):
    """One model's learner, created when its first training events or its snapshot provide the model's name."""

    def __init__(self, new_learner: Callable[[str], Learner], snapshot: bytes | None) -> None:
        self._new_learner = new_learner
        self._learner: Learner | None = None
        self._reported = False
        if snapshot is not None:
            _, state = unpack(snapshot, STATE_VERSION, "learner")
            self._learner = new_learner(state["name"])
            self._learner.restore(state)

    def on_batch(self, values: list[TrainingEvents]) -> tuple[list[ModelUpdate], bool]:
        """Learn the training events that are in order; return the learner's model update for the lanes."""
        learner = self._learner
        if learner is None:
            learner = self._learner = self._new_learner(values[0].model)
        published, reached = learner.take([event for bundle in values for event in bundle.events])
        if learner.stopped and not self._reported:
            self._reported = True
            log.warning("Model %s learns no further: %s.", learner.name, learner.stopped)
        return [ModelUpdate(learner.name, published, dict(reached), learner.forgotten(), learner.fates())], False

    def snapshot(self) -> bytes:
        """Return the learner's state as versioned bytes.

        The engine calls this when an epoch is complete, with all its training events.
        """
        if self._learner is not None:
            self._learner.join()
        return pack({} if self._learner is None else self._learner.state(), STATE_VERSION)


@operator
def learn(
    step_id: str,
    events: Stream[TrainingEvent],
    rejects: Stream[Reject],
    new_learner: Callable[[str], Learner],
    models: tuple[str, ...],
) -> Stream[ModelUpdate]:
    """Train every model on the same training events; train none if the model is pinned.

    A Reject has no examples, but its log position is accounted for.
    """

    def place(batch: list[Reject]) -> list[TrainingEvent]:
        return [TrainingEvent(reject.partition, reject.seq, "", -1, (), erased=False) for reject in batch]

    def to_models(batch: list[TrainingEvent]) -> list[tuple[str, TrainingEvents]]:
        return [(model, TrainingEvents(model, batch)) for model in models]

    places = op.flat_map_batch("places", rejects, place)
    bundles = op.flat_map_batch("bundles", op.merge("lessons", events, places), to_models)
    return op.key_rm("news", op.stateful_batch("models", bundles, lambda snapshot: LearnLogic(new_learner, snapshot)))
