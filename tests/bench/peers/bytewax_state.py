"""The job as a Bytewax dataflow that is not forewarn: users in a stateful step, with recovery on.

A user is what the step keeps for a key, and so is the model: all points go through a second stateful step under one
key. The engine snapshots both, so a restart goes on from where it was; this is the only peer that promises as much as
forewarn, but for risk events that a restart writes twice. A stateful step deals with a batch key by key, so points are
numbered at the source and put in order again before the model sees them.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import bytewax.operators as op
import orjson
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import StatefulBatchLogic
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main

from tests.bench.peers.checks import CHAT, MODERATION, InvalidError, decode
from tests.bench.peers.job import CLEAR, Answer, Job, Standing, User, decide, relabel, risk_event, tombstone
from tests.bench.peers.kafka import Inputs, Place, place, report
from tests.bench.peers.model import Features, Model, squash
from tests.bench.peers.state import dump, load

EPOCH = timedelta(seconds=10)
Numbered = tuple[int, str, dict[str, Any]]


class Point(NamedTuple):
    """What an event came to, in its place; features are None for one that did not count."""

    number: int
    event: dict[str, Any]
    now: int
    x: Features | None
    z: Features
    lessons: list[tuple[Features, float]]
    negative: bool


class Source(FixedPartitionedSource[tuple[str, Numbered], Any]):
    """Both topics as one partition, its records checked and numbered."""

    def __init__(self, where: Place) -> None:
        self._where = where

    def list_parts(self) -> list[str]:
        return ["both"]

    def build_part(self, _step_id: str, _for_part: str, resume_state: Any) -> Reading:
        return Reading(self._where, resume_state)


class Reading(StatefulSourcePartition[tuple[str, Numbered], Any]):
    """The reading of both; its state is the next number and the next offsets."""

    def __init__(self, where: Place, state: Any) -> None:
        self._number, self._next = state or (0, {CHAT: 0, MODERATION: 0})
        self._batches = Inputs(where, dict(self._next)).batches()

    def next_batch(self) -> Iterable[tuple[str, Numbered]]:
        found = []
        for subject, time, value in next(self._batches):
            self._next[subject] += 1
            try:
                event = decode(subject, value, time)
            except InvalidError:
                continue
            found.append((event["user_id"], (self._number, subject, event)))
            self._number += 1
        return found

    def snapshot(self) -> Any:
        return self._number, dict(self._next)


class Profiles(StatefulBatchLogic[Numbered, Point, bytes]):
    """One user."""

    def __init__(self, job: Job, state: bytes | None) -> None:
        self._job = job
        self._user = User()
        if state is not None:
            stored, vectors = orjson.loads(state)
            self._user = load(stored, dict(vectors))

    def on_batch(self, values: list[Numbered]) -> tuple[list[Point], bool]:
        return [self._count(*value) for value in values], not self._user.profile.seen

    def _count(self, number: int, subject: str, event: dict[str, Any]) -> Point:
        if subject == MODERATION and event["kind"] == "erasure":
            self._user = User()
            return Point(number, event, event["event_time"], None, {}, [], negative=False)
        user = self._user
        x = self._job.features(user, subject, event)
        if x is None:
            return Point(number, event, -1, None, {}, [], negative=False)
        lessons = [] if subject == CHAT else relabel(user, event)
        now, z = user.profile.clock, squash(x)
        return Point(
            number, event, now, x, z, lessons, user.labels.offer(event["user_id"], now, user.profile.events, z)
        )

    def snapshot(self) -> bytes:
        return orjson.dumps((dump(self._user), list(self._user.labels.vectors.items())))


class Judging(StatefulBatchLogic[Point, Answer, Any]):
    """The model, the tiers of those in one, and the points whose turn has not come."""

    def __init__(self, state: Any) -> None:
        self.model, self._standings, self._next, self._early = state or (Model(), dict[str, Standing](), 0, {})

    def on_batch(self, values: list[Point]) -> tuple[list[Answer], bool]:
        self._early.update((point.number, point) for point in values)
        return list(self._answers()), False

    def _answers(self) -> Iterator[Answer]:
        model, standings, early = self.model, self._standings, self._early
        while (point := early.pop(self._next, None)) is not None:
            self._next += 1
            _, event, now, x, z, lessons, negative = point
            if x is None:
                if now >= 0:
                    standings.pop(event["user_id"], None)
                    yield tombstone(event)
                continue
            for vector, weight in lessons:
                if weight > 0:
                    model.learn(vector, label=True, weight=weight)
                else:
                    model.take_back(vector, -weight)
            probability = model.probability(z)
            if negative:
                model.learn(z, label=False)
            changed = decide(standings.get(event["user_id"], CLEAR), probability, now)
            if changed is not None:
                tiers, standing = changed
                standings[event["user_id"]] = standing
                yield risk_event(event, now, tiers, standing, probability, model.reasons(x, z))

    def snapshot(self) -> Any:
        return self.model.copy(), dict(self._standings), self._next, dict(self._early)


def outgoing(item: tuple[str, Answer]) -> KafkaSinkMessage[bytes, bytes | None]:
    """A risk event as a message under its user; a tombstone has no value."""
    answer = item[1]
    value = None if "tombstone" in answer else orjson.dumps(answer)
    return KafkaSinkMessage(answer["user_id"].encode("utf-8", "surrogatepass"), value)


def main() -> None:
    """Read both topics to their end."""
    where = place()
    gc.set_threshold(100_000, 20, 20)
    job = Job()  # for its counts; users and model are the engine's
    judges: list[Judging] = []

    def judge(state: Any) -> Judging:
        judges.append(Judging(state))
        return judges[-1]

    flow = Dataflow("peer")
    events = op.input("inputs", flow, Source(where))
    points = op.stateful_batch("profiles", events, lambda state: Profiles(job, state))
    under_one_key = op.map("under_one_key", points, lambda item: ("model", item[1]))
    answers = op.stateful_batch("judge", under_one_key, judge)
    messages = op.map("outgoing", answers, outgoing)
    op.output("risk", messages, KafkaSink([where.broker], where.risk, {"compression.type": "lz4"}))
    store = Path(where.state)
    store.mkdir(parents=True)
    init_db_dir(store, 1)
    run_main(flow, epoch_interval=EPOCH, recovery_config=RecoveryConfig(str(store)))
    learnt = [(judge.model.examples, judge.model.positives) for judge in judges] or [(0, 0)]
    report(**job.counts, examples=learnt[0][0], positives=learnt[0][1])


if __name__ == "__main__":
    main()
