"""Profiles as storage: dumped and loaded anywhere, bounded whatever comes, open to new features."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from librt.strings import BytesWriter

from detectors.base.packed import Reader
from detectors.base.state import unpack
from detectors.features.catalogue import CATALOGUE, NAMES
from detectors.features.declare import Decay, Ratio, Since, Trend, Window
from detectors.features.layouts import LAYOUTS
from detectors.features.plan import Plan, compile_plan
from detectors.features.profile import Profile
from detectors.features.signals import read_message, read_moderation, stable_hash
from detectors.features.stored import move_columns, read_profile, write_profile
from detectors.features.tokens import message_token, moderation_token
from detectors.features.vector import vector_of
from detectors.profiles.user import CompiledPolicy, EventResult, User
from schemas.records.events import ChatMessage, Event
from tests.kit.streams import (
    DAY,
    HOUR,
    LAWFUL,
    MINUTE,
    START,
    TTL,
    crowded,
    exposure,
    message,
    place,
    policy,
    report,
    reversal,
    sanction,
    streams,
)

POLICY = policy(target={"recurring": True, "when": [{"event": "any", "count": 2, "within": "3d"}]}, profile_ttl=TTL)
LARGEST = 48 * 1024
"""Bytes no user's dump may pass, under the most generous policy there is: 64 waiting points of every feature."""


def walk(user: User, events: list[Event], start: int = 0) -> list[str]:
    """The steps the events come to, as text, so that NaN equals NaN."""
    return [repr(user.step(event, place(start + number))) for number, event in enumerate(events)]


@settings(LAWFUL)
@given(streams, st.data())
def test_a_user_dumped_and_loaded_at_any_position_goes_on_bit_for_bit(events: list[Event], data: st.DataObject) -> None:
    """Splitting a stream anywhere, even after every event, gives the very steps and bytes of the unbroken one."""
    rules, cut = CompiledPolicy(POLICY), data.draw(st.integers(0, len(events)))
    whole = User(rules)
    straight = walk(whole, events)
    first = User(rules)
    before = walk(first, events[:cut])
    second = User.load(first.dump(), rules)
    assert before + walk(second, events[cut:], cut) == straight
    assert second.dump() == whole.dump()
    hopping, steps = User(rules), []
    for number, event in enumerate(events):
        hopping = User.load(hopping.dump(), rules)
        steps += walk(hopping, [event], number)
    assert steps == straight


@settings(LAWFUL)
@given(streams)
def test_dumping_changes_nothing(events: list[Event]) -> None:
    """A dump may be taken at any time, and the same user gives the same bytes twice."""
    user = User(CompiledPolicy(POLICY))
    walk(user, events)
    assert user.dump() == user.dump()
    assert User.load(user.dump(), CompiledPolicy(POLICY)).dump() == user.dump()


def adversary(rng: random.Random, cycles: int) -> list[Event]:
    """A stream made to fill every tile, key, text, strike and waiting point a profile can hold.

    Steps narrow from six hours to fifteen seconds, so that at the end of a cycle every tile of every span is in use.
    """
    events: list[Event] = []
    time = START
    for step in ([6 * HOUR] * 32 + [HOUR] * 26 + [5 * MINUTE] * 26 + [15_000] * 60) * cycles:
        time += step
        name = str(len(events))
        strangers = [f"r{rng.randrange(10**9)}" for _ in range(70)]
        scores = [{"scorer": "t", "version": "1", "value": rng.random()}]
        text = f"never said before {rng.random()} " * rng.randint(1, 9)
        channel = f"c{rng.randrange(10**9)}"
        events += [
            message("m" + name, time + 1, channel=channel, text=text, recipients=strangers, scores=scores),
            message("n" + name, time - rng.randrange(DAY), channel=channel, text=text, scores=scores),
            report("p" + name, time + 2, f"p{rng.randrange(10**9)}"),
            sanction("s" + name, time + 3, 5 if len(events) % 864 == 300 else 4),
            exposure("x" + name, time + 4),
            reversal("u" + name, time + 5, f"unknown{rng.randrange(10**9)}"),
        ]
    return events


def test_no_stream_makes_a_profile_larger_than_its_bound() -> None:
    """Ever new texts, channels, strangers, reporters, strikes and waiting points do not grow a dump without end."""
    never, rare = {"event": "report", "count": 32, "within": "1s"}, {"event": "sanction", "min_severity": 5}
    generous = policy(
        target={"horizon": "30d", "recurring": True, "when": [never, rare]},
        learning={"pending": 64},
    )
    rng, rules = random.Random(5), CompiledPolicy(generous)
    user, sizes = User(rules), []
    for number, event in enumerate(adversary(rng, 3)):
        user.step(event, place(number))
        if number % 6 == 3:
            sizes.append(len(user.dump()))
    third = len(sizes) // 3
    assert max(sizes) < LARGEST
    assert max(sizes) > LARGEST // 2, "the adversary is too tame to prove anything"
    # compressed vectors differ in size from time to time, but the last third has no more than the one before
    assert max(sizes[2 * third :]) < 1.05 * max(sizes[third : 2 * third])


def test_nothing_but_late_events_and_duplicates_leaves_a_profile_as_it_was() -> None:
    """What is not counted costs no memory either."""
    user = User(CompiledPolicy(POLICY))
    walk(user, [message("now", START)])
    before = user.dump()
    walk(user, [message(f"m{n}", START - 2 * DAY - n) for n in range(500)] + [message("now", START)] * 500)
    assert user.dump() == before


def moved(profile: Profile, plan: Plan) -> Profile:
    """A profile as it comes out of storage, under another plan."""
    writer = BytesWriter()
    write_profile(writer, profile)
    read = read_profile(Reader(writer.getvalue()), profile.plan.shape, plan, profile.clock)
    move_columns(read, profile.plan.layout)
    return read


def size_of(profile: Profile) -> int:
    """How many bytes a profile takes in storage."""
    writer = BytesWriter()
    write_profile(writer, profile)
    return len(writer.getvalue())


def test_the_layout_that_states_are_dumped_under_is_released() -> None:
    """A state names its layout, and names it only; whoever changes the catalogue adds one to `RELEASED`, for good."""
    plan = compile_plan(CATALOGUE, DAY)
    assert LAYOUTS[plan.layout_id] == plan.layout
    assert "d3577c65" in LAYOUTS


def test_a_state_of_a_layout_that_is_unknown_is_refused_before_anybody_is_thawed() -> None:
    """As after going back to an earlier version: in a sentence, when a run resumes, not at the user's next event."""
    user = User(CompiledPolicy(POLICY))
    user.step(message("m", START), place(0))
    dump = user.dump()
    name = bytes.fromhex(user.rules.plan.layout_id)
    later = dump.replace(name, name[::-1])
    assert later != dump
    for read in (User.front, lambda data: User.load(data, CompiledPolicy(POLICY))):
        with pytest.raises(ValueError, match=f"user state has the layout {name[::-1].hex()}, which is unknown"):
            read(later)


def test_a_state_under_a_layout_that_is_not_released_brings_it_along() -> None:
    """As it is while features are being tried."""
    rules = CompiledPolicy(POLICY)
    rules.plan = compile_plan([Window("message", "count", "24h"), Decay("length", "1h"), Since("report")], DAY)
    assert rules.plan.layout_id not in LAYOUTS
    user, events = User(rules), crowded(2, 90)
    walk(user, events[:60])
    twin, wider = User.load(user.dump(), rules), User.load(user.dump(), CompiledPolicy(POLICY))
    assert walk(twin, events[60:], 60) == walk(user, events[60:], 60)
    assert wider.profile.plan.names == NAMES
    column = NAMES.index("message_count_24h")
    for number, event in enumerate(events[60:], 60):
        step = wider.step(event, place(number))
        assert step.point is None or step.point.vector[column] >= 0


def profile_of(events: list[Event], profile: Profile) -> list[tuple[float, ...]]:
    """The vectors of a bare profile over messages and reports."""
    vectors = []
    for event in events:
        if event.event_time < profile.clock - DAY or profile.is_duplicate(stable_hash(event.event_id)):
            continue
        scratch = profile.advance(event.event_time)
        if isinstance(event, ChatMessage):
            signals, keys = read_message(event, profile.texts)
            profile.recent_tokens += message_token(signals, moved=profile.channel not in (keys[0][1], -1))
            profile.channel = keys[0][1]
        else:
            signals, keys = read_moderation(event)
            profile.recent_tokens += moderation_token(event)
        profile.add(signals, keys, event.event_time)
        vectors.append(vector_of(profile, scratch))
    return vectors


@pytest.mark.parametrize("seed", range(3))
def test_a_feature_added_to_the_catalogue_starts_empty_and_the_rest_goes_on(seed: int) -> None:
    """Old columns continue bit for bit from an old dump; a new one has seen only what came after."""
    tidy = {event.event_id: event for event in sorted(crowded(seed, 120), key=lambda event: event.event_time)}
    events = sorted(tidy.values(), key=lambda event: event.event_time)
    new = (Window("length", "max", "1h"), Decay("length", "1h"), Ratio("report", "7d"), Trend("report", "24h", "7d"))
    more = (*CATALOGUE[:7], *new, *CATALOGUE[7:])
    old_plan, new_plan = compile_plan(CATALOGUE, 40 * DAY), compile_plan(more, 40 * DAY)
    before = Profile(old_plan)
    profile_of(events[:80], before)
    upgraded = moved(before, new_plan)
    kept = [new_plan.names.index(name) for name in NAMES]
    grown = profile_of(events[80:], upgraded)
    assert [repr([row[column] for column in kept]) for row in grown] == [
        repr(list(row)) for row in profile_of(events[80:], before)
    ]
    since = profile_of(events[80:], Profile(compile_plan(new[:2], 40 * DAY)))
    columns = [new_plan.names.index(feature.name) for feature in new[:2]]
    assert [repr([row[column] for column in columns]) for row in grown] == [repr(list(row)) for row in since]


def test_a_feature_taken_from_the_catalogue_is_dropped_from_the_state() -> None:
    """A cell nobody declares any more does not come back, and costs nothing."""
    full = Profile(compile_plan(CATALOGUE, DAY))
    profile_of(crowded(1, 60), full)
    slim_plan = compile_plan([Window("message", "count", "24h"), Since("report")], DAY)
    slim = moved(full, slim_plan)
    assert slim.sums[0] == sum(list(slim.rows[0])[1::2]) > 0
    assert (len(slim.rows), len(slim.keys), len(slim.peaks), len(slim.lasts)) == (1, 0, 0, 1)
    assert size_of(slim) < size_of(full) / 2


def test_bytes_of_another_version_are_refused_with_a_sentence() -> None:
    """A dump from the future, or nothing at all, is not read as if it were ours."""
    dump = User(CompiledPolicy(POLICY)).dump()
    with pytest.raises(ValueError, match="user state version 99 is unknown: this forewarn reads versions 6 to 7"):
        User.load(bytes([99]) + dump[1:], CompiledPolicy(POLICY))
    with pytest.raises(ValueError, match="version nothing is unknown"):
        unpack(b"", 4, "user")


def test_a_step_is_plain_data_whatever_the_outcome() -> None:
    """One event gives one step, with its time and its outcome."""
    user = User(CompiledPolicy(POLICY))
    step = user.step(message("m", START), place(0))
    assert isinstance(step, EventResult)
    assert (step.outcome, step.time, step.at.seq) == ("seen", START, 0)
