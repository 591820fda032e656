"""The learner of one model: lessons in, versions out, in an order that does not depend on how they were batched.

Lessons carry the position of their event. They are learnt in that order, whatever order they arrive in, so the same
log gives the same versions for any batch size and any number of workers. A version is published when the log's clock
enters a new interval, before the lesson that moved it is learnt, and says up to which event time it has learnt.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from detectors.contract import Example, OnlineModel, Origin, Remembers, Row, matrix_from, publisher
from detectors.features.catalogue import NAMES
from detectors.features.signals import key_of
from detectors.features.upgrade import stored_vector
from detectors.history import Turn
from detectors.items import Asked, Lesson
from detectors.lessons import InOrder, pass_over
from detectors.log_clock import LogClock
from detectors.models.catalogue import FAMILIES, MODELS, freeze
from detectors.models.erase import without_user
from detectors.models.reading import Reader, weighed
from detectors.models.version import FrozenModel, content_hash
from detectors.policy import LearningPolicy
from detectors.track import TrackRecord
from schemas.records import ModelVersion

STATE_VERSION = 4
"""Version of a learner's packed state; every one before it is read."""


class Forgotten(NamedTuple):
    """A user asked to be forgotten: the hash of the id, and the position of the erasure."""

    user: int
    partition: int
    seq: int


class Published(NamedTuple):
    """A version, and the position from which it is in force: it has learnt nothing from `seq` or later."""

    version: ModelVersion
    partition: int
    seq: int


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
        self._publish = publisher(self._model)
        self._reader = Reader(self._model.reads)
        self._positive_weight = self._model.class_weight(learning.positive_weight)
        self._order = InOrder()
        self._clock = LogClock()
        self._interval = -1
        self._fresh = False
        self._learned_until = -1
        self._examples = 0
        self._positives = 0
        self._forgotten: list[Forgotten] = []

    def take(self, lessons: list[Lesson]) -> tuple[list[Published], dict[int, int]]:
        """Learn what can be learnt in order; the versions published, and each partition's position reached."""
        published: list[Published] = []
        watched: list[tuple[Lesson, int]] = []
        clock, every, track = self._clock, self._learning.publish_every, self._track
        ready = self._order.take(lessons)
        rows = iter(self._reader.rows([example.vector for lesson in ready for example in lesson.examples]))
        ends = (self._interval + 1) * every
        at, many = 0, len(ready)
        while True:
            if track is None:
                at = pass_over(ready, at, clock, ends)
            if at == many:
                break
            lesson = ready[at]
            at += 1
            partition, seq, user_id, time, examples, erased, _, _ = lesson
            if time >= 0:
                clock.advance(user_id, time)
                if clock.now >= ends:
                    self._interval = clock.now // every
                    ends = (self._interval + 1) * every
                    if track is not None:
                        self._record(watched, track)
                        watched = []
                        track.settle(min(clock.now, self._learned_until))
                    self._age()
                    if self._fresh:
                        self._fresh = False
                        published.append(Published(self.version(), partition, seq))
                        self._put_in_force(published[-1].version)
                if erased:
                    clock.forget(user_id)
                    if self._memory is not None:
                        self._fresh |= self._memory.forget(user_id)
                        self._forgotten.append(Forgotten(key_of(user_id), partition, seq))
                        if track is not None:
                            self._record(watched, track)
                            watched = []
                            self._take_out(key_of(user_id))
                if track is not None:
                    watched.append((lesson, clock.now))
            if examples:
                for example in examples:
                    self._learn(next(rows), example)
                self._fresh = True
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

    def forgotten(self) -> tuple[Forgotten, ...]:
        """Return who asked to be forgotten since the last call, where versions may hold what is kept of users."""
        forgotten, self._forgotten = self._forgotten, []
        return tuple(forgotten)

    def _take_out(self, user: int) -> None:
        """Keep nothing of a user in the version in force."""
        if self._in_force is not None and (version := without_user(self._in_force, user)) is not self._in_force:
            self._put_in_force(version)

    def _put_in_force(self, version: ModelVersion) -> None:
        if self._track is not None:
            self._in_force, self._scorer = version, freeze(version)

    def _record(self, watched: list[tuple[Lesson, int]], track: TrackRecord) -> None:
        """Enter lessons into the record, their points with the scores of the version in force.

        Each has the log's clock beside it: a point dated further ahead than a warning takes to mature is left out.
        """
        asked = [lesson.asked.vector for lesson, _ in watched if lesson.asked is not None]
        users = [lesson.user_id for lesson, _ in watched if lesson.asked is not None]
        scores = iter(self._scorer.probabilities(matrix_from(asked), users).tolist() if self._scorer and asked else ())
        for lesson, now in watched:
            if lesson.erased:
                track.forget(lesson.user_id)
            for kind, cause, time, _ in lesson.turns:
                if kind == "escalated":
                    track.escalated(lesson.user_id, time, cause)
                else:
                    track.overturned(lesson.user_id, lesson.time, cause)
            if lesson.asked is not None and self._scorer is not None:
                score = next(scores)
                if lesson.asked.as_of <= now + track.reach:
                    track.see(lesson.user_id, lesson.asked.as_of, score)

    def _learn(self, row: Row, example: Example) -> None:
        sign = -1 if example.weight < 0 else 1
        if sign < 0 and self._positives <= 0:
            return  # what is taken back was learnt before this model joined
        self._model.learn_one(row, weighed(example, self._positive_weight))
        self._examples += sign
        self._positives += sign if example.label else 0
        self._learned_until = max(self._learned_until, example.known_at)

    def version(self) -> ModelVersion:
        """The model as it is now, as data."""
        document: dict[str, Any] = {
            "model": self._publish(),
            "sample": self._learning.sample,
            "positive_weight": self._positive_weight,
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
        for partition, seq, user_id, time, examples, erased, *since_2 in state["waiting"]:  # turns since version 4
            taught = tuple(
                Example(user, known, stored_vector(vector), label, weight, Origin(*origin[0]) if any(origin) else None)
                for user, known, vector, label, weight, *origin in examples
            )
            point, told = since_2 or (None, None)
            asked = None if point is None else Asked(point[0], stored_vector(point[1]))
            turns = [(told, -1, time, seq)] if isinstance(told, str) else told or ()
            waiting.append(Lesson(partition, seq, user_id, time, taught, erased, asked, tuple(map(Turn._make, turns))))
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
    return (*taught, asked, lesson.turns)
