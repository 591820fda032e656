"""The steps of the spine as Bytewax operators: each turns a detector's plain logic into a stream.

An exception in any step ends a Bytewax execution, so what can go wrong with one event is caught for that event and
leaves as a Reject. States are snapshot as versioned bytes of plain data, never as our classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple
from zlib import crc32

import bytewax.operators as op
from bytewax.dataflow import Stream, operator
from bytewax.operators import KeyedStream, StatefulBatchLogic

from dataflows.telemetry import Telemetry
from detectors.contract import DecisionPoint
from detectors.features.profile import pack, unpack
from detectors.lane import Erasure, Lane, News, Publication, Served
from detectors.learn import Learner, Lesson
from detectors.policy import LearningPolicy
from detectors.user import Rulebook, Step, User
from schemas.codec import Codec
from schemas.records import (
    CHAT,
    MODERATION,
    ChatMessage,
    Event,
    Position,
    Raw,
    Reject,
    RejectReason,
)


class Decoded(NamedTuple):
    """An Event and where it came from."""

    event: Event
    at: Position


class Late(NamedTuple):
    """An Event too far behind its user's clock to be counted, without its text."""

    event: Event
    at: Position


class Outcome(NamedTuple):
    """A user escalated, or an escalation was overturned: what warnings are measured against."""

    user_id: str
    as_of: int
    kind: Literal["escalated", "overturned"]
    at: Position


@dataclass(frozen=True)
class DecodeOut:
    """Events by user, and what could not become one."""

    events: KeyedStream[Decoded]
    rejects: Stream[Reject]


@dataclass(frozen=True)
class ProfileOut:
    """What every event came to: points and erasures for the lanes, lessons, lates and rejects."""

    points: KeyedStream[list[DecisionPoint | Erasure]]
    lessons: Stream[Lesson]
    lates: Stream[Late]
    rejects: Stream[Reject]
    outcomes: Stream[Outcome]


@dataclass(frozen=True)
class JudgeOut:
    """What is published, and the points as served."""

    events: Stream[Publication]
    served: Stream[list[Served]]


def reject_of(event: Event, at: Position, stage: str, error: Exception) -> Reject:
    """An event that broke a step, as a Reject that says which kind of error it was and nothing of its content."""
    return Reject.model_validate(
        {
            "reason": RejectReason.INTERNAL_ERROR,
            "stage": stage,
            "detail": type(error).__name__,
            "subject": CHAT if isinstance(event, ChatMessage) else MODERATION,
            "topic": at.topic,
            "partition": at.partition,
            "offset": at.offset,
            "seq": at.seq,
            "received": None,
            "key": event.user_id.encode("utf-8", "surrogatepass"),
            "value": event.model_dump_json().encode(),
        },
    )


@operator
def decode(step_id: str, up: Stream[Raw | Reject], codec: Codec, telemetry: Telemetry) -> DecodeOut:
    """Turn records into Events by user, and Rejects."""

    def decode_batch(batch: list[Raw | Reject]) -> list[tuple[str, Decoded] | Reject]:
        out: list[tuple[str, Decoded] | Reject] = []
        for record in batch:
            if isinstance(record, Reject):
                out.append(record)
                continue
            event = codec.decode(record)
            if isinstance(event, Reject):
                out.append(event)
            else:
                out.append((event.user_id, Decoded(event, record.at)))
        telemetry.decoded(out)
        return out

    decoded = op.flat_map_batch("events", up, decode_batch)
    split = op.branch("rejects", decoded, lambda item: isinstance(item, Reject))
    return DecodeOut(events=split.falses, rejects=split.trues)


class ProfileLogic(StatefulBatchLogic[Decoded, "Step | Late | Reject", bytes]):
    """One user's state, fed the user's events in the order they arrived."""

    def __init__(self, rules: Rulebook, snapshot: bytes | None) -> None:
        self._rules = rules
        self._user = User(rules) if snapshot is None else User.load(snapshot, rules)

    def on_batch(self, values: list[Decoded]) -> tuple[list[Step | Late | Reject], bool]:
        """Take the user's events; after an erasure with nothing behind it, nothing of the user is kept."""
        out: list[Step | Late | Reject] = []
        user = self._user
        for event, at in values:
            try:
                step = user.step(event, at)
            except Exception as error:
                out.append(reject_of(event, at, "profile", error))
                continue
            out.append(step)
            if step.outcome == "late":
                out.append(Late(without_text(event), at))
            elif step.outcome == "erased":
                user = self._user = User(self._rules)
        return out, user.profile.events == 0 and not user.profile.seen

    def snapshot(self) -> bytes:
        """The user's state as versioned bytes."""
        return self._user.dump()


def without_text(event: Event) -> Event:
    """The event as it may leave the dataflow."""
    if isinstance(event, ChatMessage) and event.text is not None:
        return event.model_copy(update={"text": None})
    return event


def lane_of(user_id: str, lanes: int) -> str:
    """The lane a user is judged in: the same in every process."""
    return f"{crc32(user_id.encode('utf-8', 'surrogatepass')) % lanes:03d}"


@operator
def profile(
    step_id: str,
    up: KeyedStream[Decoded],
    rules: Rulebook,
    lanes: int,
    telemetry: Telemetry,
) -> ProfileOut:
    """Count events into users' profiles; give points by lane, lessons, and what was late."""
    steps = op.stateful_batch("users", up, lambda snapshot: ProfileLogic(rules, snapshot))

    def to_lanes(batch: list[tuple[str, Step | Late | Reject]]) -> Iterable[tuple[str, list[DecisionPoint | Erasure]]]:
        bundles: dict[str, list[DecisionPoint | Erasure]] = {}
        for user_id, step in batch:
            if not isinstance(step, Step):
                continue
            if step.point is not None:
                bundles.setdefault(lane_of(user_id, lanes), []).append(step.point)
            elif step.outcome == "erased":
                bundles.setdefault(lane_of(user_id, lanes), []).append(Erasure(user_id, step.time, step.at))
        return bundles.items()

    def to_lessons(batch: list[tuple[str, Step | Late | Reject]]) -> list[Lesson]:
        telemetry.stepped(batch)
        return [
            Lesson(step.at.partition, step.at.seq, user_id, step.time, step.examples, step.outcome == "erased")
            for user_id, step in batch
            if isinstance(step, Step)
        ]

    def to_lates(batch: list[tuple[str, Step | Late | Reject]]) -> list[Late]:
        return [step for _, step in batch if isinstance(step, Late)]

    def to_rejects(batch: list[tuple[str, Step | Late | Reject]]) -> list[Reject]:
        return [step for _, step in batch if isinstance(step, Reject)]

    def to_outcomes(batch: list[tuple[str, Step | Late | Reject]]) -> list[Outcome]:
        return [
            Outcome(user_id, step.time, "escalated" if step.escalated else "overturned", step.at)
            for user_id, step in batch
            if isinstance(step, Step) and (step.escalated or step.overturned)
        ]

    return ProfileOut(
        points=op.flat_map_batch("points", steps, to_lanes),
        lessons=op.flat_map_batch("lessons", steps, to_lessons),
        lates=op.flat_map_batch("lates", steps, to_lates),
        rejects=op.flat_map_batch("rejects", steps, to_rejects),
        outcomes=op.flat_map_batch("outcomes", steps, to_outcomes),
    )


class Lessons(NamedTuple):
    """A batch of lessons for one model."""

    model: str
    lessons: list[Lesson]


class LearnLogic(StatefulBatchLogic[Lessons, News, bytes]):
    """One model's learner, made when its first lessons or its snapshot name the model."""

    def __init__(self, learning: LearningPolicy, snapshot: bytes | None) -> None:
        self._learning = learning
        self._learner: Learner | None = None
        if snapshot is not None:
            state = unpack(snapshot)
            self._learner = Learner(state["name"], learning)
            self._learner.restore(state)

    def on_batch(self, values: list[Lessons]) -> tuple[list[News], bool]:
        """Learn what is in order, and tell the lanes how far that went."""
        learner = self._learner
        if learner is None:
            learner = self._learner = Learner(values[0].model, self._learning)
        published, reached = learner.take([lesson for bundle in values for lesson in bundle.lessons])
        return [News(learner.name, published, dict(reached))], False

    def snapshot(self) -> bytes:
        """The learner's state as versioned bytes."""
        return pack({} if self._learner is None else self._learner.state())


@operator
def learn(
    step_id: str,
    lessons: Stream[Lesson],
    rejects: Stream[Reject],
    learning: LearningPolicy,
    models: tuple[str, ...],
) -> Stream[News]:
    """Teach every model the same lessons; none, where the model is pinned.

    A Reject teaches nothing, but its place in the order is accounted for.
    """

    def place(batch: list[Reject]) -> list[Lesson]:
        return [Lesson(reject.partition, reject.seq, "", -1, (), erased=False) for reject in batch]

    def to_models(batch: list[Lesson]) -> list[tuple[str, Lessons]]:
        return [(model, Lessons(model, batch)) for model in models]

    places = op.flat_map_batch("places", rejects, place)
    bundles = op.flat_map_batch("bundles", op.merge("lessons", lessons, places), to_models)
    return op.key_rm("news", op.stateful_batch("models", bundles, lambda snapshot: LearnLogic(learning, snapshot)))


class Judgement(NamedTuple):
    """What a lane made of a batch."""

    events: list[Publication]
    served: list[Served]


class JudgeLogic(StatefulBatchLogic["News | list[DecisionPoint | Erasure]", Judgement, bytes]):
    """One lane: news heard first, then points scored and decided."""

    def __init__(self, lane: Lane, snapshot: bytes | None) -> None:
        self._lane = lane
        if snapshot is not None:
            lane.restore(unpack(snapshot))

    def on_batch(self, values: list[News | list[DecisionPoint | Erasure]]) -> tuple[list[Judgement], bool]:
        """Hear the news, then take the points."""
        arrived: list[DecisionPoint | Erasure] = []
        for value in values:
            if isinstance(value, News):
                self._lane.hear(value)
            else:
                arrived.extend(value)
        events, served = self._lane.take(arrived)
        return ([Judgement(events, served)] if events or served else []), False

    def snapshot(self) -> bytes:
        """The lane's state as versioned bytes."""
        return pack(self._lane.state())


@operator
def judge(
    step_id: str,
    points: KeyedStream[list[DecisionPoint | Erasure]],
    news: Stream[News],
    new_lane: Callable[[], Lane],
    lanes: int,
    telemetry: Telemetry,
) -> JudgeOut:
    """Score the points of each lane in batches and decide; every lane hears all news."""
    names = [f"{lane:03d}" for lane in range(lanes)]

    def broadcast(batch: list[News]) -> list[tuple[str, News]]:
        return [(lane, item) for item in batch for lane in names]

    heard = op.merge("heard", points, op.flat_map_batch("broadcast", news, broadcast))
    judged = op.stateful_batch("lanes", heard, lambda snapshot: JudgeLogic(new_lane(), snapshot))

    def to_events(batch: list[tuple[str, Judgement]]) -> list[Publication]:
        events = [event for _, judgement in batch for event in judgement.events]
        telemetry.judged(events)
        return events

    def to_served(batch: list[tuple[str, Judgement]]) -> list[list[Served]]:
        return [judgement.served for _, judgement in batch if judgement.served]

    return JudgeOut(
        events=op.flat_map_batch("events", judged, to_events),
        served=op.flat_map_batch("served", judged, to_served),
    )
