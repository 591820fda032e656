"""Profile: each user's events are counted in order; points, lessons, lates and outcomes come of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple
from zlib import crc32

import bytewax.operators as op
from bytewax.dataflow import Stream, operator
from bytewax.operators import KeyedStream, StatefulBatchLogic

from dataflows.operators.decode import Decoded
from dataflows.operators.idle import DAY, NEVER, Expire, Idle
from dataflows.operators.warm import Warm
from dataflows.telemetry import Telemetry
from detectors.features.signals import stable_hash
from detectors.lane import Erasure, LaneItem
from detectors.learn import Lesson, lesson_of
from detectors.live.live import Outcome
from detectors.user import Home, Rulebook, User
from schemas.records import CHAT, MODERATION, ChatMessage, Event, Position, Reject, RejectReason

Bundle = tuple[str, list[Decoded] | Expire]
"""A user's events of a batch, or the question whether they are still there."""
MORE = 4
"""Silent users that are asked for each user in a batch."""


class Late(NamedTuple):
    """An Event too far behind its user's clock to be counted, without its text."""

    event: Event
    at: Position


@dataclass(frozen=True)
class ProfileOut:
    """What every event came to: points, outcomes and erasures for the lanes, lessons, lates and rejects."""

    items: KeyedStream[list[LaneItem]]
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


class Profiled(NamedTuple):
    """What a batch of one user's events came to, ready for the streams it goes to."""

    items: list[LaneItem]
    lessons: list[Lesson]
    lates: list[Late]
    rejects: list[Reject]
    outcomes: list[Outcome]
    duplicates: int
    erased: int


class ProfileLogic(StatefulBatchLogic[list[Decoded] | Expire, Profiled, bytes]):
    """One user's state, fed the user's events in the order they arrived: a `User`, or the bytes of one."""

    def __init__(self, rules: Rulebook, snapshot: bytes | None, idle: Idle, warm: Warm) -> None:
        self._rules, self._idle, self._warm = rules, idle, warm
        self._user: User | None = None
        self._bytes = snapshot
        self._day = NEVER
        if snapshot is not None:
            front = User.front(snapshot)
            if front is None:  # of an earlier version
                user = self._thawed()
                front = user.profile.clock, user.home
            clock, home = front
            if home is not None:
                self._day = idle.move(home, clock, NEVER)

    def _thawed(self) -> User:
        """The user, live."""
        user = self._user
        if user is None:
            user = User(self._rules) if self._bytes is None else User.load(self._bytes, self._rules)
            self._user, self._bytes = user, None
            self._warm.take_in(self)
        return user

    def freeze(self) -> None:
        """Keep the user as bytes until there is an event."""
        if self._user is not None:
            self._bytes = self._user.dump()
            self._user = None

    def on_batch(self, values: list[list[Decoded] | Expire]) -> tuple[list[Profiled], bool]:
        """Take the user's events.

        Nothing of the user is kept after an erasure with nothing behind it, and when an `Expire` finds a silence as
        long as it says; such a user goes without a word. Every event gives one lesson, or a Reject in its place: the
        learner must hear of every place in the order.
        """
        items: list[LaneItem] = []
        lessons: list[Lesson] = []
        lates: list[Late] = []
        rejects: list[Reject] = []
        outcomes: list[Outcome] = []
        duplicates = erased = 0
        user, tracked_from = self._thawed(), self._rules.tracked_from
        silent_since = 0
        for value in values:
            if isinstance(value, Expire):
                silent_since = value.before
                continue
            for event, at, context in value:
                try:
                    step = user.step(event, at, context)
                except Exception as error:
                    user.profile.unsee(stable_hash(event.event_id))
                    rejects.append(reject_of(event, at, "profile", error))
                    continue
                lessons.append(lesson_of(step, tracked_from))
                _, user_id, time, outcome, point, _, escalated, overturned = step
                if escalated or overturned:
                    # lanes hear of it too, before the point of the same event, which has not foretold it
                    outcomes.append(Outcome(user_id, time, "escalated" if escalated else "overturned", at))
                    items.append(outcomes[-1])
                if point is not None:
                    items.append(point)
                if outcome == "seen":
                    continue
                if outcome == "late":
                    lates.append(Late(without_text(event), at))
                elif outcome == "duplicate":
                    duplicates += 1
                else:
                    erased += 1
                    items.append(Erasure(user_id, time, at))
                    user = self._user = User(self._rules, user.home)
        clock = user.profile.clock
        nothing_left = user.profile.events == 0 and not user.profile.seen
        gone = nothing_left or clock < silent_since
        if gone:
            if user.home is not None:
                self._idle.drop(user.home, self._day, "erasure" if nothing_left else "silence")
        elif clock // DAY != self._day:
            user.home = Home(event.user_id, at.partition)
            self._day = self._idle.move(user.home, clock, self._day)
        heard = lessons or rejects
        return [Profiled(items, lessons, lates, rejects, outcomes, duplicates, erased)] if heard else [], gone

    def snapshot(self) -> bytes:
        """The user's state as versioned bytes."""
        return self._bytes if self._user is None and self._bytes is not None else self._thawed().dump()


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
    up: Stream[list[Decoded]],
    rules: Rulebook,
    lanes: int,
    telemetry: Telemetry,
) -> ProfileOut:
    """Count events, in order for each partition, into profiles; give points by lane, lessons, and what was late."""
    idle, warm = Idle(rules, telemetry), Warm()

    def by_user(batch: list[list[Decoded]]) -> Iterable[Bundle]:
        users: dict[str, list[Decoded]] = {}
        for decoded in chain.from_iterable(batch):
            bundle = users.get(decoded.event.user_id)
            if bundle is None:
                bundle = users[decoded.event.user_id] = []
            bundle.append(decoded)
        # more than a batch can bring new users, so that asking keeps up; no more than some batches' worth of work
        return chain(users.items(), idle.due(MORE * len(users)))

    bundles = op.flat_map_batch("by_user", up, by_user)
    steps = op.stateful_batch("users", bundles, lambda snapshot: ProfileLogic(rules, snapshot, idle, warm))

    def to_lanes(batch: list[tuple[str, Profiled]]) -> Iterable[tuple[str, list[LaneItem]]]:
        bundles: dict[str, list[LaneItem]] = {}
        for user_id, profiled in batch:
            bundles.setdefault(lane_of(user_id, lanes), []).extend(profiled.items)
        return bundles.items()

    def to_lessons(batch: list[tuple[str, Profiled]]) -> list[Lesson]:
        _count([profiled for _, profiled in batch], telemetry)
        return [lesson for _, profiled in batch for lesson in profiled.lessons]

    def to_lates(batch: list[tuple[str, Profiled]]) -> list[Late]:
        return [late for _, profiled in batch for late in profiled.lates]

    def to_rejects(batch: list[tuple[str, Profiled]]) -> list[Reject]:
        return [reject for _, profiled in batch for reject in profiled.rejects]

    def to_outcomes(batch: list[tuple[str, Profiled]]) -> list[Outcome]:
        return [outcome for _, profiled in batch for outcome in profiled.outcomes]

    return ProfileOut(
        items=op.flat_map_batch("items", steps, to_lanes),
        lessons=op.flat_map_batch("lessons", steps, to_lessons),
        lates=op.flat_map_batch("lates", steps, to_lates),
        rejects=op.flat_map_batch("rejects", steps, to_rejects),
        outcomes=op.flat_map_batch("outcomes", steps, to_outcomes),
    )


def _count(batch: list[Profiled], telemetry: Telemetry) -> None:
    late, duplicate = sum(len(p.lates) for p in batch), sum(p.duplicates for p in batch)
    erased, taken = sum(p.erased for p in batch), sum(len(p.lessons) for p in batch)
    seen = taken - late - duplicate - erased
    telemetry.add("outcomes", Counter(seen=seen, late=late, duplicate=duplicate, erased=erased))
    escalated = Counter(outcome.kind for profiled in batch for outcome in profiled.outcomes)
    points = sum(len(p.items) - len(p.outcomes) for p in batch) - erased
    overturned = escalated["overturned"]
    decisions = Counter(decision_points=points, escalations=escalated["escalated"], overturned=overturned)
    telemetry.add("decisions", decisions)
    telemetry.add("rejects", Counter([reject.reason.value for profiled in batch for reject in profiled.rejects]))
