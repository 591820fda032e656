"""What a message finds in its channel, against an oracle that recomputes it from the list of events."""

from __future__ import annotations

import random
from math import ceil, exp2, isclose, isnan, nan

import pytest
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from dataflows.testing import FlowDriver, small_policy
from detectors.base.state import StateVersionError, pack, unpack
from detectors.features.context import Context
from detectors.features.signals import stable_hash
from detectors.profiles.channels import HOUR, MONTH, POSTERS, STATE_VERSION, UNPUNISHED, Channels
from schemas.records.events import ChatMessage, Event
from tests.kit.streams import LAWFUL, MINUTE, START, erasure, message, report, reversal, sanction
from tests.kit.thorough import examples

LATENESS, TTL = HOUR, 12 * 24 * HOUR
"""So short that a log of two months has late events, and users who begin anew."""
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
    """When it is for an event: as it says, if what a quarter of the users have reached makes that plausible.

    -1 if only one user was heard of.
    """
    shown: dict[str, int] = {}
    now, reach = -1, -1
    for seen in [*before, event]:
        shown[seen.user_id] = max(shown.get(seen.user_id, -1), seen.event_time)
        rising = sorted(shown.values())
        quorum = max(2, ceil(len(rising) / 4))
        if len(rising) > 1:
            now = rising[-quorum]
        reach = now + max(10 * MINUTE, 2 * (now - rising[max(0, len(rising) - 2 * quorum)]))
        if seen is not event and not isinstance(seen, ChatMessage) and seen.kind == "erasure":
            del shown[seen.user_id]
    return event.event_time if -1 < now < event.event_time <= reach else now


def history(before: list[Event], channel: str) -> tuple[list[tuple[Event, int]], list[int], int]:
    """The events and when they happened, for a channel whose own time never goes back; and that time in the end.

    Between them, when the sanctions were counted that stand, of those who had last spoken in this channel. By the law
    for users: of the user's own id, once, not when Late, never after its reversal, and of nobody who begins anew or was
    forgotten is anything known.
    """
    spoken: dict[str, str] = {}
    shown: dict[str, int] = {}
    counted: dict[tuple[str, str], tuple[str, int]] = {}
    overturned: set[tuple[str, str]] = set()
    gone: list[tuple[str, int]] = []
    happened: list[tuple[Event, int]] = []
    latest = -1
    for place, event in enumerate(before):
        user, time, where, counts = event.user_id, clock(before[:place], event), "", False
        told = user, event.event_id
        forgotten = not isinstance(event, ChatMessage) and event.kind == "erasure"
        if forgotten or event.event_time > shown.get(user, event.event_time) + TTL:
            gone += [where for (who, _), where in counted.items() if who == user]
            counted = {told: where for told, where in counted.items() if told[0] != user}
            overturned = {told for told in overturned if told[0] != user}
        if forgotten:
            spoken.pop(user, None)
            shown.pop(user, None)
            if time >= 0:
                happened.append((event, time))
            continue
        late = event.event_time < shown.get(user, -1) - LATENESS
        shown[user] = max(shown.get(user, -1), event.event_time)
        if isinstance(event, ChatMessage):
            if time >= 0:
                where = spoken[user] = event.channel
        elif event.sanction is not None and not late:
            counts = told not in overturned and told not in counted
            where = spoken.get(user, "nowhere") if counts and time >= 0 else "nowhere"
        elif event.reversal is not None and not late:
            told = user, event.reversal.sanction_id
            where, _ = counted.pop(told, ("", 0))
            overturned.add(told)
        if where == channel:
            latest = time = max(time, latest)
        if counts:
            counted[told] = where, time
        if time >= 0:
            happened.append((event, time))
    return happened, [time for where, time in [*counted.values(), *gone] if where == channel], latest


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
    happened, sanctions, latest = history(before, room)
    for event, time in happened:
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
    if clock(before, spoken) < 0:
        return None
    now = max(clock(before, spoken), latest)
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
        faded(sanctions, MONTH) / (total + UNPUNISHED),
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
    channels = Channels(99, LATENESS, TTL)
    for place, event in enumerate(events):
        if dump_every and place % dump_every == dump_every - 1:
            channels = Channels.load(channels.dump(), 99, LATENESS, TTL)
        found = channels.see(event)
        assert found is None or isinstance(event, ChatMessage)
        if isinstance(event, ChatMessage):
            wanted = oracle(events, place)
            assert agrees(found, wanted), f"event {place} finds {found}, not {wanted}"


@given_settings(LAWFUL, max_examples=examples(120))
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


def found_after(*events: Event) -> float:
    """What a message finds of sanctions in its channel, after users spoke there and these things happened."""
    channels = Channels(9, HOUR, TTL)
    spoken = [message(f"m{user}", START, user=user) for user in ("first", "ann", "bob", "cyd")]
    for event in (*spoken, *events):
        channels = Channels.load(channels.dump(), 9, HOUR, TTL)
        channels.see(event)
    found = channels.see(message("n", START + MINUTE, user="cyd"))
    assert found is not None
    return round(found.sanctions, 2)


def test_a_channel_counts_sanctions_by_the_law_of_users() -> None:
    """By user and id; once; never after the reversal, whichever comes first; and nothing that is Late."""
    ann, bob = (sanction("s", START, user=user) for user in ("ann", "bob"))
    back = reversal("r", START, "s", user="ann")
    one, two = found_after(ann), found_after(ann, bob)
    assert 0 < one < two
    assert found_after(back, ann) == found_after(ann, back) == found_after(ann, back, ann) == 0.0
    assert found_after(ann, bob, back) == found_after(ann, reversal("r", START, "s", user="bob")) == one
    later = message("l", START + 3 * HOUR, user="ann")
    assert found_after(later, ann) == 0.0
    assert found_after(ann, later, back) > 0.9 * one


def test_nothing_in_a_channel_names_a_user_who_asked_to_be_forgotten() -> None:
    """Neither as who spoke last, nor among those who post, nor in the ledger; a new life begins with nothing known."""
    channels = Channels(9, LATENESS, TTL)
    for event in (message("m", START, user="ann"), message("n", START, user="bob"), sanction("s", START, user="bob")):
        channels.see(event)
    assert repr(stable_hash("bob")) in told(channels)
    channels.see(erasure("e", START, user="bob"))
    assert repr(stable_hash("bob")) not in told(channels)
    assert repr(stable_hash("s")) not in told(channels)
    assert "bob" not in told(channels)


def told(channels: Channels) -> str:
    return repr(unpack(channels.dump(), STATE_VERSION, "channels"))


def test_channels_of_the_version_before_go_on_with_what_they_counted() -> None:
    """Whose sanctions those were it did not know, so they are not taken back; what comes is."""
    channels = Channels(9)
    for event in (message("m", START, user="ann"), message("n", START, user="bob"), sanction("s", START, user="bob")):
        channels.see(event)
    _, state = unpack(channels.dump(), STATE_VERSION, "channels")
    before = {
        "channels": state["channels"],
        "clock": state["clock"],
        "spoken": {user: channel for user, _, channel in state["users"]},
        "sanctions": {sanction: (channel, time) for _, sanction, _, channel, time in state["sanctions"]},
    }
    again = Channels.load(pack(before, 1), 9)
    again.see(reversal("r", START, "s", user="bob"))
    found, wanted = (one.see(message("o", START + MINUTE, user="ann")) for one in (again, channels))
    assert agrees(found, wanted)
    assert wanted is not None
    assert wanted.sanctions > 0


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
        own = sum(exp2(-minutes / 60) for minutes in range(4))
        assert isclose(found["excess_mean_24h"], -0.1, rel_tol=1e-9)  # 0.3 beside a mean of 0.4
        assert isclose(found["channel_share"], own / (2 * own + exp2(-4 / 60)), rel_tol=1e-9)
    elif hours > 905:
        assert isnan(found["excess_mean_24h"])
        assert isnan(found["channel_share"])
        assert found["channel_rate"] == 0.0
    assert found["channel_sanctions"] == 0.0
