"""The log's clock against its definition: what a quarter of the known users have reached, and never what few claim."""

from __future__ import annotations

import random
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.base.log_clock import HALF_DAY, SHARE, STEP, LogClock
from detectors.base.state import pack, unpack
from tests.kit.streams import DAY, HOUR, LAWFUL, MINUTE, START
from tests.kit.thorough import examples

SEEN = st.lists(st.tuples(st.sampled_from("abcdefghijkl"), st.integers(0, 40), st.sampled_from("ssssssf")), max_size=60)


def reloaded(clock: LogClock) -> LogClock:
    """The clock as it comes back from its packed state."""
    return LogClock.load(unpack(pack({"clock": clock.state()}, 1), 1, "clock")[1]["clock"])


@settings(LAWFUL, max_examples=examples(200))
@given(SEEN)
def test_the_clock_is_the_latest_time_that_a_quarter_of_the_users_have_reached(
    seen: list[tuple[str, int, str]],
) -> None:
    """At every moment, at least two, whoever was forgotten not counted; and the same from its state."""
    clock, latest = LogClock(), dict[str, int]()
    for user, time, kind in seen:
        if kind == "f":
            clock.forget(user)
            latest.pop(user, None)
            continue
        clock.advance(user, time)
        latest[user] = max(latest.get(user, -1), time)
        if len(latest) > 1:
            assert clock.now == sorted(latest.values())[-max(2, ceil(len(latest) / SHARE))]
        again = reloaded(clock)
        assert again.state() == clock.state()
        clock = again


def crowd(rng: random.Random, users: int, events: int) -> list[tuple[str, int]]:
    """What users say when, a minute apart, some more often than others."""
    return [(f"u{int(users * rng.random() ** 2)}", START + number * MINUTE) for number in range(events)]


@settings(LAWFUL, max_examples=examples(30))
@given(
    st.integers(0, 2**32).map(random.Random),
    st.sampled_from((60, 200, 1_000)),
    st.sampled_from((0.02, 0.05)),
    st.sampled_from(("far", "steps", "mixed", "past")),
    st.integers(1, 6),
)
def test_no_flood_of_a_twentieth_of_the_users_moves_it_ahead_of_the_others(
    rng: random.Random, users: int, share: float, how: str, flood: int
) -> None:
    """However far ahead they are, however often they speak, and in whatever way; and it does not stand still."""
    clock, reached, wrong = LogClock(), -1, [f"wrong-{number}" for number in range(int(users * share))]
    for number, (user, time) in enumerate(crowd(rng, users, 3_000)):
        clock.advance(user, time)
        reached = time
        for name in rng.sample(wrong, min(flood, len(wrong))) if number > users else ():
            claim = {
                "far": time + 700 * DAY,
                "steps": time + number * HOUR,
                "mixed": time + rng.choice((-900, 0, 1, 900)) * DAY,
                "past": time - 900 * DAY,
            }[how]
            clock.advance(name, claim)
        assert clock.now <= reached
        if number > users:
            assert clock.now >= reached - DAY
    assert clock.bound(reached + 700 * DAY) == clock.now


def test_after_a_quiet_night_it_stands_still_until_a_quarter_have_spoken_again() -> None:
    """And then goes on; nothing that was said meanwhile counts as plausible that lies far ahead."""
    clock = LogClock()
    for number in range(400):
        clock.advance(f"u{number % 40}", START + number * MINUTE)
    evening, morning = clock.now, START + 2 * DAY
    for number in range(9):
        clock.advance(f"u{number}", morning)
        assert clock.now <= evening + 10 * MINUTE
        assert clock.bound(morning) == clock.now
    clock.advance("u9", morning)
    assert clock.now == morning
    assert clock.bound(morning + STEP) == morning + STEP


def test_wrong_clocks_that_come_first_are_found_out_when_others_are_heard_of() -> None:
    """As long as few are known the clock goes back."""
    clock = LogClock()
    for user in ("wrong-1", "wrong-2"):
        clock.advance(user, START + 700 * DAY)
    assert clock.now == START + 700 * DAY
    for number in range(7):
        clock.advance(f"u{number}", START + number)
    assert clock.now <= START + 7


def test_users_who_fell_silent_are_forgotten_and_many_are_sampled() -> None:
    """So the state stays small, and a log that changes its users goes on."""
    clock = LogClock()
    for number in range(20_000):
        clock.advance(f"u{number}", START + number * MINUTE)
    assert clock.now > START + 20_000 * MINUTE - DAY
    assert len(clock.state()[3]) + len(clock.state()[4]) <= 256
    assert 400 < clock.population < 4 * HALF_DAY // MINUTE


def test_a_state_of_before_is_read() -> None:
    """It said who led, how far they were, and what another user had reached."""
    clock = LogClock.load(["mallory", START + DAY, START])
    assert clock.now == START
    clock.advance("ann", START + HOUR)
    assert clock.now == START + HOUR


@pytest.mark.parametrize("capacity", [64, 256])
def test_a_population_of_any_size_moves_the_clock(capacity: int) -> None:
    """With one, two, a few or many users."""
    for users in (2, 3, 9, 100, 5_000):
        clock = LogClock(capacity)
        for number in range(2 * users):
            clock.advance(f"u{number % users}", START + number)
        assert START <= clock.now <= START + 2 * users
