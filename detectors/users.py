"""The users of a lane: their events are counted in the order they arrive, and dealt out by what they come to.

A user as objects takes several times the bytes of their state, and most users are not heard of for hours. So those
thawed last are kept live, and whoever has been live for longest is frozen when there are too many. Where changes are
recorded, their state is made well before: what is left of that to the end of an epoch, everybody waits for.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Final, final

from librt.strings import BytesWriter
from mypy_extensions import i64

from detectors.changes import write_change
from detectors.channels import Context
from detectors.features.signals import stable_hash
from detectors.idle import DAY, NEVER, Idle
from detectors.items import Erasure, LaneItem, Lesson, Outcome, lesson_of
from detectors.user import NOWHERE, Rulebook, User
from schemas.records import Event, Position

LIVE = 8_000
"""Live users of a process: few enough to stay in the processor's caches, where most of them are worth keeping there."""
YOUNG: Final[i64] = 4
"""A live user's state is made once a quarter of the live ones have been thawed since: by then most are silent."""
MORE = 4
"""Silent users that are looked at for each event: more than a batch can bring new ones, so that dropping keeps up."""
WRITTEN: Final[i64] = 8_000_000
"""Bytes of changes that are written before anybody asks for them: beyond, whoever changes again is written once."""


@final
class Taken:
    """What events came to: items for the lane, lessons, outcomes, and the events that did not count.

    `lates` are events too far behind their user's clock, `broken` those that broke a step, with what was raised;
    `silent` and `forgotten` are how many users were dropped after a silence, and after an erasure.
    """

    __slots__ = ("broken", "duplicates", "erased", "forgotten", "items", "lates", "lessons", "outcomes", "silent")

    def __init__(self) -> None:
        self.items: list[LaneItem] = []
        self.lessons: list[Lesson] = []
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


@final
class Users:
    """Everybody a lane knows, `live` of them at most as objects; `len` is how many they are.

    With `recorded`, it is remembered who has changed, for a store: see `changes`.
    """

    __slots__ = (
        "_changed",
        "_count",
        "_frozen",
        "_given",
        "_idle",
        "_live",
        "_most",
        "_order",
        "_ready",
        "_recorded",
        "_rules",
        "_written",
        "_young",
    )

    def __init__(self, rules: Rulebook, live: int = LIVE, *, recorded: bool = False) -> None:
        self._rules, self._most, self._recorded = rules, live, recorded
        self._live: dict[str, User] = {}
        self._order: OrderedDict[str, None] = OrderedDict()  # the live ones, as they were thawed
        self._young: deque[str] = deque()  # those thawed last, in that order
        self._ready: dict[str, bytes] = {}  # states of live ones who were not heard of since
        self._frozen: dict[str, bytes] = {}  # the states of the others
        self._changed: dict[str, None] = {}  # of whom the latest is not yet written
        self._written = BytesWriter()
        self._given: i64 = 0  # bytes of changes that were asked for before all of them are
        self._idle = Idle(rules.ttl + rules.lateness)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def live(self) -> list[str]:
        """Who is at hand as objects."""
        return list(self._live)

    def take(self, events: Iterable[tuple[Event, Position, Context | None]]) -> Taken:
        """Count events, each with what it found in its channel, and drop users who were silent for too long.

        Every event gives one lesson, or is broken: the learner must hear of every place in the order. Nothing of a user
        is kept after an erasure with nothing behind it.
        """
        taken, live, tracked_from, many = Taken(), self._live, self._rules.tracked_from, 0
        recorded, changed, ready = self._recorded, self._changed, self._ready
        for event, at, context in events:
            many += 1
            user_id = event.user_id
            found = live.get(user_id)
            user = self._thaw(user_id) if found is None else found
            if user_id in ready:
                del ready[user_id]
            if recorded:
                changed[user_id] = None
            before = user.profile.clock
            try:
                step = user.step(event, at, context)
            except Exception as error:
                profile = user.profile
                profile.unsee(stable_hash(event.event_id))
                taken.broken.append((event, at, error))
                self._list(user, user_id, at.partition, before)
                if profile.events == 0 and not len(profile.seen):
                    self._drop(user_id, user.partition, profile.clock)
                continue
            taken.lessons.append(lesson_of(step, tracked_from))
            time, outcome, point = step.time, step.outcome, step.point
            if step.escalated or step.overturned:
                # lanes hear of it too, before the point of the same event, which has not foretold it
                turn = Outcome(user_id, time, "escalated" if step.escalated else "overturned", at)
                taken.outcomes.append(turn)
                taken.items.append(turn)
            if point is not None:
                taken.items.append(point)
            if outcome == "seen":
                self._list(user, user_id, at.partition, before)
            elif outcome == "late":
                taken.lates.append((event, at))
            elif outcome == "duplicate":
                taken.duplicates += 1
            else:
                taken.erased += 1
                taken.items.append(Erasure(user_id, time, at))
                taken.forgotten += before >= 0
                self._drop(user_id, user.partition, before)
        for user_id, since in self._idle.due(MORE * many):
            self._drop_if_silent(user_id, since, taken)
        return taken

    def restore(self, user_id: str, state: bytes) -> None:
        """Take in a user whose state was kept; nobody is thawed before there is an event.

        Raises:
            StateVersionError: if the state cannot be loaded.
        """
        clock, partition = User.front(state)
        self._frozen[user_id] = state
        self._count += 1
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
        for user_id in self._changed:
            write_change(written, user_id, self.state_of(user_id))
        self._changed, self._written, self._given = {}, BytesWriter(), 0
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
        user = self._live.get(user_id)
        return self._frozen.get(user_id) if user is None else user.dump()

    def _thaw(self, user_id: str) -> User:
        """A user for whom there is an event, live."""
        state = self._frozen.pop(user_id, None)
        if state is None:
            user = User(self._rules)
            self._count += 1
        else:
            user = User.load(state, self._rules)
        self._live[user_id] = user
        self._order[user_id] = None
        if len(self._order) > self._most:
            first, _ = self._order.popitem(last=False)
            oldest, ready = self._live.pop(first), self._ready.pop(first, None)
            self._frozen[first] = self._made(first, oldest) if ready is None else ready
        if self._recorded:
            self._young.append(user_id)
            if len(self._young) > max(self._most // YOUNG, 1):
                grown = self._young.popleft()
                known = self._live.get(grown)
                if known is not None:
                    self._ready[grown] = self._made(grown, known)
        return user

    def _made(self, user_id: str, user: User) -> bytes:
        """A user's state, written to the changes if it is one."""
        state = user.dump()
        if user_id in self._changed and self._given + i64(len(self._written)) < WRITTEN:
            del self._changed[user_id]
            write_change(self._written, user_id, state)
        return state

    def _list(self, user: User, user_id: str, partition: int, before: int) -> None:
        """List a user under the day of their clock, which stood at `before` until now."""
        now = user.profile.clock
        if now != before and (before < 0 or now // DAY != before // DAY):
            user.partition = partition
            self._idle.move(user_id, partition, now, NEVER if before < 0 else before // DAY)

    def _drop(self, user_id: str, partition: int, clock: int) -> None:
        """Keep nothing of a user."""
        self._live.pop(user_id, None)
        self._order.pop(user_id, None)
        self._ready.pop(user_id, None)
        self._frozen.pop(user_id, None)
        self._count -= 1
        if partition != NOWHERE:
            self._idle.drop(user_id, partition, clock // DAY)
        if self._recorded:
            self._changed[user_id] = None

    def _drop_if_silent(self, user_id: str, since: int, taken: Taken) -> None:
        """Drop a user who is still there, if nothing was heard of them at `since` (ms) or later."""
        user = self._live.get(user_id)
        if user is not None:
            clock, partition = user.profile.clock, user.partition
        else:
            state = self._frozen.get(user_id)
            if state is None:
                return
            clock, partition = User.front(state)
        if clock < since:
            taken.silent += 1
            self._drop(user_id, partition, clock)
