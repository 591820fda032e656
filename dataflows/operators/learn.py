"""Learn: trains every model on the same training events, under a key of its own, and updates the lanes."""

from __future__ import annotations

import logging
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
    lessons: list[TrainingEvent]


class LearnLogic(StatefulBatchLogic[TrainingEvents, ModelUpdate, bytes]):
    """One model's learner, created when its first training events or its snapshot provide the model's name."""

    def __init__(self, policy: Policy, snapshot: bytes | None) -> None:
        self._policy = policy
        self._learner: Learner | None = None
        self._told = False
        if snapshot is not None:
            _, state = unpack(snapshot, STATE_VERSION, "learner")
            self._learner = self._new(state["name"])
            self._learner.restore(state)

    def _new(self, model: str) -> Learner:
        policy = self._policy
        return Learner(
            model,
            policy.learning_of(model),
            TrackRecord(policy) if policy.tracked else None,
            partial(new_model, model, policy),
        )

    def on_batch(self, values: list[TrainingEvents]) -> tuple[list[ModelUpdate], bool]:
        """Learn the training events that are in order; return the learner's model update for the lanes."""
        learner = self._learner
        if learner is None:
            learner = self._learner = self._new(values[0].model)
        published, reached = learner.take([lesson for bundle in values for lesson in bundle.lessons])
        if learner.stopped and not self._told:
            self._told = True
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
    lessons: Stream[TrainingEvent],
    rejects: Stream[Reject],
    policy: Policy,
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
    bundles = op.flat_map_batch("bundles", op.merge("lessons", lessons, places), to_models)
    return op.key_rm("news", op.stateful_batch("models", bundles, lambda snapshot: LearnLogic(policy, snapshot)))
