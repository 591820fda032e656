"""The learner of one model: it turns training events into versions, independently of how they are batched.

Training events carry the position of their event. They are learnt in that order, in whatever order they arrive, so the
same log gives the same versions for any batch size and any number of workers. A version is published when the log's
clock enters a new interval, before the training event that moved the clock is learnt. The version states up to which
event time it has learnt.

A few users cannot move that clock (`detectors.base.log_clock`). An example dated further ahead of the clock than
`slack_of` allows is not learnt yet: it waits (`detectors.learning.ahead`). Therefore no version states that it has
learnt from a time that only a few users have reached. While few users are known, most of their clocks may be wrong. So
the first examples are kept, and if the clock turns out to have been ahead, the model is learnt anew from those that are
not ahead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from typing import Any, NamedTuple

import orjson

from detectors.base.log_clock import LogClock
from detectors.base.points import Example
from detectors.base.state import content_hash
from detectors.base.vectors import Row, matrix_from
from detectors.features.catalogue import NAMES
from detectors.features.signals import key_of
from detectors.features.upgrade import stored_vector
from detectors.labels.reservoir import Turn
from detectors.learning.ahead import MOST, Ahead, example_of, plain_example
from detectors.learning.order import InOrder, pass_over
from detectors.models.base import OnlineModel, PublishesTrained, StoresExamples, publisher
from detectors.models.catalogue import FAMILIES, MODELS, freeze
from detectors.models.erasure import without_user
from detectors.models.inputs import Reader, weighed
from detectors.models.river.trained import Trained
from detectors.models.track_record import TrackRecord
from detectors.models.version import FrozenModel
from detectors.policy.sections import LearningPolicy
from detectors.profiles.results import TrackedPoint, TrainingEvent
from schemas.records.decisions import ModelVersion

STATE_VERSION = 4
"""Version of a learner's packed state; all earlier versions can be read."""
SETTLED = 64
"""Number of known users from which on the log's clock is taken to be right."""
FIRST = 1_000
"""Maximum number of examples kept until then."""


class Forgotten(NamedTuple):
    """A user's erasure: the hash of the user's id, and the position of the erasure."""

    user: int
    partition: int
    seq: int


class Published(NamedTuple):
    """A version, and the position from which it is in force: it has learnt nothing from `seq` or later.

    `trained` is the object that a version of a River model scores with. No topic carries it.
    """

    version: ModelVersion
    partition: int
    seq: int
    trained: Trained | None = None


def slack_of(learning: LearningPolicy) -> int:
    """Return how far ahead of the log's clock an example may be dated and still be learnt at once (ms).

    It is a quarter of the time that the kept versions span. If `learned_until` is moved this far ahead, there are still
    kept versions old enough for all other users.
    """
    return learning.publish_every * (learning.keep_versions - 1) // 4


class Learner:
    """Learns one model and publishes its versions; with a `track`, also maintains and publishes its track record.

    `model` makes the model; without it, the model is the one called `name` in the catalogue.
    """

    def __init__(
        self,
        name: str,
        learning: LearningPolicy,
        track: TrackRecord | None = None,
        model: Callable[[], OnlineModel] | None = None,
    ) -> None:
        self.name = name
        self._learning = learning
        self._track = track
        self._no_track = None if track is None else deepcopy(track.state())
        self._new_model: Callable[[], OnlineModel] = (lambda: MODELS[name](learning)) if model is None else model
        self._in_force: ModelVersion | None = None
        self._scorer: FrozenModel | None = None
        self._in_force_trained: Trained | None = None
        self._begin()
        self._reader = Reader(self._model.reads)
        self._positive_weight = self._model.class_weight(learning.positive_weight)
        self._order = InOrder()
        self._clock = LogClock()
        self._slack = slack_of(learning)
        self._ahead = Ahead()
        self._first: list[Example] | None = []  # examples learnt while few users are known; None afterwards
        self._fates: Counter[str] = Counter()
        self._forgotten: list[Forgotten] = []
        self._interval = -1
        self._fresh = False

    def _begin(self) -> None:
        """Begin with an untrained model."""
        self._model = self._new_model()
        self._memory = self._model if isinstance(self._model, StoresExamples) else None
        self._object = self._model if isinstance(self._model, PublishesTrained) else None
        self._publish = publisher(self._model)
        self._learned_until = -1
        self._examples = 0
        self._positives = 0

    def take(self, lessons: list[TrainingEvent]) -> tuple[list[Published], dict[int, int]]:
        """Learn all that is due in order; return the versions published and each partition's next position."""
        published: list[Published] = []
        watched: list[tuple[TrainingEvent, int]] = []
        clock, every, track = self._clock, self._learning.publish_every, self._track
        ready = self._order.take(lessons)
        rows = iter(self._reader.rows([example.vector for lesson in ready for example in lesson.examples]))
        at, many = 0, len(ready)
        while True:
            if track is None:
                at = pass_over(ready, at, clock, *self._calm())
            if at == many:
                break
            lesson = ready[at]
            at += 1
            partition, seq, user_id, time, examples, erased, _, _ = lesson
            if time >= 0:
                clock.advance(user_id, time)
                self._follow_clock()
                if clock.now >= (self._interval + 1) * every:
                    self._interval = clock.now // every
                    if track is not None:
                        self._record(watched, track)
                        watched = []
                        track.settle(min(clock.now, self._learned_until))
                    self._age()
                    if self._fresh:
                        self._fresh = False
                        published.append(Published(self.version(), partition, seq, self.trained()))
                        self._put_in_force(published[-1].version, published[-1].trained)
                if erased:
                    self._forget(user_id, partition, seq)
                    if self._memory is not None and track is not None:
                        self._record(watched, track)
                        watched = []
                        self._take_out(key_of(user_id))
                if track is not None:
                    watched.append((lesson, clock.now))
            for example in examples:
                self._offer(next(rows), example)
        if track is not None:
            self._record(watched, track)
        return published, self._order.following

    def fates(self) -> Counter[str]:
        """Return counts since the last call: `put_off`, `left_out` and `begun_anew`."""
        fates, self._fates = self._fates, Counter()
        return fates

    def _calm(self) -> tuple[int, int]:
        """Return the half-open range of clock times (ms) that have no effect on this learner."""
        first, high = self._ahead.first, (self._interval + 1) * self._learning.publish_every
        low = -1 if self._first is None else self._learned_until - self._slack
        return low, high if first is None else min(high, first - self._slack)

    def _follow_clock(self) -> None:
        """Learn examples that are due; begin anew if the clock went back and the model is ahead of it."""
        if self._clock.now < 0:
            return
        limit = self._clock.now + self._slack
        if self._first is not None and self._learned_until > limit:
            self._begin_anew(limit)
        first = self._ahead.first
        if first is not None and first <= limit:
            self._learn_waiting(self._ahead.due(limit))

    def _begin_anew(self, limit: int) -> None:
        """Learn the model anew from the examples it learnt; those dated after `limit` (ms) wait."""
        learnt, self._first = self._first or [], []
        self._begin()
        self._fresh = True
        self._fates["begun_anew"] += 1
        self._interval = self._clock.now // self._learning.publish_every
        if self._track is not None and self._no_track is not None:
            self._track.restore(self._no_track)
            self._in_force = self._scorer = None
        for example in learnt:
            if example.known_at > limit:
                self._ahead.add(example)
        self._learn_waiting([example for example in learnt if example.known_at <= limit])

    def _offer(self, row: Row, example: Example) -> None:
        """Learn an example, or let it wait if it is dated too far ahead of the log's clock."""
        if example.weight < 0 and self._ahead.cancel(example):
            return
        if self._clock.now < 0 or example.known_at <= self._clock.now + self._slack:
            self._learn(row, example)
            return
        self._ahead.add(example)
        self._fates["put_off"] += 1
        if len(self._ahead) > MOST:
            self._learn_waiting(self._ahead.due(self._clock.reach(self._slack)))
            self._fates["left_out"] += self._ahead.make_room()

    def _learn_waiting(self, examples: list[Example]) -> None:
        for row, example in zip(self._reader.rows([example.vector for example in examples]), examples, strict=True):
            self._learn(row, example)

    def _forget(self, user_id: str, partition: int, seq: int) -> None:
        """Erase everything that names the user; record the position of the erasure if the model stores examples."""
        self._clock.forget(user_id)
        self._ahead.forget(user_id)
        if self._first is not None:
            self._first = [example for example in self._first if example.user_id != user_id]
        if self._memory is not None:
            self._fresh |= self._memory.forget(user_id)
            self._forgotten.append(Forgotten(key_of(user_id), partition, seq))

    def _age(self) -> None:
        """Advance a model that stores examples to the log's clock, but not beyond `learned_until`."""
        if self._memory is not None and self._learned_until >= 0:
            self._fresh |= self._memory.advance(min(self._clock.now, self._learned_until))

    def join(self) -> None:
        """Skip the gap before buffered training events; nothing earlier can still arrive.

        A model that joins a deployment, or rejoins it, has missed what others learnt meanwhile. Buffered training
        events are learnt with the next ones of their partition.
        """
        self._order.begin_where_heard()

    def forgotten(self) -> tuple[Forgotten, ...]:
        """Return the erasures since the last call, if the model's versions may contain users' data."""
        forgotten, self._forgotten = self._forgotten, []
        return tuple(forgotten)

    def _take_out(self, user: int) -> None:
        """Erase a user from the version in force."""
        if self._in_force is not None and (version := without_user(self._in_force, user)) is not self._in_force:
            self._put_in_force(version)

    def _put_in_force(self, version: ModelVersion, trained: Trained | None = None) -> None:
        if self._track is not None:
            self._in_force, self._scorer, self._in_force_trained = version, freeze(version, trained), trained

    def _record(self, watched: list[tuple[TrainingEvent, int]], track: TrackRecord) -> None:
        """Enter training events into the track record, their points with scores of the version in force.

        Each training event is paired with the log's clock. A point dated further ahead of that than a warning takes to
        mature is left out.
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
        self._fresh = True
        first, clock = self._first, self._clock
        if first is not None:
            if clock.population >= SETTLED or (len(first) >= FIRST and clock.now >= 0):
                self._first = None
            elif len(first) < FIRST:  # examples beyond that come from the only user known so far
                first.append(example)
        sign = -1 if example.weight < 0 else 1
        if sign < 0 and self._positives <= 0:
            return  # the original was learnt before this model joined
        self._model.learn_one(row, weighed(example, self._positive_weight))
        self._examples += sign
        self._positives += sign if example.label else 0
        self._learned_until = max(self._learned_until, example.known_at)

    def version(self) -> ModelVersion:
        """Return the model in its current state as a version."""
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

    def trained(self) -> Trained | None:
        """Return what a version made now scores with; None if its published state is enough."""
        return None if self._object is None else self._object.trained()

    @property
    def stopped(self) -> str:
        """Return the reason why the model learns no further; empty if it does."""
        return "" if self._object is None else self._object.stopped

    def state(self) -> dict[str, Any]:
        """Return the full state as plain data, to continue from after a restart."""
        in_force = {} if self._in_force_trained is None else {"in_force_trained": self._in_force_trained.data}
        return in_force | {
            "name": self.name,
            "model": self._model.dump(),
            "following": self._order.following,
            "waiting": [_plain(lesson) for lesson in self._order.waiting],
            "clock": self._clock.state(),
            "ahead": self._ahead.state(),
            "first": None if self._first is None else [plain_example(example) for example in self._first],
            "interval": self._interval,
            "fresh": self._fresh,
            "learned_until": self._learned_until,
            "examples": self._examples,
            "positives": self._positives,
            "track": None if self._track is None else self._track.state(),
            "in_force": None if self._in_force is None else self._in_force.model_dump(mode="json"),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state of any version."""
        self._model.load(state["model"])
        waiting = []
        for partition, seq, user_id, time, examples, erased, *since_2 in state["waiting"]:  # turns since version 4
            taught = tuple(map(example_of, examples))
            point, told = since_2 or (None, None)
            asked = None if point is None else TrackedPoint(point[0], stored_vector(point[1]))
            turns = [(told, -1, time, seq)] if isinstance(told, str) else told or ()
            waiting.append(
                TrainingEvent(partition, seq, user_id, time, taught, erased, asked, tuple(map(Turn._make, turns)))
            )
        self._order = InOrder(dict(state["following"]), waiting)
        self._clock = LogClock.load(state["clock"])
        if "ahead" in state:  # since version 4
            self._ahead.restore(state["ahead"])
        first = state.get("first")
        self._first = None if first is None else list(map(example_of, first))
        self._interval, self._fresh = state["interval"], state["fresh"]
        self._learned_until = state["learned_until"]
        self._examples, self._positives = state["examples"], state["positives"]
        if self._track is not None and (record := state.get("track")) is not None:  # version 1 has none
            self._track.restore(record)
            if state["in_force"] is not None:
                trained = Trained(state["in_force_trained"]) if "in_force_trained" in state else None
                self._put_in_force(ModelVersion.model_validate(state["in_force"]), trained)


def _plain(lesson: TrainingEvent) -> tuple[Any, ...]:
    """Return a training event as plain data."""
    examples = [plain_example(example) for example in lesson.examples]
    asked = None if lesson.asked is None else (lesson.asked.as_of, lesson.asked.vector.tobytes())
    taught = (lesson.partition, lesson.seq, lesson.user_id, lesson.time, examples, lesson.erased)
    return (*taught, asked, lesson.turns)
