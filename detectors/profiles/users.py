"""The users of a lane: events are processed in order of arrival, and their results are collected by kind.

A user as objects takes several times the memory of their serialised state, and most users are silent for hours. Only
the users thawed last are therefore kept live, as objects; when there are too many, the user who has been live for
longest is frozen, as bytes. If changes are recorded, states are serialised well before the end of an epoch, because the
whole flow waits for the serialisation that is left at that end.
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
"""Maximum number of live users of a process: few enough to stay in the processor's caches."""
YOUNG: Final[i64] = 4
"""A live user is serialised once 1 / `YOUNG` of the live limit was thawed after them: most are silent by then."""
MORE = 4
"""Due users checked per event: more than the new users that a batch can bring, so that dropping keeps up."""
WRITTEN: Final[i64] = 8_000_000
"""Limit of changes written ahead of `changes` (bytes); beyond it, a user who changes again is written only once."""


@final
class BatchResult:
    """The result of a batch of events: items for the lane, training events, outcomes, and events that did not count.

    `lates` are events too far behind their user's clock; `broken` are events whose processing raised an exception, with
    that exception. `silent` and `forgotten` are the numbers of users dropped after a silence and after an erasure.
    """

    __slots__ = (
        "broken",
        "duplicates",
        "erased",
        "forgotten",
        "items",
        "lates",
        "outcomes",
        "silent",
        "training_events",
    )

    def __init__(self) -> None:
        self.items: list[LaneItem] = []
        self.training_events: list[TrainingEvent] = []
        self.outcomes: list[Outcome] = []
        self.lates: list[tuple[Event, Position]] = []
        self.broken: list[tuple[Event, Position, Exception]] = []
        self.duplicates = 0
        self.erased = 0
        self.silent = 0
        self.forgotten = 0

    def __repr__(self) -> str:
        lists = (self.items, self.training_events, self.outcomes, self.lates, self.broken)
        counts = (self.duplicates, self.erased, self.silent, self.forgotten)
        return f"BatchResult({', '.join(map(repr, lists))}, {', '.join(map(repr, counts))})"


@mypyc_attr(acyclic=True)
@final
class _Slot:
    """One user, as long as any state is kept: live, as bytes, or both while no event has come since serialisation.

    Nothing that it holds refers back to it, so the garbage collector need not traverse every user.
    """

    __slots__ = ("changed", "state", "user", "user_id")

    def __init__(self, user_id: str, user: User | None, state: bytes | None) -> None:
        self.user_id = user_id
        self.user = user
        self.state = state
        self.changed = False  # since it was last written to the changes


@final
class Users:
    """All users of a lane, at most `live` of them as objects; `len` is their number.

    With `recorded`, changed users are tracked for a store: see `changes`.
    """

    # With many users, a dict lookup waits for memory, so each event makes only one.
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
        self._live: i64 = 0  # number of live users
        self._order: deque[_Slot] = deque()  # live users in order of thawing, and some dropped since
        self._young: deque[_Slot] = deque()  # users thawed last, in that order
        self._changed: list[_Slot] = []  # users whose latest state may not be written yet
        self._written = BytesWriter()
        self._given: i64 = 0  # bytes that `some_changes` has returned
        self._idle = Idle(rules.ttl + rules.lateness)

    def __len__(self) -> int:
        return len(self._known)

    @property
    def live(self) -> list[str]:
        """Return the ids of the users who are live."""
        return [slot.user_id for slot in self._order if slot.user is not None]

    def take(self, events: Iterable[tuple[Event, Position, Context | None]]) -> BatchResult:
        """Process events, each with its channel context, and drop users who were silent for too long.

        Every event gives one training event, or is in `broken`: the learner must account for every log position. After
        an erasure no state of the user is kept, unless later events create a new one.
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
            taken.training_events.append(training_event_of(step, tracked_from))
            time, outcome, point = step.time, step.outcome, step.point
            if step.turns:
                # lanes receive outcomes before the point of the same event, which did not predict them
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
        """Add a user from a stored state; the user is thawed by their next event.

        Raises:
            StateVersionError: if the state cannot be loaded.
        """
        clock, partition = User.front(state)
        self._known[user_id] = _Slot(user_id, None, state)
        if partition != NOWHERE:
            self._idle.move(user_id, partition, clock, NEVER)

    def changes(self) -> bytes:
        """Return the states of users changed since the last call, packed as by `pack_changes`; empty if none changed.

        Most users who have been silent for a while are written already, so this call has little left to do.

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
        """Return the number of bytes of changes that are already written, for users who will hardly change again."""
        return len(self._written)

    def some_changes(self) -> bytes:
        """Return the changes that are already written, packed likewise; `changes` returns only those after them."""
        written, self._written = self._written, BytesWriter()
        self._given += i64(len(written))
        return written.getvalue()

    def state_of(self, user_id: str) -> bytes | None:
        """Return a user's state as versioned bytes; None if no state is kept."""
        slot = self._known.get(user_id)
        return None if slot is None else _state_of(slot)

    def _thaw(self, slot: _Slot) -> User:
        """Return the user of a slot as live objects."""
        state, order = slot.state, self._order
        user = slot.user = User(self._rules) if state is None else User.load(state, self._rules)
        order.append(slot)
        self._live += 1
        while self._live > self._most:
            oldest = order.popleft()
            if oldest.user is not None:  # not dropped
                self._make(oldest)
                oldest.user = None
                self._live -= 1
        if i64(len(order)) > 2 * self._most:  # too many dropped users
            self._order = deque([live for live in order if live.user is not None])
        if self._recorded:
            self._young.append(slot)
            if i64(len(self._young)) > max(self._most // YOUNG, 1):
                self._make(self._young.popleft())
        return user

    def _make(self, slot: _Slot) -> None:
        """Serialise a live user if there were events since the last serialisation.

        A changed user's state is then written to the changes, within the limit `WRITTEN`.
        """
        user = slot.user
        if user is None or slot.state is not None:
            return
        state = slot.state = user.dump()
        if slot.changed and self._given + i64(len(self._written)) < WRITTEN:
            slot.changed = False
            write_change(self._written, slot.user_id, state)

    def _list(self, slot: _Slot, user: User, partition: int, before: int) -> None:
        """List a user under the day of their clock, which was at `before` (ms) until now."""
        now = user.profile.clock
        if now != before and (before < 0 or now // DAY != before // DAY):
            user.partition = partition
            self._idle.move(slot.user_id, partition, now, NEVER if before < 0 else before // DAY)

    def _drop(self, slot: _Slot, partition: int, clock: int) -> None:
        """Delete all state of a user."""
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
        """Drop a user who is still present, if their clock is earlier than `since` (ms)."""
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
