"""What a channel was like when a message came: the history of rooms, pages and matches, and who answers whom.

A channel's history is made of the messages of many users, who meet nowhere else in the dataflow. So it is kept for each
source partition, in the order of the log, before the users part: what a message sees of its channel is then a property
of the log alone, and the same in a replay. A partition sees the messages of its own users. With several partitions that
is an even sample of the users in every channel: shares and ratios keep their meaning, `rate` counts a part.
"""

from __future__ import annotations

from math import nan
from typing import Any, NamedTuple, TypeVar

from detectors.base.elementary import FADED, exp2
from detectors.base.log_clock import LogClock
from detectors.base.state import pack, unpack
from detectors.features.context import Context
from detectors.features.rulings import begins_anew, counts, is_late, takes_back
from detectors.features.signals import key_of, stable_hash, toxicity_of
from schemas.records.events import ChatMessage, Event, ModerationEvent

K = TypeVar("K", int, tuple[int, int])


T = TypeVar("T")


STATE_VERSION = 2
"""Version of the dumped channels of a partition; the one before it is read."""


HOUR = 3_600_000
"""Half-life of what is going on in a channel (ms)."""


MONTH = 30 * 24 * HOUR
"""Half-life of a channel's history (ms)."""


UNPUNISHED = 20.0
"""Messages without a sanction that every channel is taken to begin with."""


POSTERS = 16
"""How many of a channel's latest users are known again in it."""


SANCTIONS = 4_096
"""Of how many of a partition's latest sanctions it is known whether they stand."""


EVER = 2**62
"""A lateness, or a silence, that nothing exceeds (ms)."""


STRANGER = (-1, -1)


def _touch(table: dict[K, T], key: K, value: T, most: int) -> None:
    """Put an entry last in a table that keeps so many, those touched longest ago first to go."""
    table.pop(key, None)
    table[key] = value
    while len(table) > most:
        del table[next(iter(table))]


def _faded(amount: float, fade: float) -> float:
    """A sum that has faded, or nothing where too little is left of it."""
    left = amount * fade
    return left if left >= FADED else 0.0


_KEPT = ("clock", "first", "latest", "newcomers", "posters", "rate", "sanctions", "scored", "total", "toxicity")


class Channel:
    """One channel's history. Sums hold as of `clock`, the log's when something last happened here."""

    __slots__ = _KEPT

    def __init__(self, time: int) -> None:
        self.first = self.clock = time
        self.rate = self.scored = self.toxicity = 0.0
        self.total = self.newcomers = self.sanctions = 0.0
        self.latest = -1  # who spoke last
        self.posters: dict[int, list[float]] = {}  # by user: latest message, first answer (-1: none), rate as of then

    def move(self, now: int) -> int:
        """Bring the sums up to a time, and return the channel's own, which never goes back."""
        if now > self.clock:
            passed, self.clock = now - self.clock, now
            fade = exp2(-passed / HOUR)
            self.rate = _faded(self.rate, fade)
            self.scored = _faded(self.scored, fade)
            self.toxicity = self.toxicity * fade if self.scored else 0.0
            fade = exp2(-passed / MONTH)
            self.total = _faded(self.total, fade)
            self.newcomers = self.newcomers * fade if self.total else 0.0
            self.sanctions = _faded(self.sanctions, fade)
        return self.clock

    def see(self, user: int, now: int, toxicity: float | None) -> Context:
        """What a message finds here; then it counts."""
        now = self.move(now)
        posters = self.posters
        known = posters.get(user)
        own, answered, lag = 0.0, nan, nan
        if known is not None:
            last, answer, own = known
            own *= exp2((last - now) / HOUR)
            if answer >= 0:
                answered, lag = (now - answer) / 1000, (answer - last) / 1000
        rate, total, scored = self.rate, self.total, self.scored
        context = Context(
            (now - self.first) / 1000,
            rate,
            self.newcomers / total if total else nan,
            self.sanctions / (total + UNPUNISHED),
            self.toxicity / scored if scored else nan,
            min(own / rate, 1.0) if rate else nan,
            answered,
            lag,
        )
        if self.latest != user:
            spoken_to = posters.get(self.latest)
            if spoken_to is not None and spoken_to[1] < 0:
                spoken_to[1] = now
            self.latest = user
        _touch(posters, user, [now, -1, own + 1.0], POSTERS)
        self.rate = rate + 1.0
        self.total = total + 1.0
        if known is None:
            self.newcomers += 1.0
        if toxicity is not None:
            self.scored = scored + 1.0
            self.toxicity += toxicity
        return context

    def sanction(self, now: int) -> int:
        """Count a sanction, and return when that was."""
        now = self.move(now)
        self.sanctions += 1.0
        return now

    def take_back(self, since: int, now: int) -> None:
        """Take a sanction back that was counted when the clock said `since`."""
        now = self.move(now)
        self.sanctions = max(0.0, self.sanctions - exp2((since - now) / MONTH))

    def state(self) -> list[Any]:
        """Everything as plain data."""
        return [getattr(self, name) for name in _KEPT]

    @classmethod
    def from_state(cls, state: list[Any]) -> Channel:
        """A channel from its state."""
        channel = cls(0)
        for name, value in zip(_KEPT, state, strict=True):
            setattr(channel, name, value)
        return channel


class Ruled(NamedTuple):
    """A sanction: whether it stands, and in which channel it was counted, when; -1 where it was not."""

    upheld: bool
    channel: int = -1
    time: int = -1


class Channels:
    """The channels of one source partition, as many as `remembered`: beyond that the longest silent goes.

    A sanction counts in the channel where its user spoke last, until a reversal takes it back; what counts, and when,
    is the law that `rulings` states for users too. All of a user's events are in one partition, so their clock is known
    here as well: of the `remembered` users heard of last. Messages count in their channel however late they are and
    however often they come. What happens, happens when its event says, as far as the partition's clock supports that
    (`LogClock.bound`): a few wrong clocks age no channel.
    """

    def __init__(self, remembered: int, lateness: int = EVER, ttl: int = EVER) -> None:
        self._most, self._lateness, self._ttl = remembered, lateness, ttl
        self._clock = LogClock()
        self._channels: dict[int, Channel] = {}
        self._users: dict[int, tuple[int, int]] = {}  # the user's clock (ms), and the channel of the latest message
        self._sanctions: dict[tuple[int, int], Ruled] = {}  # by user and id

    def see(self, event: Event) -> Context | None:
        """Take one event in its turn; what a message finds in its channel, None while one user alone was heard of."""
        user, clock = key_of(event.user_id), self._clock
        clock.advance(event.user_id, event.event_time)
        if not isinstance(event, ChatMessage) and event.kind == "erasure":
            self._forget(user)
            clock.forget(event.user_id)
            return None
        time = event.event_time
        now = -1 if clock.now < 0 else clock.bound(time)
        shown, spoke = self._users.get(user, STRANGER)
        late = is_late(time, shown, self._lateness)
        if begins_anew(time, shown, self._ttl):
            self._forget_sanctions(user)
        if not late and time > shown:
            shown = time
        context = None
        if isinstance(event, ChatMessage):
            if now >= 0:
                spoke, channels = key_of(event.channel), self._channels
                channel = channels.get(spoke) or Channel(now)
                _touch(channels, spoke, channel, self._most)
                context = channel.see(user, now, toxicity_of(event))
        elif not late:
            self._moderate(user, spoke, event, now)
        _touch(self._users, user, (shown, spoke), self._most)
        return context

    def _moderate(self, user: int, spoke: int, event: ModerationEvent, now: int) -> None:
        """Count a sanction in the channel where its user spoke last, and take an overturned one back where it was."""
        sanctions, channels = self._sanctions, self._channels
        if event.sanction is not None:
            identity = user, stable_hash(event.event_id)
            ruled = sanctions.get(identity)
            if not counts(None if ruled is None else ruled.upheld):
                return
            where = spoke if now >= 0 and spoke in channels else -1
            if where >= 0:
                now = channels[where].sanction(now)
            _touch(sanctions, identity, Ruled(True, where, now), SANCTIONS)
        elif event.reversal is not None:
            identity = user, stable_hash(event.reversal.sanction_id)
            ruled = sanctions.get(identity)
            if ruled is not None and takes_back(ruled.upheld) and ruled.channel in channels:
                channels[ruled.channel].take_back(ruled.time, now)
            if ruled is None:
                _touch(sanctions, identity, Ruled(False), SANCTIONS)
            else:
                sanctions[identity] = Ruled(False)

    def _forget(self, user: int) -> None:
        """Keep nothing that stands for the user; what they said stays in the sums, which name nobody."""
        self._users.pop(user, None)
        self._forget_sanctions(user)
        for channel in self._channels.values():
            channel.posters.pop(user, None)
            if channel.latest == user:
                channel.latest = -1

    def _forget_sanctions(self, user: int) -> None:
        """Know of none of the user's sanctions any more; those that counted go on counting."""
        for identity in [identity for identity in self._sanctions if identity[0] == user]:
            del self._sanctions[identity]

    def dump(self) -> bytes:
        """Everything as versioned compact bytes."""
        kept = {
            "channels": {key: channel.state() for key, channel in self._channels.items()},
            "users": [(user, *shown) for user, shown in self._users.items()],
            "sanctions": [(*identity, *ruled) for identity, ruled in self._sanctions.items()],
            "clock": self._clock.state(),
        }
        return pack(kept, STATE_VERSION)

    @classmethod
    def load(cls, data: bytes, remembered: int, lateness: int = EVER, ttl: int = EVER) -> Channels:
        """The channels that were dumped.

        Version 1 knew no user's clock, and of a sanction not whose it was: those go on counting, and are not taken
        back.
        """
        known = cls(remembered, lateness, ttl)
        version, state = unpack(data, STATE_VERSION, "channels")
        known._channels = {key: Channel.from_state(channel) for key, channel in state["channels"].items()}
        known._clock = LogClock.load(state["clock"])
        if version == 1:
            known._users = {user: (-1, channel) for user, channel in state["spoken"].items()}
            return known
        known._users = {user: (clock, channel) for user, clock, channel in state["users"]}
        known._sanctions = {
            (user, sanction): Ruled(upheld, channel, time)
            for user, sanction, upheld, channel, time in state["sanctions"]
        }
        return known
