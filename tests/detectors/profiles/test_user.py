"""One user, one event at a time: what is late, what is a duplicate, what is erased, and what is served."""

from __future__ import annotations

import pytest

from detectors.features.profile import SEEN_CAP
from detectors.profiles.user import NOWHERE, CompiledPolicy, User
from schemas.records.events import Event
from tests.kit.streams import DAY, HOUR, START, TTL, erasure, message, place, policy, report, sanction

POLICY = policy(allowed_lateness="1h", profile_ttl=TTL)


def outcomes(*events: Event) -> list[str]:
    """What each event of one user is."""
    user = User(CompiledPolicy(POLICY))
    return [user.step(event, place(number)).outcome for number, event in enumerate(events)]


def test_an_event_is_late_only_when_more_than_the_allowed_lateness_behind() -> None:
    """Exactly an hour behind is still in time; a millisecond more is not."""
    now = message("now", START)
    assert outcomes(now, message("a", START - HOUR)) == ["seen", "seen"]
    assert outcomes(now, message("a", START - HOUR - 1)) == ["seen", "late"]


def test_lateness_is_measured_against_the_users_own_clock() -> None:
    """The largest event time this user has shown; neither a late event nor a duplicate moves it."""
    events = [
        message("a", START),
        message("b", START + 10 * HOUR),
        message("c", START + 8 * HOUR),
        message("d", START + 9 * HOUR),
    ]
    assert outcomes(*events, message("b", START + 30 * HOUR), message("e", START + 9 * HOUR)) == [
        "seen",
        "seen",
        "late",
        "seen",
        "duplicate",
        "seen",
    ]


def test_a_late_event_may_come_again_in_time_under_its_id() -> None:
    """What was late was never counted, so its id is not remembered."""
    assert outcomes(message("now", START), message("a", START - DAY), message("a", START)) == ["seen", "late", "seen"]


def test_an_id_is_recognised_among_the_latest_events() -> None:
    """A duplicate is told within the last `SEEN_CAP` ids of the user."""
    filler = [message(f"m{number}", START + number) for number in range(SEEN_CAP - 1)]
    again = message("a", START)
    assert outcomes(again, *filler, again)[-1] == "duplicate"
    assert outcomes(again, *filler, message("one more", START), again)[-1] == "seen"


@pytest.mark.parametrize("kind", [report("x", START + 1), sanction("x", START + 1, 5), message("x", START + 1)])
def test_a_duplicate_changes_nothing_at_all(kind: Event) -> None:
    """Delivered twice, an event leaves the very state it left when delivered once."""
    user = User(CompiledPolicy(POLICY))
    user.step(message("m", START), place(0))
    user.step(kind, place(1))
    before = user.dump()
    step = user.step(kind, place(2))
    assert (step.outcome, step.point, step.examples) == ("duplicate", None, ())
    assert user.dump() == before


def test_every_point_is_served_as_of_the_users_clock_with_the_event_counted() -> None:
    """An out-of-order event is scored as of now, not as of then, and counts among the user's events."""
    user = User(CompiledPolicy(POLICY))
    user.step(message("a", START), place(0))
    step = user.step(message("b", START - HOUR), place(1))
    assert step.point is not None
    assert (step.point.as_of, step.point.events, step.point.event_id, step.point.at) == (START, 2, "b", place(1))
    assert step.time == START - HOUR


def test_an_erasure_gives_nothing_but_the_word() -> None:
    """No point, nothing to learn; the caller drops the user, and a new one knows nothing."""
    user = User(CompiledPolicy(POLICY))
    user.step(message("a", START), place(0))
    step = user.step(erasure("x", START + 1), place(1))
    assert (step.outcome, step.point, step.examples) == ("erased", None, ())


def test_an_erasure_is_carried_out_however_late_and_whatever_its_id() -> None:
    """Nobody's wish to be forgotten goes to the late topic, or is taken for something heard before."""
    assert outcomes(message("now", START), erasure("x", START - 30 * DAY)) == ["seen", "erased"]
    assert outcomes(message("x", START), erasure("x", START)) == ["seen", "erased"]


def test_everything_a_step_says_is_about_the_users_own_event() -> None:
    """Its position, its user and its time, whatever the outcome."""
    user = User(CompiledPolicy(POLICY))
    events = [message("a", START), message("a", START), message("b", START - DAY), erasure("c", START)]
    for number, event in enumerate(events):
        step = user.step(event, place(number))
        assert (step.at, step.user_id, step.time) == (place(number), "ann", event.event_time)


def test_a_user_who_is_back_after_too_long_a_silence_begins_anew() -> None:
    """Nothing of before is left: not the counters, not the sanctions, not the escalation, not the ids."""
    rules = CompiledPolicy(policy(target={"when": [{"event": "sanction"}]}, profile_ttl=TTL))
    user, fresh = User(rules), User(rules)
    assert user.step(sanction("s", START, 5), place(0)).escalated
    assert user.step(message("m", START + TTL), place(1)).point is None  # as long as the TTL is not too long
    back = [message("m", START + 2 * TTL + 1), report("r", START + 2 * TTL + HOUR)]
    for number, event in enumerate(back, 2):
        assert repr(user.step(event, place(number))) == repr(fresh.step(event, place(number)))
    assert user.dump() == fresh.dump()
    assert fresh.profile.events == 2


def test_what_comes_from_before_the_silence_is_late() -> None:
    """The clock is that of the new beginning, so the past cannot come back."""
    events = [message("a", START), message("b", START + TTL + 1), message("c", START + 1)]
    assert outcomes(*events) == ["seen", "seen", "late"]


def test_a_dump_says_where_its_user_comes_from_and_when_they_were_heard_of() -> None:
    """Whoever keeps users lists them by both, without loading them."""
    rules = CompiledPolicy(POLICY)
    user = User(rules, 3)
    user.step(message("m", START), place(0))
    assert User.load(user.dump(), rules).partition == 3
    assert User.front(user.dump()) == (START, 3)
    assert User.front(User(rules).dump()) == (-1, NOWHERE)
