"""Profile: each user's events are counted in order; points, lessons, lates and outcomes come of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Literal, NamedTuple
from zlib import crc32

import bytewax.operators as op
from bytewax.dataflow import Stream, operator
from bytewax.operators import KeyedStream, StatefulBatchLogic

from dataflows.operators.decode import Decoded
from dataflows.telemetry import Telemetry
from detectors.contract import DecisionPoint
from detectors.lane import Erasure
from detectors.learn import Lesson
from detectors.user import Rulebook, Step, User
from schemas.records import CHAT, MODERATION, ChatMessage, Event, Position, Reject, RejectReason


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
class ProfileOut:
    """What every event came to: points and erasures for the lanes, lessons, lates and rejects."""

    points: KeyedStream[list[DecisionPoint | Erasure]]
    lessons: Stream[Lesson]
    lates: Stream[Late]
    rejects: Stream[Reject]
    outcomes: Stream[Outcome]


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


StepOut = Step | Late | Reject
"""What one event of one user came to; a late one gives its step and itself."""


class ProfileLogic(StatefulBatchLogic[list[Decoded], list[StepOut], bytes]):
    """One user's state, fed the user's events in the order they arrived."""

    def __init__(self, rules: Rulebook, snapshot: bytes | None) -> None:
        self._rules = rules
        self._user = User(rules) if snapshot is None else User.load(snapshot, rules)

    def on_batch(self, values: list[list[Decoded]]) -> tuple[list[list[StepOut]], bool]:
        """Take the user's events; after an erasure with nothing behind it, nothing of the user is kept."""
        out: list[StepOut] = []
        user = self._user
        for event, at in chain.from_iterable(values):
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
        return [out], user.profile.events == 0 and not user.profile.seen

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
    up: KeyedStream[list[Decoded]],
    rules: Rulebook,
    lanes: int,
    telemetry: Telemetry,
) -> ProfileOut:
    """Count events into users' profiles; give points by lane, lessons, and what was late."""
    steps = op.stateful_batch("users", up, lambda snapshot: ProfileLogic(rules, snapshot))

    def to_lanes(batch: list[tuple[str, list[StepOut]]]) -> Iterable[tuple[str, list[DecisionPoint | Erasure]]]:
        bundles: dict[str, list[DecisionPoint | Erasure]] = {}
        for user_id, steps in batch:
            bundle = bundles.setdefault(lane_of(user_id, lanes), [])
            for step in steps:
                if isinstance(step, Step):
                    if step.point is not None:
                        bundle.append(step.point)
                    elif step.outcome == "erased":
                        bundle.append(Erasure(user_id, step.time, step.at))
        return bundles.items()

    def to_lessons(batch: list[tuple[str, list[StepOut]]]) -> list[Lesson]:
        telemetry.stepped(batch)
        return [
            Lesson(step.at.partition, step.at.seq, user_id, step.time, step.examples, step.outcome == "erased")
            for user_id, steps in batch
            for step in steps
            if isinstance(step, Step)
        ]

    def to_lates(batch: list[tuple[str, list[StepOut]]]) -> list[Late]:
        return [step for _, steps in batch for step in steps if isinstance(step, Late)]

    def to_rejects(batch: list[tuple[str, list[StepOut]]]) -> list[Reject]:
        return [step for _, steps in batch for step in steps if isinstance(step, Reject)]

    def to_outcomes(batch: list[tuple[str, list[StepOut]]]) -> list[Outcome]:
        return [
            Outcome(user_id, step.time, "escalated" if step.escalated else "overturned", step.at)
            for user_id, steps in batch
            for step in steps
            if isinstance(step, Step) and (step.escalated or step.overturned)
        ]

    return ProfileOut(
        points=op.flat_map_batch("points", steps, to_lanes),
        lessons=op.flat_map_batch("lessons", steps, to_lessons),
        lates=op.flat_map_batch("lates", steps, to_lates),
        rejects=op.flat_map_batch("rejects", steps, to_rejects),
        outcomes=op.flat_map_batch("outcomes", steps, to_outcomes),
    )
