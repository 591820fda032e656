"""Processing of one user's events, one at a time: from an event to a decision point and the examples it makes known.

The order of processing is defined here only. Late events and duplicates are detected before they count; then the clock
advances, signals are counted, an escalation turns pending points into positives, and a new point is made last.
"""

from __future__ import annotations

from typing import Final, Literal, final

import orjson
from librt.strings import BytesWriter
from mypy_extensions import i64

from detectors.base.packed import Reader, write_key, write_whole
from detectors.base.points import DecisionPoint, Example
from detectors.base.state import known_version
from detectors.features.catalogue import CATALOGUE
from detectors.features.context import Context, add_signals
from detectors.features.layouts import LAYOUTS, Layout, layout_of, shape_of
from detectors.features.plan import Plan, compile_plan
from detectors.features.profile import Profile
from detectors.features.rulings import begins_anew, is_late
from detectors.features.signals import event_key, point_key, read_message, read_moderation, stable_hash
from detectors.features.stored import move_columns, read_profile, write_profile
from detectors.features.tokens import message_token, moderation_token
from detectors.features.vector import vector_of
from detectors.labels.reservoir import History, Turn, read_history
from detectors.labels.target import Target
from detectors.policy.policy import Policy
from schemas.records.base import Position
from schemas.records.events import ChatMessage, Event, ModerationEvent

COMPILED = not __file__.endswith(".py")
"""True if this module, and with it all code on the path of every event, is compiled."""
STATE_VERSION = 7
"""Version of a dumped user."""
_OLDEST: Final = 6
"""The oldest version that can be read; stores with earlier versions cannot be read either."""
_NAME: Final = 4
"""Length of a layout's name in bytes."""
NOWHERE = -1
"""The partition of a user whose source partition is not known."""

Outcome = Literal["seen", "late", "duplicate", "erased"]


@final
class EventResult:
    """The result of one event of one user. Every event gives exactly one result, whatever its outcome.

    `time` is the event time (ms); `turns` are the escalations that this event completed or overturned, in order.
    """

    __slots__ = ("at", "examples", "outcome", "point", "time", "turns", "user_id")

    def __init__(
        self,
        at: Position,
        user_id: str,
        time: i64,
        outcome: Outcome,
        point: DecisionPoint | None = None,
        examples: tuple[Example, ...] = (),
        turns: tuple[Turn, ...] = (),
    ) -> None:
        self.at = at
        self.user_id = user_id
        self.time: i64 = time
        self.outcome = outcome
        self.point = point
        self.examples = examples
        self.turns = turns

    @property
    def escalated(self) -> bool:
        """Return whether the event completed an escalation."""
        return any(turn.kind == "escalated" for turn in self.turns)

    @property
    def overturned(self) -> bool:
        """Return whether the event overturned an escalation."""
        return any(turn.kind == "overturned" for turn in self.turns)

    def __repr__(self) -> str:
        fields = (self.at, self.user_id, self.time, self.outcome, self.point, self.examples, self.turns)
        return f"EventResult({', '.join(map(repr, fields))})"


class CompiledPolicy:
    """The policy in the form that user processing needs: compiled features, target, allowed lateness and profile TTL.

    `tracked_from` is the number of events from which a user's points enter the threshold statistics; None without them.
    """

    def __init__(self, policy: Policy) -> None:
        self.plan: Plan = compile_plan(CATALOGUE, policy.strike_expiry)
        self.target = Target(policy.target, policy.learning)
        self.lateness: i64 = policy.allowed_lateness
        self.ttl: i64 = policy.profile_ttl
        self.tracked_from: int | None = policy.learning.min_events if policy.tracked else None


@final
class User:
    """The bounded state of one user. `dump` and `load` are its storage format.

    `partition` is the source partition of the user's events, `NOWHERE` if it is not known.
    """

    __slots__ = ("history", "partition", "profile", "rules")

    def __init__(
        self,
        rules: CompiledPolicy,
        partition: int = NOWHERE,
        profile: Profile | None = None,
        history: History | None = None,
    ) -> None:
        self.rules = rules
        self.partition = partition
        self.profile: Profile = Profile(rules.plan) if profile is None else profile
        self.history: History = History() if history is None else history

    def step(self, event: Event, at: Position, context: Context | None = None) -> EventResult:
        """Process one event, with the channel context of a message if it is known.

        After an erasure, the caller drops this object and with it the user's state.
        """
        profile, target, history = self.profile, self.rules.target, self.history
        time: i64 = event.event_time
        user_id = event.user_id
        if not isinstance(event, ChatMessage) and event.kind == "erasure":
            # always carried out, even if it is late or its id was seen before
            return EventResult(at, user_id, time, "erased")
        clock, rules = profile.clock, self.rules
        if is_late(time, clock, rules.lateness):
            return EventResult(at, user_id, time, "late")
        if begins_anew(time, clock, rules.ttl):
            # The user returns after too long a silence. This depends on the user's own events only, so the owner of
            # this object may drop a silent user at any time after the TTL, or never.
            profile = self.profile = Profile(rules.plan)
            history = self.history = History()
        moderation = not isinstance(event, ChatMessage)
        if profile.is_duplicate(event_key(event.event_id, moderation=moderation)):
            return EventResult(at, user_id, time, "duplicate")
        learnt: list[Example] = []
        turns: list[Turn] = []
        if isinstance(event, ChatMessage):
            signals, keys = read_message(event, profile.texts)  # first: an unreadable event must move no clock
            scratch = profile.advance(time)
            channel: i64 = keys[0][1]
            profile.recent_tokens += message_token(signals, moved=profile.channel not in (channel, -1))
            profile.channel = channel
            if rules.plan.paced:
                profile.pace(signals, time)
            if context is not None:
                profile.here = context
                add_signals(signals, context)
            profile.add(signals, keys, time)
        else:
            signals, keys = read_moderation(event)
            scratch = profile.advance(time)
            target.at_risk(history, profile.clock)  # a due reset applies before this event
            profile.recent_tokens += moderation_token(event)
            profile.add(signals, keys, time)
            self._moderate(event, at.seq, learnt, turns)
            if event.reversal is not None:
                profile.read_sanction_since(scratch)
        if not target.at_risk(history, profile.clock):
            return EventResult(at, user_id, time, "seen", None, tuple(learnt), tuple(turns))
        served = (user_id, profile.clock, event.event_id, vector_of(profile, scratch), profile.events, at, moderation)
        point = tuple.__new__(DecisionPoint, served)  # avoids the Python frame of a constructor call
        negative = target.offer(history, point, point_key(user_id, profile.events))
        if negative is not None:
            learnt.append(negative)
        return EventResult(at, user_id, time, "seen", point, tuple(learnt), tuple(turns))

    def _moderate(self, event: ModerationEvent, seq: int, learnt: list[Example], turns: list[Turn]) -> None:
        """Count a moderation event at log position `seq`; append the examples and the turns that it produces."""
        profile, target, history = self.profile, self.rules.target, self.history
        if event.sanction is not None:
            if profile.sanctions().add(stable_hash(event.event_id), event.event_time, event.sanction.severity):
                target.count(history, event, seq, learnt, turns)
        elif event.report is not None:
            target.count(history, event, seq, learnt, turns)
        elif event.reversal is not None:
            profile.sanctions().overturn(stable_hash(event.reversal.sanction_id), event.event_time)
            target.overturn(history, event, seq, learnt, turns)

    def dump(self) -> bytes:
        """Return the user's state as versioned compact bytes.

        The clock, the partition and the layout come first, so that they can be read without the rest.
        """
        plan, writer = self.rules.plan, BytesWriter()
        writer.append(STATE_VERSION)
        write_key(writer, self.profile.clock)
        write_whole(writer, self.partition + 1)
        released = plan.layout_id in LAYOUTS
        layout = bytes.fromhex(plan.layout_id) if released else orjson.dumps(plan.layout)
        write_whole(writer, len(layout))
        writer.write(layout)
        write_profile(writer, self.profile)
        self.history.write(writer, self.profile.clock)
        return writer.getvalue()

    @staticmethod
    def front(data: bytes) -> tuple[int, int]:
        """Return the clock (ms) and the source partition of a dumped user.

        Raises:
            StateVersionError: if the version or the layout is unknown, so that the user cannot be loaded.
        """
        known_version(data, STATE_VERSION, "user", _OLDEST)
        reader = Reader(data, 1)
        clock, partition = reader.key(), reader.whole() - 1
        layout_of(_layout(reader))
        return clock, partition

    @staticmethod
    def load(data: bytes, rules: CompiledPolicy) -> User:
        """Return the user of a dump, which may have been made under another catalogue.

        Raises:
            StateVersionError: if the bytes have a version or a layout that this reader does not know.
        """
        version = known_version(data, STATE_VERSION, "user", _OLDEST)
        reader, plan = Reader(data, 1), rules.plan
        clock, partition = reader.key(), reader.whole() - 1
        stored = _layout(reader)
        if stored == plan.layout_id:
            profile = read_profile(reader, plan.shape, plan, clock)
        else:
            layout = layout_of(stored)
            profile = read_profile(reader, shape_of(layout), plan, clock)
            move_columns(profile, layout)
        return User(rules, partition, profile, read_history(reader, clock, before_7=version == _OLDEST))


def _layout(reader: Reader) -> str | Layout:
    """Return the layout of a state: its name if it is released, otherwise the layout itself."""
    size = reader.whole()
    stored = reader.taken(size)
    return stored.hex() if size == _NAME else orjson.loads(stored)
