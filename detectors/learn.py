"""The learner of one model: lessons in, versions out, in an order that does not depend on how they were batched.

Lessons carry the position of their event. They are learnt in that order, whatever order they arrive in, so the same
log gives the same versions for any batch size and any number of workers. A version is published when the log's clock
enters a new interval, before the lesson that moved it is learnt, and says up to which event time it has learnt.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from detectors.contract import Example, OnlineModel, Origin, Remembers, matrix_from, published
from detectors.features.catalogue import NAMES
from detectors.features.upgrade import stored_vector
from detectors.items import Asked, Lesson
from detectors.log_clock import LogClock
from detectors.models.catalogue import FAMILIES, MODELS, freeze
from detectors.models.version import FrozenModel, content_hash
from detectors.policy import LearningPolicy
from detectors.track import TrackRecord
from schemas.records import ModelVersion

STATE_VERSION = 3
"""Version of a learner's packed state."""


class Published(NamedTuple):
    """A version, and the position from which it is in force: it has learnt nothing from `seq` or later."""

    version: ModelVersion
    partition: int
    seq: int


class InOrder:
    """Gives lessons back in the order of their dense positions within each partition."""

    def __init__(self, following: dict[int, int] | None = None, waiting: list[Lesson] | None = None) -> None:
        self.following = {} if following is None else following
        self._waiting: dict[tuple[int, int], Lesson] = {}
        for lesson in waiting or []:
            self._waiting[lesson.partition, lesson.seq] = lesson

    def take(self, lessons: list[Lesson]) -> list[Lesson]:
        """Every lesson that nothing earlier of its partition is missing before."""
        waiting, following = self._waiting, self.following
        if lessons and not waiting:
            # the usual case, a whole stretch of one partition: sorting it is all there is to do
            stretch = sorted(lessons)
            first, last = stretch[0], stretch[-1]
            whole = first.partition == last.partition and last.seq - first.seq + 1 == len(stretch)
            if whole and first.seq == following.get(first.partition, 0):
                following[first.partition] = last.seq + 1
                return stretch
        partitions = set()
        for lesson in lessons:
            waiting[lesson.partition, lesson.seq] = lesson
            partitions.add(lesson.partition)
        ready = []
        for partition in sorted(partitions):
            seq = following.get(partition, 0)
            while (lesson_due := waiting.pop((partition, seq), None)) is not None:
                ready.append(lesson_due)
                seq += 1
            following[partition] = seq
        return ready

    def begin_where_heard(self) -> None:
        """Pass over what is missing before the lessons that wait: nothing earlier is under way any more."""
        for partition, seq in sorted(self._waiting, reverse=True):
            self.following[partition] = seq

    @property
    def waiting(self) -> list[Lesson]:
        """Lessons that came early, in order."""
        return [self._waiting[key] for key in sorted(self._waiting)]


class Learner:
    """Learns one model and publishes its versions; with a `track`, keeps its record and publishes it with them.

    `model` is the one called `name` of those there are, unless another is given.
    """

    def __init__(
        self, name: str, learning: LearningPolicy, track: TrackRecord | None = None, model: OnlineModel | None = None
    ) -> None:
        self.name = name
        self._learning = learning
        self._track = track
        self._in_force: ModelVersion | None = None
        self._scorer: FrozenModel | None = None
        self._model = MODELS[name](learning) if model is None else model
        self._memory = self._model if isinstance(self._model, Remembers) else None
        self._order = InOrder()
        self._clock = LogClock()
        self._interval = -1
        self._fresh = False
        self._learned_until = -1
        self._examples = 0
        self._positives = 0

    def take(self, lessons: list[Lesson]) -> tuple[list[Published], dict[int, int]]:
        """Learn what can be learnt in order; the versions published, and each partition's position reached."""
        published: list[Published] = []
        batch: list[Example] = []
        watched: list[Lesson] = []
        clock, every, track = self._clock, self._learning.publish_every, self._track
        for lesson in self._order.take(lessons):
            if lesson.time >= 0:
                clock.advance(lesson.user_id, lesson.time)
                interval = clock.now // every
                if interval > self._interval:
                    self._interval = interval
                    self._learn(batch)
                    batch = []
                    if track is not None:
                        self._record(watched, track)
                        watched = []
                        track.settle(clock.now)
                    self._age()
                    if self._fresh:
                        self._fresh = False
                        published.append(Published(self.version(), lesson.partition, lesson.seq))
                        self._put_in_force(published[-1].version)
                if lesson.erased:
                    clock.forget(lesson.user_id)
                    if self._memory is not None:
                        self._learn(batch)
                        batch = []
                        self._fresh |= self._memory.forget(lesson.user_id)
                if track is not None:
                    watched.append(lesson)
            batch.extend(lesson.examples)
        self._learn(batch)
        if track is not None:
            self._record(watched, track)
        return published, self._order.following

    def _age(self) -> None:
        """Let a model that keeps examples know what time it is, as far as `learned_until` will say it has learnt."""
        if self._memory is not None and self._learned_until >= 0:
            self._fresh |= self._memory.advance(min(self._clock.now, self._learned_until))

    def join(self) -> None:
        """Begin where the lessons that wait do, or go on there: every lesson of before has come, or never will.

        A model that joins a deployment, or comes back to it, has missed what others learnt meanwhile. What waits is
        learnt with the next lessons of its partition.
        """
        self._order.begin_where_heard()

    def _put_in_force(self, version: ModelVersion) -> None:
        if self._track is not None:
            self._in_force, self._scorer = version, freeze(version)

    def _record(self, lessons: list[Lesson], track: TrackRecord) -> None:
        """Enter lessons into the record, their points with the scores of the version in force."""
        asked = [lesson.asked.vector for lesson in lessons if lesson.asked is not None]
        users = [lesson.user_id for lesson in lessons if lesson.asked is not None]
        scores = iter(self._scorer.probabilities(matrix_from(asked), users).tolist() if self._scorer and asked else ())
        for lesson in lessons:
            if lesson.erased:
                track.forget(lesson.user_id)
            if lesson.changed == "escalated":
                track.escalated(lesson.user_id, lesson.time)
            elif lesson.changed == "overturned":
                track.overturned(lesson.user_id)
            if lesson.asked is not None and self._scorer is not None:
                track.see(lesson.user_id, lesson.asked.as_of, next(scores))

    def _learn(self, batch: list[Example]) -> None:
        if not batch:
            return
        model = self._model
        readings = model.reads.read(matrix_from([example.vector for example in batch])).tolist()
        for example, row in zip(batch, readings, strict=True):
            sign = -1 if example.weight < 0 else 1
            if sign < 0 and self._positives <= 0:
                continue  # what is taken back was learnt before this model joined
            # x == x is false only for NaN, which stands for absent and must never reach a model
            features = {name: value for name, value in zip(model.reads.names, row, strict=True) if value == value}  # noqa: PLR0124
            model.learn_one(features, example._replace(weight=self._weight(example)))
            self._examples += sign
            self._positives += sign if example.label else 0
            self._learned_until = max(self._learned_until, example.known_at)
        self._fresh = True

    def _weight(self, example: Example) -> float:
        wish = self._learning.positive_weight
        return example.weight * self._model.class_weight(wish) if example.label else example.weight

    def version(self) -> ModelVersion:
        """The model as it is now, as data."""
        document: dict[str, Any] = {
            "model": published(self._model),
            "sample": self._learning.sample,
            "positive_weight": self._model.class_weight(self._learning.positive_weight),
            "min_positives": self._learning.min_positives,
        }
        if self._model.reads.names != FAMILIES[self._model.family].reads.names:
            document["reads"] = self._model.reads.names
        if self._track is not None:
            document["track"] = self._track.document()
        record: dict[str, Any] = {
            "name": self.name,
            "family": self._model.family,
            "learned_until": self._learned_until if self._learned_until >= 0 else None,
            "examples": self._examples,
            "positives": self._positives,
            "features": NAMES,
            "state": orjson.dumps(document).decode(),
        }
        return ModelVersion(version=content_hash(record), **record)

    def state(self) -> dict[str, Any]:
        """Everything as plain data, to go on from after a restart."""
        return {
            "name": self.name,
            "model": self._model.dump(),
            "following": self._order.following,
            "waiting": [_plain(lesson) for lesson in self._order.waiting],
            "clock": (self._clock.leader, self._clock.latest, self._clock.now),
            "interval": self._interval,
            "fresh": self._fresh,
            "learned_until": self._learned_until,
            "examples": self._examples,
            "positives": self._positives,
            "track": None if self._track is None else self._track.state(),
            "in_force": None if self._in_force is None else self._in_force.model_dump(mode="json"),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._model.load(state["model"])
        waiting = []
        for partition, seq, user_id, time, examples, erased, *since_2 in state["waiting"]:
            taught = tuple(
                Example(user, known, stored_vector(vector), label, weight, Origin(*origin[0]) if any(origin) else None)
                for user, known, vector, label, weight, *origin in examples
            )
            point, changed = since_2 or (None, None)
            asked = None if point is None else Asked(point[0], stored_vector(point[1]))
            waiting.append(Lesson(partition, seq, user_id, time, taught, erased, asked, changed))
        self._order = InOrder(dict(state["following"]), waiting)
        self._clock = LogClock(*state["clock"])
        self._interval, self._fresh = state["interval"], state["fresh"]
        self._learned_until = state["learned_until"]
        self._examples, self._positives = state["examples"], state["positives"]
        if self._track is not None and (record := state.get("track")) is not None:  # version 1 kept none
            self._track.restore(record)
            if state["in_force"] is not None:
                self._put_in_force(ModelVersion.model_validate(state["in_force"]))


def _plain(lesson: Lesson) -> tuple[Any, ...]:
    """A lesson as plain data."""
    examples = [(e.user_id, e.known_at, e.vector.tobytes(), e.label, e.weight, e.origin) for e in lesson.examples]
    asked = None if lesson.asked is None else (lesson.asked.as_of, lesson.asked.vector.tobytes())
    taught = (lesson.partition, lesson.seq, lesson.user_id, lesson.time, examples, lesson.erased)
    return (*taught, asked, lesson.changed)
