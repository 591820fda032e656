"""What a message finds in its channel, against an oracle that recomputes it from the list of events."""

from __future__ import annotations

import random
from math import isclose, isnan, nan

import pytest
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from dataflows.testing import FlowDriver, small_policy
from detectors.channels import HOUR, MONTH, POSTERS, STATE_VERSION, UNPUNISHED, Channels, Context
from detectors.storage import StateVersionError
from schemas.records import ChatMessage, Event
from tests.properties.streams import LAWFUL, MINUTE, START, erasure, message, report, reversal, sanction

ROOMS = ("lobby", "market", "arena")


def talk(seed: int, length: int, users: int) -> list[Event]:
    """A seeded log of a few rooms: talk in and out of order, sanctions, reversals before and after, erasures."""
    rng, now, events = random.Random(seed), START, list[Event]()
    for number in range(length):
        now += rng.choice((0, 0, 1, 900, 20_000, 5 * MINUTE, 31 * MINUTE, 5 * HOUR, 3 * 24 * HOUR))
        time = now - rng.choice((0,) * 8 + (1, 10 * MINUTE, 2 * HOUR))
        user, kind = f"u{rng.randrange(users)}", rng.random()
        if kind < 0.8:
            scores = [{"scorer": "t", "version": "1", "value": rng.random()} for _ in range(rng.randrange(3))]
            events.append(message(f"e{number}", time, user=user, channel=rng.choice(ROOMS), scores=scores))
        elif kind < 0.88:
            events.append(sanction(f"s{rng.randrange(12)}", time, user=user))
        elif kind < 0.94:
            events.append(reversal(f"e{number}", time, f"s{rng.randrange(12)}", user=user))
        elif kind < 0.98:
            events.append(report(f"e{number}", time, user=user))
        else:
            events.append(erasure(f"e{number}", time, user=user))
    return events


def clock(before: list[Event], event: Event) -> int:
    """When it is for an event: the largest time that two users have shown, -1 if only one was heard of."""
    shown: dict[str, int] = {}
    now = -1
    for seen in [*before, event]:
        shown[seen.user_id] = max(shown.get(seen.user_id, -1), seen.event_time)
        now = max(now, *sorted([*shown.values(), -1])[-2:-1])
        if seen is not event and not isinstance(seen, ChatMessage) and seen.kind == "erasure":
            shown[seen.user_id] = min(shown[seen.user_id], now)
    return now


def sanctioned(before: list[Event], channel: str) -> list[int]:
    """When the sanctions were counted that stand, of those who had last spoken in this channel."""
    spoken: dict[str, str] = {}
    standing: dict[str, tuple[str, int]] = {}
    for place, event in enumerate(before):
        if clock(before[:place], event) < 0:
            continue
        if isinstance(event, ChatMessage):
            spoken[event.user_id] = event.channel
        elif event.kind == "erasure":
            spoken.pop(event.user_id, None)
        elif event.sanction is not None and event.user_id in spoken and event.event_id not in standing:
            standing[event.event_id] = spoken[event.user_id], clock(before[:place], event)
        elif event.reversal is not None:
            standing.pop(event.reversal.sanction_id, None)
    return [time for where, time in standing.values() if where == channel]


def known(said: list[tuple[str, int, bool]], user: str) -> bool:
    """Whether the user is among the latest who spoke; who asked to be forgotten is not."""
    order: list[str] = []
    for speaker, _, forgotten in reversed(said):
        if not forgotten and speaker not in order:
            order.append(speaker)
    return user in order[:POSTERS]


def oracle(events: list[Event], place: int) -> Context | None:
    """What the message at this place finds, by definition; None before a second user was heard of."""
    spoken = events[place]
    assert isinstance(spoken, ChatMessage)
    user, room, before = spoken.user_id, spoken.channel, events[:place]
    said: list[tuple[str, int, bool]] = []  # by whom, when, forgotten since
    toxicities: list[tuple[int, float]] = []
    newcomers: list[int] = []
    own: list[int] = []
    for at, event in enumerate(before):
        time = clock(before[:at], event)
        if time < 0:
            continue
        if isinstance(event, ChatMessage) and event.channel == room:
            if not known(said, event.user_id):
                newcomers.append(time)
                if event.user_id == user:
                    own = []
            if event.user_id == user:
                own.append(time)
            said.append((event.user_id, time, False))
            if event.scores:
                toxicities.append((time, max(score.value for score in event.scores)))
        elif not isinstance(event, ChatMessage) and event.kind == "erasure":
            said = [(who, time, gone or who == event.user_id) for who, time, gone in said]
            own = [] if event.user_id == user else own
    now = clock(before, spoken)
    if now < 0:
        return None
    first = said[0][1] if said else now

    def faded(times: list[int], half_life: int) -> float:
        return sum(2.0 ** (-(now - time) / half_life) for time in times)

    messages, scored = [time for _, time, _ in said], [time for time, _ in toxicities]
    rate, total = faded(messages, HOUR), faded(messages, MONTH)
    toxicity = sum(value * 2.0 ** (-(now - time) / HOUR) for time, value in toxicities)
    answered = lag = nan
    if known(said, user):
        mine = max(at for at, (who, _, gone) in enumerate(said) if who == user and not gone)
        answers = [time for _, time, _ in said[mine + 1 :]]
        if answers:
            answered, lag = (now - answers[0]) / 1000, (answers[0] - said[mine][1]) / 1000
    else:
        own = []
    return Context(
        (now - first) / 1000,
        rate,
        faded(newcomers, MONTH) / total if total else nan,
        faded(sanctioned(before, room), MONTH) / (total + UNPUNISHED),
        toxicity / faded(scored, HOUR) if scored else nan,
        faded(own, HOUR) / rate if rate else nan,
        answered,
        lag,
    )


def agrees(found: Context | None, wanted: Context | None) -> bool:
    """Whether two contexts are the same but for rounding."""
    if found is None or wanted is None:
        return found is wanted
    return all(
        (isnan(one) and isnan(other)) or isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
        for one, other in zip(found, wanted, strict=True)
    )


def walk(events: list[Event], dump_every: int = 0) -> None:
    """Take the events one by one and compare what each message finds; go on from a dump every so often."""
    channels = Channels(99)
    for place, event in enumerate(events):
        if dump_every and place % dump_every == dump_every - 1:
            channels = Channels.load(channels.dump(), 99)
        found = channels.see(event)
        assert found is None or isinstance(event, ChatMessage)
        if isinstance(event, ChatMessage):
            wanted = oracle(events, place)
            assert agrees(found, wanted), f"event {place} finds {found}, not {wanted}"


@given_settings(LAWFUL, max_examples=120)
@given(st.integers(0, 10**6), st.integers(20, 60), st.sampled_from((2, 5, 30)))
def test_every_message_finds_what_the_oracle_recomputes(seed: int, length: int, users: int) -> None:
    """Disorder, sanctions and their reversals, erasures, and crowds that a channel cannot know all of."""
    walk(talk(seed, length, users))


def test_a_dump_changes_nothing() -> None:
    """Channels that were dumped and loaded go on as they were."""
    walk(talk(7, 120, 30), dump_every=7)


def test_bytes_of_a_later_version_are_refused() -> None:
    """A snapshot of a newer forewarn ends in a sentence."""
    dump = bytes([STATE_VERSION + 1]) + Channels(9).dump()[1:]
    with pytest.raises(StateVersionError, match="channels state version"):
        Channels.load(dump, 9)


def test_the_longest_silent_channel_is_forgotten_first() -> None:
    """Memory is bounded by the number of channels, of users who spoke last somewhere, and of sanctions."""
    channels = Channels(3)
    channels.see(report("r", START, user="somebody"))
    for number, room in enumerate(("a", "b", "c", "a", "d")):
        channels.see(message(f"e{number}", START, channel=room))
    channels.see(report("q", START + 9_000, user="somebody"))
    ages = {room: channels.see(message(f"f{room}", START + 9_000, channel=room)) for room in ("a", "b")}
    assert ages["a"] is not None
    assert ages["a"].age == 9.0
    assert ages["b"] is not None
    assert ages["b"].age == 0.0
    sizes = set()
    for number in range(9_000):
        name, time = f"n{number}", START + number
        channels.see(message(f"m{name}", time, user=name, channel=name))
        channels.see(sanction(f"s{name}", time, user=name))
        if number > 5_000 and not number % 1_000:
            sizes.add(len(channels.dump()) // 4_096)
    assert len(sizes) == 1


def test_a_sanction_heard_twice_counts_once_and_its_reversal_takes_it_back() -> None:
    """To the last bit nothing of it is left, and nothing falls below zero."""
    channels = Channels(9)
    channels.see(report("p", START, user="somebody"))
    channels.see(message("m", START))
    for event in (sanction("s", START), sanction("s", START), reversal("r", START, "s"), reversal("q", START, "s")):
        channels.see(event)
    found = channels.see(message("n", START))
    assert found is not None
    assert found.sanctions == 0.0


def test_one_poisoned_clock_ages_no_channel() -> None:
    """A user years ahead says something; to all others the channel is as it was, but for that message."""
    before, after = Channels(9), Channels(9)
    for channels in (before, after):
        for number in range(40):
            channels.see(message(f"e{number}", START + number * MINUTE, user=f"u{number % 4}"))
    after.see(message("ahead", START + 9_000 * 24 * HOUR, user="mallory"))
    spared, told = (channels.see(message("m", START + 40 * MINUTE, user="u0")) for channels in (before, after))
    assert spared is not None
    assert told is not None
    assert told.rate == pytest.approx(spared.rate + 1, rel=0.02)
    assert told.age == pytest.approx(spared.age, abs=60)


@pytest.mark.parametrize(
    "hours", [1, 24, 240, 890, 900, 1_000, 1_060, 1_070, 1_073, 1_074, 1_075, 1_077, 1_100, 30_000]
)
def test_what_has_faded_stays_right_until_it_is_absent(hours: int) -> None:
    """The mean and the shares of a silent channel are what they were, and from 900 hours on nothing can be said."""
    driver = FlowDriver(small_policy())
    for user in ("x", "y"):
        driver.chat(user)
    for _ in range(4):
        driver.advance("1m")
        for user, said in (("ann", 0.3), ("bob", 0.5)):
            driver.chat(user, scores=[{"scorer": "s", "version": "1", "value": said}])
    driver.advance(f"{hours}h")
    for user in ("x", "y"):
        driver.chat(user, channel="elsewhere")  # that is what the clock says of the log
    driver.chat("ann", scores=[{"scorer": "s", "version": "1", "value": 0.3}])
    found = driver.run().features("ann")
    if hours < 895:
        assert isclose(found["excess_mean_24h"], -0.10057761622646566, rel_tol=1e-9)
        assert isclose(found["channel_share"], 0.44300632847, rel_tol=1e-9)
    elif hours > 905:
        assert isnan(found["excess_mean_24h"])
        assert isnan(found["channel_share"])
        assert found["channel_rate"] == 0.0
    assert found["channel_sanctions"] == 0.0
