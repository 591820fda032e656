"""Channel context of a message: the history of rooms, pages and matches, and answers between users.

A channel's history consists of the messages of many users, who share no other state in the dataflow. It is therefore
kept for each source partition, in log order, before events are dealt to lanes. The context of a message is then a
property of the log alone, and the same in a replay. A partition contains the messages of its own users only. With
several partitions that is an even sample of the users in every channel: shares and ratios keep their meaning, while
`rate` counts only a part of the messages.
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
"""Version of the dumped channels of a partition; the previous version can be read."""


HOUR = 3_600_000
"""Half-life of a channel's recent activity (ms)."""


MONTH = 30 * 24 * HOUR
"""Half-life of a channel's history (ms)."""


UNPUNISHED = 20.0
"""Prior of the sanction ratio: messages without a sanction that every channel starts with."""


POSTERS = 16
"""Number of the latest users tracked in a channel."""


SANCTIONS = 4_096
"""Number of the latest sanctions of a partition whose status (upheld or overturned) is tracked."""


EVER = 2**62
"""A lateness, or a silence, that nothing exceeds (ms)."""


STRANGER = (-1, -1)


def _touch(table: dict[K, T], key: K, value: T, most: int) -> None:
    """Insert into an LRU table of at most `most` entries."""
    table.pop(key, None)
    table[key] = value
    while len(table) > most:
        del table[next(iter(table))]


def _faded(amount: float, fade: float) -> float:
    """Return a decayed sum, or 0 if it falls below `FADED`."""
    left = amount * fade
    return left if left >= FADED else 0.0


_KEPT = ("clock", "first", "latest", "newcomers", "posters", "rate", "sanctions", "scored", "total", "toxicity")


class Channel:
    """The history of one channel. Sums hold as of `clock`, the log's time of the latest event in the channel."""

    __slots__ = _KEPT

    def __init__(self, time: int) -> None:
        self.first = self.clock = time
        self.rate = self.scored = self.toxicity = 0.0
        self.total = self.newcomers = self.sanctions = 0.0
        self.latest = -1  # the user of the latest message
        self.posters: dict[int, list[float]] = {}  # by user: latest message, first answer (-1: none), rate at message

    def move(self, now: int) -> int:
        """Decay the sums to a time, and return the channel's clock, which never goes back."""
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
        """Return the context of a message, then count the message."""
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
        """Count a sanction, and return the channel's clock at that time."""
        now = self.move(now)
        self.sanctions += 1.0
        return now

    def take_back(self, since: int, now: int) -> None:
        """Undo a sanction that was counted when the channel's clock was at `since`."""
        now = self.move(now)
        self.sanctions = max(0.0, self.sanctions - exp2((since - now) / MONTH))

    def state(self) -> list[Any]:
        """Return the state as plain data."""
        return [getattr(self, name) for name in _KEPT]

    @classmethod
    def from_state(cls, state: list[Any]) -> Channel:
        """Return a channel from its state."""
        channel = cls(0)
        for name, value in zip(_KEPT, state, strict=True):
            setattr(channel, name, value)
        return channel


class Ruled(NamedTuple):
    """A sanction: whether it is upheld, and the channel and time in which it was counted; -1 if it was not counted."""

    upheld: bool
    channel: int = -1
    time: int = -1


class Channels:
    """The channels of one source partition, at most `remembered`: the longest silent channel is evicted first.

    A sanction counts in the channel of its user's latest message, until a reversal takes it back.
    `detectors.features.rulings` defines the events that count, and when, for channels as for users. All of a user's
    events are in one partition, so user clocks are tracked here as well, for the `remembered` users seen last. Messages
    count in their channel regardless of lateness and repetition. An event takes effect at its event time, as far as the
    partition's clock supports that time (`LogClock.bound`), so a few wrong clocks age no channel.
    """

    def __init__(self, remembered: int, lateness: int = EVER, ttl: int = EVER) -> None:
        self._most, self._lateness, self._ttl = remembered, lateness, ttl
        self._clock = LogClock()
        self._channels: dict[int, Channel] = {}
        self._users: dict[int, tuple[int, int]] = {}  # clock (ms), and channel of the latest message
        self._sanctions: dict[tuple[int, int], Ruled] = {}  # by user and sanction id

    def see(self, event: Event) -> Context | None:
        """Process one event in log order; return a message's context, None while only one user is known."""
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
        """Count a sanction in the channel of its user's latest message; undo an overturned one where it was counted."""
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
        """Delete everything that identifies the user; their messages stay in the sums, which identify nobody."""
        self._users.pop(user, None)
        self._forget_sanctions(user)
        for channel in self._channels.values():
            channel.posters.pop(user, None)
            if channel.latest == user:
                channel.latest = -1

    def _forget_sanctions(self, user: int) -> None:
        """Delete the user's sanctions; those that were counted stay in the sums."""
        for identity in [identity for identity in self._sanctions if identity[0] == user]:
            del self._sanctions[identity]

    def dump(self) -> bytes:
        """Return the state as versioned compact bytes."""
        kept = {
            "channels": {key: channel.state() for key, channel in self._channels.items()},
            "users": [(user, *shown) for user, shown in self._users.items()],
            "sanctions": [(*identity, *ruled) for identity, ruled in self._sanctions.items()],
            "clock": self._clock.state(),
        }
        return pack(kept, STATE_VERSION)

    @classmethod
    def load(cls, data: bytes, remembered: int, lateness: int = EVER, ttl: int = EVER) -> Channels:
        """Return the channels of a dump.

        Version 1 stored neither the users' clocks nor the users of sanctions: its sanctions stay counted and cannot be
        taken back.
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
