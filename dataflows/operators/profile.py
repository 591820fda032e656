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
from detectors.items import LaneItem, Lesson, Outcome
from detectors.taking import Taken, take
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


class Gathered(NamedTuple):
    """What a batch of many users' events came to: the items by lane, and all the rest."""

    items: dict[str, list[LaneItem]]
    lessons: list[Lesson]
    lates: list[Late]
    rejects: list[Reject]
    outcomes: list[Outcome]


class ProfileLogic(StatefulBatchLogic[list[Decoded] | Expire, Taken, bytes]):
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
            self._bytes = self.snapshot()
            self._user = None

    def on_batch(self, values: list[list[Decoded] | Expire]) -> tuple[list[Taken], bool]:
        """Take the user's events.

        Nothing of the user is kept after an erasure with nothing behind it, and when an `Expire` finds a silence as
        long as it says; such a user goes without a word.
        """
        user, taken, silent_since = self._thawed(), Taken(), 0
        self._bytes = None
        for value in values:
            if isinstance(value, Expire):
                silent_since = value.before
            else:
                user = take(user, value, self._rules.tracked_from, taken)
                event, at, _ = value[-1]
        self._user = user
        clock = user.profile.clock
        nothing_left = user.profile.events == 0 and not user.profile.seen
        gone = nothing_left or clock < silent_since
        if gone:
            if user.home is not None:
                self._idle.drop(user.home, self._day, "erasure" if nothing_left else "silence")
        elif clock // DAY != self._day:
            user.home = Home(event.user_id, at.partition)
            self._day = self._idle.move(user.home, clock, self._day)
        return [taken] if taken.lessons or taken.broken else [], gone

    def snapshot(self) -> bytes:
        """The user's state as versioned bytes; they are kept until there is an event."""
        if self._bytes is None:
            self._bytes = self._thawed().dump()
        return self._bytes


def without_text(event: Event) -> Event:
    """The event as it may leave the dataflow."""
    if isinstance(event, ChatMessage) and event.text is not None:
        return event.model_copy(update={"text": None})
    return event


def lane_of(user_id: str, lanes: int) -> str:
    """The lane a user is judged in: the same in every process."""
    return f"{_number(user_id) % lanes:03d}"


def _number(user_id: str) -> int:
    return crc32(user_id.encode("utf-8", "surrogatepass"))


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

    names = [f"{lane:03d}" for lane in range(lanes)]

    def gather(batch: list[tuple[str, Taken]]) -> list[Gathered]:
        found = Gathered({}, [], [], [], [])
        duplicates = erased = items = 0
        for user_id, taken in batch:
            if taken.items:
                items += len(taken.items)
                lane = names[_number(user_id) % lanes]
                if lane in found.items:
                    found.items[lane].extend(taken.items)
                else:
                    found.items[lane] = taken.items
            found.lessons.extend(taken.lessons)
            found.outcomes.extend(taken.outcomes)
            found.lates.extend([Late(without_text(event), at) for event, at in taken.lates])
            found.rejects.extend([reject_of(event, at, "profile", error) for event, at, error in taken.broken])
            duplicates, erased = duplicates + taken.duplicates, erased + taken.erased
        _count(found, items, duplicates, erased, telemetry)
        return [found]

    gathered = op.flat_map_batch("gathered", steps, gather)

    def to_lanes(batch: list[Gathered]) -> Iterable[tuple[str, list[LaneItem]]]:
        return chain.from_iterable(found.items.items() for found in batch)

    def to_lessons(batch: list[Gathered]) -> Iterable[Lesson]:
        return chain.from_iterable(found.lessons for found in batch)

    def to_lates(batch: list[Gathered]) -> Iterable[Late]:
        return chain.from_iterable(found.lates for found in batch)

    def to_rejects(batch: list[Gathered]) -> Iterable[Reject]:
        return chain.from_iterable(found.rejects for found in batch)

    def to_outcomes(batch: list[Gathered]) -> Iterable[Outcome]:
        return chain.from_iterable(found.outcomes for found in batch)

    return ProfileOut(
        items=op.flat_map_batch("items", gathered, to_lanes),
        lessons=op.flat_map_batch("lessons", gathered, to_lessons),
        lates=op.flat_map_batch("lates", gathered, to_lates),
        rejects=op.flat_map_batch("rejects", gathered, to_rejects),
        outcomes=op.flat_map_batch("outcomes", gathered, to_outcomes),
    )


def _count(found: Gathered, items: int, duplicates: int, erased: int, telemetry: Telemetry) -> None:
    late = len(found.lates)
    seen = len(found.lessons) - late - duplicates - erased
    telemetry.add("outcomes", Counter(seen=seen, late=late, duplicate=duplicates, erased=erased))
    changed = Counter([outcome.kind for outcome in found.outcomes])
    decisions = Counter(
        decision_points=items - len(found.outcomes) - erased,
        escalations=changed["escalated"],
        overturned=changed["overturned"],
    )
    telemetry.add("decisions", decisions)
    telemetry.add("rejects", Counter([reject.reason.value for reject in found.rejects]))
