"""One user, one event at a time: from an Event to a decision point and the examples it makes known.

This is the law of the system in one place: late events and duplicates are told apart before they count, the clock
moves, signals are counted, an escalation turns waiting points into positives, and only then a new point is made.
"""

from __future__ import annotations

from typing import Final, Literal, final

import orjson
from librt.strings import BytesWriter
from mypy_extensions import i64

from detectors.channels import Context, add_signals
from detectors.contract import DecisionPoint, Example
from detectors.features.catalogue import CATALOGUE
from detectors.features.layouts import LAYOUTS, Layout, layout_of, shape_of
from detectors.features.packed import Reader, write_key, write_whole
from detectors.features.plan import Plan, compile_plan
from detectors.features.profile import Profile
from detectors.features.signals import read_message, read_moderation, stable_hash
from detectors.features.stored import move_columns, read_profile, write_profile
from detectors.features.tokens import message_token, moderation_token
from detectors.features.vector import vector_of
from detectors.history import History, read_history
from detectors.policy import Policy
from detectors.storage import known_version
from detectors.target import Target
from schemas.records import ChatMessage, Event, ModerationEvent, Position

COMPILED = not __file__.endswith(".py")
"""Whether this module, and with it all that every event passes through, is compiled."""
STATE_VERSION = 6
"""Version of a dumped user; none before it is read, because no store of that time is."""
_NAME: Final = 4
"""Bytes of a layout's name."""
NOWHERE = -1
"""The source partition of a user of whom nobody has said one."""

Outcome = Literal["seen", "late", "duplicate", "erased"]


@final
class Step:
    """What one event of one user came to. Every event gives exactly one step, whatever its outcome.

    `time` is the event time, `escalated` whether this event made the user escalate, `overturned` whether it took an
    escalation back.
    """

    __slots__ = ("at", "escalated", "examples", "outcome", "overturned", "point", "time", "user_id")

    def __init__(
        self,
        at: Position,
        user_id: str,
        time: i64,
        outcome: Outcome,
        point: DecisionPoint | None = None,
        examples: tuple[Example, ...] = (),
        escalated: bool = False,
        overturned: bool = False,
    ) -> None:
        self.at = at
        self.user_id = user_id
        self.time: i64 = time
        self.outcome = outcome
        self.point = point
        self.examples = examples
        self.escalated = escalated
        self.overturned = overturned

    def __repr__(self) -> str:
        told = (self.at, self.user_id, self.time, self.outcome, self.point, self.examples)
        return f"Step({', '.join(map(repr, told))}, {self.escalated}, {self.overturned})"


class Rulebook:
    """What every user is treated by: the compiled features, target, lateness and profile TTL of a policy.

    `tracked_from` is the number of events from which a user's points go into the track record; None without one.
    """

    def __init__(self, policy: Policy) -> None:
        self.plan: Plan = compile_plan(CATALOGUE, policy.strike_expiry)
        self.target = Target(policy)
        self.lateness: i64 = policy.allowed_lateness
        self.ttl: i64 = policy.profile_ttl
        self.tracked_from: int | None = policy.learning.min_events if policy.tracked else None


@final
class User:
    """One user's bounded state. `dump` and `load` are its storage format.

    `partition` is the source partition their events come from, for whoever keeps many users; `NOWHERE` if nobody said.
    """

    __slots__ = ("history", "partition", "profile", "rules")

    def __init__(
        self,
        rules: Rulebook,
        partition: int = NOWHERE,
        profile: Profile | None = None,
        history: History | None = None,
    ) -> None:
        self.rules = rules
        self.partition = partition
        self.profile: Profile = Profile(rules.plan) if profile is None else profile
        self.history: History = History() if history is None else history

    def step(self, event: Event, at: Position, context: Context | None = None) -> Step:
        """Take one event, with what a message finds in its channel where that is known.

        After an erasure the caller drops this object and with it all that was known.
        """
        profile, target, history = self.profile, self.rules.target, self.history
        time: i64 = event.event_time
        user_id = event.user_id
        if not isinstance(event, ChatMessage) and event.kind == "erasure":
            return Step(at, user_id, time, "erased")  # however late, and whatever its id: it is always carried out
        clock, rules = profile.clock, self.rules
        if time < clock - rules.lateness:
            return Step(at, user_id, time, "late")
        if time > clock + rules.ttl and clock >= 0:
            # Back after too long a silence. It is the user's own events that say so, and nothing else in the log, so
            # whoever keeps users may drop a silent one at any time from here on, or never.
            profile = self.profile = Profile(rules.plan)
            history = self.history = History()
        key: i64 = stable_hash(event.event_id)
        if profile.is_duplicate(key):
            return Step(at, user_id, time, "duplicate")
        learnt: list[Example] = []
        escalated = overturned = False
        if isinstance(event, ChatMessage):
            signals, keys = read_message(event, profile.texts)  # before all else: what cannot be read moves no clock
            scratch = profile.advance(time)
            channel: i64 = keys[0][1]
            profile.trail += message_token(signals, moved=profile.channel not in (channel, -1))
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
            target.at_risk(history, profile.clock)  # a reset that is due comes before what happens now
            profile.trail += moderation_token(event)
            profile.add(signals, keys, time)
            escalated, overturned = self._moderate(event, learnt)
            if event.reversal is not None:
                profile.read_sanction_since(scratch)
        if not target.at_risk(history, profile.clock):
            return Step(at, user_id, time, "seen", None, tuple(learnt), escalated, overturned)
        served = (user_id, profile.clock, event.event_id, vector_of(profile, scratch), profile.events, at)
        point = tuple.__new__(DecisionPoint, served)  # without the frame of Python that calling the class would make
        negative = target.offer(history, point, key)
        if negative is not None:
            learnt.append(negative)
        return Step(at, user_id, time, "seen", point, tuple(learnt), escalated, overturned)

    def _moderate(self, event: ModerationEvent, learnt: list[Example]) -> tuple[bool, bool]:
        """Count a moderation event; whether the user escalated by it, and whether an escalation was taken back."""
        profile, target, history = self.profile, self.rules.target, self.history
        counted = taken_back = None
        if event.sanction is not None:
            severity = event.sanction.severity
            if profile.sanctions().add(stable_hash(event.event_id), event.event_time, severity):
                counted = target.count(history, event, severity)
        elif event.report is not None:
            counted = target.count(history, event, 0)
        elif event.reversal is not None:
            profile.sanctions().overturn(stable_hash(event.reversal.sanction_id), event.event_time)
            taken_back = target.overturn(history, event, event.reversal.sanction_id)
        learnt.extend(counted or taken_back or ())
        return counted is not None, taken_back is not None

    def dump(self) -> bytes:
        """Everything known of the user, as versioned compact bytes.

        The clock, the partition and the layout stand in front, where they can be read without the rest.
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
        """The clock of a dumped user and the source partition.

        Raises:
            StateVersionError: if the user cannot be loaded, for all that the front says.
        """
        known_version(data, STATE_VERSION, "user", STATE_VERSION)
        reader = Reader(data, 1)
        clock, partition = reader.key(), reader.whole() - 1
        layout_of(_layout(reader))
        return clock, partition

    @staticmethod
    def load(data: bytes, rules: Rulebook) -> User:
        """The user that was dumped, under the same catalogue or another.

        Raises:
            StateVersionError: if the bytes are of a version, or of a layout, that this reader does not know.
        """
        known_version(data, STATE_VERSION, "user", STATE_VERSION)
        reader, plan = Reader(data, 1), rules.plan
        clock, partition = reader.key(), reader.whole() - 1
        told = _layout(reader)
        if told == plan.layout_id:
            profile = read_profile(reader, plan.shape, plan, clock)
        else:
            layout = layout_of(told)
            profile = read_profile(reader, shape_of(layout), plan, clock)
            move_columns(profile, layout)
        return User(rules, partition, profile, read_history(reader, clock))


def _layout(reader: Reader) -> str | Layout:
    """What a state says of its layout: its name, or itself."""
    size = reader.whole()
    told = reader.taken(size)
    return told.hex() if size == _NAME else orjson.loads(told)
