"""The users of a lane: what their events come to, who is kept how, who is dropped, and what a store is told."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from dataflows.testing import START, small_policy
from detectors.base.points import DecisionPoint
from detectors.base.state import StateVersionError
from detectors.features.context import Context
from detectors.profiles.delta import unpack_changes
from detectors.profiles.idle import DAY, LEAST, MARGIN
from detectors.profiles.results import Outcome, training_event_of
from detectors.profiles.user import COMPILED, CompiledPolicy, EventResult, User
from detectors.profiles.users import WRITTEN, BatchResult, Users
from schemas.records.base import Position
from schemas.records.events import ChatMessage, Event, ModerationEvent

POLICY = small_policy(rules={"report_burst": {"tier": "high", "limit": 3}})
RULES = CompiledPolicy(POLICY)
KEPT = RULES.ttl + RULES.lateness + MARGIN
"""How long a user is kept who says nothing more (ms)."""
MINUTE = 60_000

Arrived = tuple[Event, Position, Context | None]


def at(seq: int) -> Position:
    return Position("test", 0, seq, seq)


def message(seq: int, user_id: str = "ann", *, time: int | None = None, **fields: Any) -> Arrived:
    moment = START + seq * MINUTE if time is None else time
    chat = ChatMessage(event_id=f"m-{seq}", event_time=moment, user_id=user_id, channel="lobby", **fields)
    return chat, at(seq), None


def moderation(seq: int, kind: str, user_id: str = "ann", **detail: Any) -> Arrived:
    body = {} if kind == "erasure" else {kind: detail}
    record = {"event_id": f"x-{seq}", "event_time": START + seq * MINUTE, "user_id": user_id, "kind": kind, **body}
    return ModerationEvent.model_validate(record), at(seq), None


def ban(seq: int, user_id: str = "ann") -> Arrived:
    return moderation(seq, "sanction", user_id, action="ban", severity=5, policy="conduct")


def life() -> list[Arrived]:
    """A user's life: talk, reports, a ban that is reversed, another and its repetition, and something late."""
    return [
        message(0, text="hello everybody"),
        *(moderation(seq, "report", reporter_id=f"reporter-{seq}") for seq in (1, 2, 3)),
        ban(4),
        message(5),
        moderation(6, "reversal", sanction_id="x-4"),
        message(7, time=START - 10 * 60 * MINUTE, text="late"),
        ban(8),
        (ban(8)[0], at(9), None),
        message(10),
    ]


def steps_of(events: list[Arrived]) -> list[EventResult]:
    user = User(RULES)
    return [user.step(*arrived) for arrived in events]


def points(taken: BatchResult) -> list[DecisionPoint]:
    return [item for item in taken.items if isinstance(item, DecisionPoint)]


def test_every_event_gives_one_lesson_and_a_late_one_is_kept_beside_it() -> None:
    """Seen, late and duplicate alike: the learner must hear of every place in the order."""
    taken, steps = Users(RULES).take(life()), steps_of(life())
    assert repr(taken.training_events) == repr([training_event_of(step) for step in steps])
    assert [lesson.seq for lesson in taken.training_events] == list(range(11))
    assert repr(points(taken)) == repr([step.point for step in steps if step.point is not None])
    assert [item for item in taken.items if isinstance(item, Outcome)] == taken.outcomes
    assert [(turn.kind, turn.at.seq) for turn in taken.outcomes] == [
        ("escalated", 4),
        ("overturned", 6),
        ("escalated", 8),
    ]
    assert [(event.event_id, place.seq) for event, place in taken.lates] == [("m-7", 7)]
    assert (taken.duplicates, taken.erased, taken.broken) == (1, 0, [])


def test_nothing_is_kept_after_an_erasure_unless_the_user_comes_back() -> None:
    """Somebody new comes back, and whoever was never heard of can be erased too."""
    users = Users(RULES)
    users.take([message(0)])
    taken = users.take([moderation(1, "erasure"), moderation(2, "erasure", "bob")])
    assert (taken.erased, taken.forgotten, len(users), users.state_of("ann")) == (2, 1, 0, None)
    users.take([message(3), moderation(4, "erasure"), message(5)])
    fresh = Users(RULES)
    fresh.take([message(5)])
    assert len(users) == 1
    assert users.state_of("ann") == fresh.state_of("ann")


OTHERS = [f"other-{number}" for number in range(LEAST)]
"""So many users that their clocks are taken to be right."""


def long_after(users: Users, *events: Arrived) -> BatchResult:
    """Others show that a user's silence has been long enough."""
    later = START + KEPT + 2 * DAY
    return users.take([*(message(90 + number, user, time=later) for number, user in enumerate(OTHERS)), *events])


@pytest.mark.parametrize("live", [10, 2])
def test_a_user_who_was_silent_goes_without_a_word(live: int) -> None:
    """Whether at hand as objects or as bytes."""
    users = Users(RULES, live)
    users.take([message(0)])
    taken = long_after(users)
    assert (taken.silent, len(users), users.state_of("ann")) == (1, LEAST, None)
    assert [point.user_id for point in points(taken)] == OTHERS


def test_a_user_who_is_back_in_the_batch_that_drops_stays() -> None:
    """And begins anew, as after any such silence."""
    users = Users(RULES)
    users.take([message(0)])
    taken = long_after(users, message(192, time=START + KEPT + 2 * DAY))
    assert (taken.silent, len(users)) == (0, LEAST + 1)
    assert [point.events for point in points(taken)] == [1] * (LEAST + 1)


def test_a_late_event_in_the_batch_that_drops_is_handed_on() -> None:
    """It does not keep the user, and is not lost with them."""
    users = Users(RULES)
    users.take([message(0)])
    taken = long_after(users, message(192, time=START - DAY))
    assert taken.silent == 1
    assert [place.seq for _, place in taken.lates] == [192]
    assert [lesson.seq for lesson in taken.training_events] == [*range(90, 90 + LEAST), 192]


class Fragile(str):
    """A text that whoever looks into it stumbles over."""

    __slots__ = ()

    def casefold(self) -> str:
        raise LookupError("a secret")


def broken(seq: int, user_id: str = "ann") -> Arrived:
    """A message that cannot be counted."""
    event, where, _ = message(seq, user_id)
    return event.model_copy(update={"text": Fragile("hello")}), where, None


def test_an_event_that_breaks_a_step_is_set_aside_and_the_next_event_is_counted() -> None:
    """With what was raised; and a user of whom nothing else is known is not kept for it."""
    users = Users(RULES)
    taken = users.take([message(0), broken(1), message(2), broken(3, "bob")])
    assert [(place.seq, type(error)) for _, place, error in taken.broken] == [(1, LookupError), (3, LookupError)]
    assert [lesson.seq for lesson in taken.training_events] == [0, 2]
    assert [point.events for point in points(taken)] == [1, 2]
    assert len(users) == 1


def test_an_event_that_broke_a_step_is_no_duplicate_when_it_comes_again() -> None:
    """After the fix its dead letter is sent through again, and then it counts."""
    users = Users(RULES)
    users.take([message(0), broken(1)])
    mended = users.take([(message(1)[0], at(2), None)])
    assert (mended.duplicates, [lesson.seq for lesson in mended.training_events]) == (0, [2])
    assert len(mended.items) == 1


def test_users_who_are_too_many_to_be_live_are_kept_as_bytes_and_nothing_changes() -> None:
    """With room for one: whoever comes in freezes the other, who goes on as before."""
    roomy, narrow = Users(RULES), Users(RULES, 1)
    for number in range(12):
        user = "ann" if number % 3 else "bob"
        assert repr(narrow.take([message(number, user)])) == repr(roomy.take([message(number, user)]))
        assert narrow.live == [user]
        assert [narrow.state_of(name) for name in ("ann", "bob")] == [roomy.state_of(name) for name in ("ann", "bob")]


def test_whoever_is_dropped_makes_room() -> None:
    """Erased users leave no places behind that others would be frozen for, or that pile up."""
    users = Users(RULES, 3)
    for number in range(40):
        users.take([message(number, f"u{number}"), moderation(number + 100, "erasure", f"u{number}")])
    users.take([message(200), message(201, "bob"), message(202, "cid")])
    assert users.live == ["ann", "bob", "cid"]


def test_a_restored_user_is_thawed_by_the_first_event_and_not_before() -> None:
    """And is on the list of those who may be dropped."""
    before, resumed = Users(RULES, recorded=True), Users(RULES)
    before.take([message(0), message(1, "dan")])
    for user_id, state in unpack_changes(before.changes()):
        assert state is not None
        resumed.restore(user_id, state)
    assert (len(resumed), resumed.live) == (2, [])
    assert repr(resumed.take([message(2)])) == repr(before.take([message(2)]))
    assert resumed.live == ["ann"]
    assert long_after(resumed).silent == 2


@pytest.mark.slow
@pytest.mark.skipif(not COMPILED, reason="a class that is not compiled is always looked at")
def test_the_collector_looks_at_nobody_who_is_not_live() -> None:
    """Millions of them would be looked at at once, and the flow would stand still."""
    state = User(RULES).dump()
    users = Users(RULES)
    gc.collect()
    before = len(gc.get_objects())
    for number in range(10_000):
        users.restore(f"u{number}", state)
    gc.collect()
    assert len(users) == 10_000
    assert len(gc.get_objects()) < before + 1_000


def test_a_state_of_a_later_version_is_refused() -> None:
    """Rather than read wrongly."""
    users = Users(RULES, recorded=True)
    users.take([message(0)])
    ((_, state),) = unpack_changes(users.changes())
    assert state is not None
    with pytest.raises(StateVersionError, match="user state version 8 is unknown"):
        Users(RULES).restore("ann", bytes([8]) + state[1:])


@pytest.mark.parametrize("some", [False, True])
@pytest.mark.parametrize("live", [100, 2])
def test_changes_are_those_since_the_last_time_and_keeping_them_keeps_everybody(live: int, some: bool) -> None:
    """However few are live: kept one over the other, they are the state of everybody, and of nobody else."""
    users, kept, numbers = Users(RULES, live, recorded=True), {}, iter(range(10_000))
    for batch in range(60):
        touched = {f"u{(batch * 7 + number) % 11}" for number in range(batch % 4)}
        users.take([message(next(numbers), user) for user in sorted(touched)])
        if batch % 9 == 8:
            users.take([moderation(next(numbers), "erasure", f"u{batch % 11}")])
            touched.add(f"u{batch % 11}")
        early = unpack_changes(users.some_changes()) if some else []
        assert users.written == 0 or not some
        changes = [*early, *unpack_changes(users.changes())]
        assert {user for user, _ in changes} == touched
        kept.update(changes)
        assert {user: state for user, state in kept.items() if state is not None} == {
            user: users.state_of(user) for user in (f"u{number}" for number in range(11)) if users.state_of(user)
        }
        assert len(users) == sum(state is not None for state in kept.values())
    assert len(users) > 5
    assert users.changes() == b""


@pytest.mark.slow
@pytest.mark.parametrize("some", [False, True])
def test_users_who_are_frozen_again_and_again_make_no_more_changes_than_there_is_room_for(some: bool) -> None:
    """However long it is until somebody asks: then each is written once more at most, and the last state holds."""
    users, changes = Users(RULES, 1, recorded=True), b""
    for number in range(0, 40_000, 20):
        users.take([message(number + user, f"u{user}") for user in range(20)])
        if some:
            changes += users.some_changes()
    changes += users.changes()
    states = dict(unpack_changes(changes))
    assert states == {f"u{user}": users.state_of(f"u{user}") for user in range(20)}
    assert WRITTEN < len(changes) < WRITTEN + 21 * max(len(state) + 9 for state in states.values() if state)
    assert users.changes() == b""


def test_changes_that_are_not_recorded_cannot_be_asked_for() -> None:
    """Whoever keeps users in memory only pays nothing for it."""
    with pytest.raises(ValueError, match="not recorded"):
        Users(RULES).changes()
