"""The users of a lane: their events are counted in the order they arrive, and dealt out by what they come to.

A user as objects takes several times the bytes of their state, and most users are not heard of for hours. So those
thawed last are kept live, and whoever has been live for longest is frozen when there are too many. Where changes are
recorded, their state is made well before: what is left of that to the end of an epoch, everybody waits for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, final

from librt.strings import BytesWriter
from mypy_extensions import i64, mypyc_attr

from detectors.features.context import Context
from detectors.features.signals import event_key
from detectors.profiles.delta import write_change
from detectors.profiles.idle import DAY, NEVER, Idle
from detectors.profiles.results import Erasure, LaneItem, Outcome, TrainingEvent, outcomes_of, training_event_of
from detectors.profiles.user import NOWHERE, CompiledPolicy, User
from schemas.records.base import Position
from schemas.records.events import ChatMessage, Event

LIVE = 8_000
"""Live users of a process: few enough to stay in the processor's caches, where most of them are worth keeping there."""
YOUNG: Final[i64] = 4
"""A live user's state is made once a quarter of the live ones have been thawed since: by then most are silent."""
MORE = 4
"""Silent users that are looked at for each event: more than a batch can bring new ones, so that dropping keeps up."""
WRITTEN: Final[i64] = 8_000_000
"""Bytes of changes that are written before anybody asks for them: beyond, whoever changes again is written once."""


@final
class BatchResult:
    """What events came to: items for the lane, lessons, outcomes, and the events that did not count.

    `lates` are events too far behind their user's clock, `broken` those that broke a step, with what was raised;
    `silent` and `forgotten` are how many users were dropped after a silence, and after an erasure.
    """

    __slots__ = ("broken", "duplicates", "erased", "forgotten", "items", "lates", "lessons", "outcomes", "silent")

    def __init__(self) -> None:
        self.items: list[LaneItem] = []
        self.lessons: list[TrainingEvent] = []
        self.outcomes: list[Outcome] = []
        self.lates: list[tuple[Event, Position]] = []
        self.broken: list[tuple[Event, Position, Exception]] = []
        self.duplicates = 0
        self.erased = 0
        self.silent = 0
        self.forgotten = 0

    def __repr__(self) -> str:
        lists = (self.items, self.lessons, self.outcomes, self.lates, self.broken)
        counts = (self.duplicates, self.erased, self.silent, self.forgotten)
        return f"Taken({', '.join(map(repr, lists))}, {', '.join(map(repr, counts))})"


@mypyc_attr(acyclic=True)
@final
class _Slot:
    """One user, for as long as anything is kept of them: live, as bytes, or both while no event has come since.

    Nothing that it holds leads back to it, so the garbage collector need not look at every user.
    """

    __slots__ = ("changed", "state", "user", "user_id")

    def __init__(self, user_id: str, user: User | None, state: bytes | None) -> None:
        self.user_id = user_id
        self.user = user
        self.state = state
        self.changed = False  # since it was last written to the changes


@final
class Users:
    """Everybody a lane knows, `live` of them at most as objects; `len` is how many they are.

    With `recorded`, it is remembered who has changed, for a store: see `changes`.
    """

    # With many users a look into their dict waits for memory, so each event has one.
    __slots__ = (
        "_changed",
        "_given",
        "_idle",
        "_known",
        "_live",
        "_most",
        "_order",
        "_recorded",
        "_rules",
        "_written",
        "_young",
    )

    def __init__(self, rules: CompiledPolicy, live: int = LIVE, *, recorded: bool = False) -> None:
        self._rules, self._recorded = rules, recorded
        self._most: i64 = live
        self._known: dict[str, _Slot] = {}
        self._live: i64 = 0  # how many are
        self._order: deque[_Slot] = deque()  # the live ones, as they were thawed, and some who were dropped since
        self._young: deque[_Slot] = deque()  # those thawed last, in that order
        self._changed: list[_Slot] = []  # those of whom the latest may not be written yet
        self._written = BytesWriter()
        self._given: i64 = 0  # bytes of changes that were asked for before all of them are
        self._idle = Idle(rules.ttl + rules.lateness)

    def __len__(self) -> int:
        return len(self._known)

    @property
    def live(self) -> list[str]:
        """Who is at hand as objects."""
        return [slot.user_id for slot in self._order if slot.user is not None]

    def take(self, events: Iterable[tuple[Event, Position, Context | None]]) -> BatchResult:
        """Count events, each with what it found in its channel, and drop users who were silent for too long.

        Every event gives one lesson, or is broken: the learner must hear of every place in the order. Nothing of a user
        is kept after an erasure with nothing behind it.
        """
        taken, known, tracked_from, many = BatchResult(), self._known, self._rules.tracked_from, 0
        for event, at, context in events:
            many += 1
            slot = known.get(event.user_id)
            if slot is None:
                user_id = event.user_id
                slot = known[user_id] = _Slot(user_id, None, None)
            user = slot.user
            if user is None:
                user = self._thaw(slot)
            slot.state = None
            if self._recorded and not slot.changed:
                slot.changed = True
                self._changed.append(slot)
            before = user.profile.clock
            try:
                step = user.step(event, at, context)
            except Exception as error:
                profile = user.profile
                moderation = not isinstance(event, ChatMessage)
                profile.unsee(event_key(event.event_id, moderation=moderation))
                taken.broken.append((event, at, error))
                self._list(slot, user, at.partition, before)
                if profile.events == 0 and not len(profile.seen):
                    self._drop(slot, user.partition, profile.clock)
                continue
            taken.lessons.append(training_event_of(step, tracked_from))
            time, outcome, point = step.time, step.outcome, step.point
            if step.turns:
                # lanes hear of it too, before the point of the same event, which has not foretold it
                turns = outcomes_of(step)
                taken.outcomes.extend(turns)
                taken.items.extend(turns)
            if point is not None:
                taken.items.append(point)
            if outcome == "seen":
                self._list(slot, user, at.partition, before)
            elif outcome == "late":
                taken.lates.append((event, at))
            elif outcome == "duplicate":
                taken.duplicates += 1
            else:
                taken.erased += 1
                taken.items.append(Erasure(slot.user_id, time, at))
                taken.forgotten += before >= 0
                self._drop(slot, user.partition, before)
        for user_id, since in self._idle.due(MORE * many):
            self._drop_if_silent(user_id, since, taken)
        return taken

    def restore(self, user_id: str, state: bytes) -> None:
        """Take in a user whose state was kept; nobody is thawed before there is an event.

        Raises:
            StateVersionError: if the state cannot be loaded.
        """
        clock, partition = User.front(state)
        self._known[user_id] = _Slot(user_id, None, state)
        if partition != NOWHERE:
            self._idle.move(user_id, partition, clock, NEVER)

    def changes(self) -> bytes:
        """The state of everybody who has changed since the last call, packed as by `pack_changes`; empty if nobody has.

        Most who were not heard of for a while are in it already, so that little is left to do now.

        Raises:
            ValueError: if changes are not recorded.
        """
        if not self._recorded:
            raise ValueError("changes are not recorded")
        written = self._written
        for slot in self._changed:
            if slot.changed:
                slot.changed = False
                write_change(written, slot.user_id, _state_of(slot))
        self._changed, self._written, self._given = [], BytesWriter(), 0
        return written.getvalue()

    @property
    def written(self) -> int:
        """How many bytes of the changes are written already, because they will hardly change again."""
        return len(self._written)

    def some_changes(self) -> bytes:
        """What is written of the changes already, packed likewise; `changes` gives what comes after it."""
        written, self._written = self._written, BytesWriter()
        self._given += i64(len(written))
        return written.getvalue()

    def state_of(self, user_id: str) -> bytes | None:
        """A user's state as versioned bytes; None of whom nothing is kept."""
        slot = self._known.get(user_id)
        return None if slot is None else _state_of(slot)

    def _thaw(self, slot: _Slot) -> User:
        """A user for whom there is an event, live."""
        state, order = slot.state, self._order
        user = slot.user = User(self._rules) if state is None else User.load(state, self._rules)
        order.append(slot)
        self._live += 1
        while self._live > self._most:
            oldest = order.popleft()
            if oldest.user is not None:  # and not dropped
                self._make(oldest)
                oldest.user = None
                self._live -= 1
        if i64(len(order)) > 2 * self._most:  # the dropped are in the way
            self._order = deque([live for live in order if live.user is not None])
        if self._recorded:
            self._young.append(slot)
            if i64(len(self._young)) > max(self._most // YOUNG, 1):
                self._make(self._young.popleft())
        return user

    def _make(self, slot: _Slot) -> None:
        """Make a live user's state, if there is none as of the last event, and write it to the changes if it is one."""
        user = slot.user
        if user is None or slot.state is not None:
            return
        state = slot.state = user.dump()
        if slot.changed and self._given + i64(len(self._written)) < WRITTEN:
            slot.changed = False
            write_change(self._written, slot.user_id, state)

    def _list(self, slot: _Slot, user: User, partition: int, before: int) -> None:
        """List a user under the day of their clock, which stood at `before` until now."""
        now = user.profile.clock
        if now != before and (before < 0 or now // DAY != before // DAY):
            user.partition = partition
            self._idle.move(slot.user_id, partition, now, NEVER if before < 0 else before // DAY)

    def _drop(self, slot: _Slot, partition: int, clock: int) -> None:
        """Keep nothing of a user."""
        user_id = slot.user_id
        del self._known[user_id]
        if slot.user is not None:
            self._live -= 1
        slot.user = slot.state = None
        slot.changed = False
        if partition != NOWHERE:
            self._idle.drop(user_id, partition, clock // DAY)
        if self._recorded:
            write_change(self._written, user_id, None)

    def _drop_if_silent(self, user_id: str, since: int, taken: BatchResult) -> None:
        """Drop a user who is still there, if nothing was heard of them at `since` (ms) or later."""
        slot = self._known.get(user_id)
        if slot is None:
            return
        user, state = slot.user, slot.state
        if user is not None:
            clock, partition = user.profile.clock, user.partition
        elif state is not None:
            clock, partition = User.front(state)
        else:
            return
        if clock < since:
            taken.silent += 1
            self._drop(slot, partition, clock)


def _state_of(slot: _Slot) -> bytes | None:
    return slot.state if slot.user is None or slot.state is not None else slot.user.dump()
