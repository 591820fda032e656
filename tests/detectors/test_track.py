"""The track record against an oracle that sees everything at once, and the thresholds that are chosen by it."""

from __future__ import annotations

import random
from bisect import bisect_right
from itertools import pairwise
from math import inf, nan

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from detectors.decide import CLEAR, Decider
from detectors.policy import Policy
from detectors.track import HOUR, HOURS, LEVELS, Track, TrackRecord, track_of
from schemas.records import Tier
from tests.properties.streams import policy

HORIZON, EXPIRY, MEMORY = 5_000, 2_000, 10**15
PROMISED = policy(
    target={"horizon": HORIZON, "when": [{"event": "sanction"}]},
    tiers={"watch": {"precision": 0.3}, "high": {"precision": 0.6}},
    warnings={"expiry": EXPIRY, "cooldown": 0},
    promises={"memory": MEMORY},
)
FLOOR = bisect_right(LEVELS.tolist(), 0.3 / 4)

Seen = tuple[int, str, float | str]
"""When, who, and a probability or what became of the user."""
HAPPENINGS = st.lists(
    st.tuples(
        st.integers(0, 3_000),
        st.sampled_from("abc"),
        st.one_of(st.floats(0.0, 1.0), st.just(nan), st.sampled_from(["escalated", "overturned", "forget"])),
    ),
    max_size=60,
)


def told(record: TrackRecord, seen: list[Seen], settle_every: int = 10**9) -> None:
    """Tell a record what happened, settling now and then."""
    for number, (time, user, what) in enumerate(seen):
        if isinstance(what, float):
            record.see(user, time, what)
        elif what == "escalated":
            record.escalated(user, time)
        else:
            getattr(record, what)(user)
        if number % settle_every == settle_every - 1:
            record.settle(time)


def by_hand(seen: list[Seen], level: float, now: int) -> tuple[int, int]:
    """How many warnings at one level have matured by `now`, and how many of them were right, from the whole list."""
    warnings: list[tuple[str, int, int]] = []
    for place, (time, user, what) in enumerate(seen):
        warned = [t for u, t, at in warnings if u == user and not forgotten(seen, user, at, place)]
        if isinstance(what, float) and what >= level and not any(time < t + EXPIRY for t in warned):
            warnings.append((user, time, place))
    matured = [w for w in warnings if w[1] + max(HORIZON, EXPIRY) < now and not forgotten(seen, w[0], w[2], len(seen))]
    return len(matured), sum(right(seen, user, time, place) for user, time, place in matured)


def forgotten(seen: list[Seen], user: str, start: int, end: int) -> bool:
    return any(u == user and what == "forget" for _, u, what in seen[start:end])


def right(seen: list[Seen], user: str, time: int, place: int) -> bool:
    """Whether the last escalation to reach the warning stands: each one taken back takes back the latest."""
    reached = -1
    for when, who, what in seen[place + 1 :]:
        if who == user and what == "escalated" and time <= when <= time + HORIZON:
            reached = when
        if who == user and what == "overturned":
            reached = -1
    return reached >= 0


@given(HAPPENINGS)
@settings(max_examples=300, deadline=None)
def test_the_record_counts_what_an_oracle_counts(gaps: list[tuple[int, str, float | str]]) -> None:
    """At every level, whether or not anybody is warned at it; one escalation at a time, as users at risk have it."""
    time, seen, open_for = 0, [], set()
    for gap, user, what in gaps:
        time += gap
        if what == "overturned" and user not in open_for:
            continue
        if what == "escalated" and user in open_for:
            continue
        (open_for.add if what == "escalated" else open_for.discard if what == "overturned" else set)(user)  # type: ignore[operator]
        seen.append((time, user, what))
    record, now = TrackRecord(PROMISED), time + 4_000
    told(record, seen)
    record.settle(now)
    track = track_of(record.document())
    for at, level in enumerate(LEVELS.tolist()):
        expected = by_hand(seen, level, now) if at >= FLOOR else (0, 0)
        assert (track.warnings[at], track.right[at]) == expected, level


@given(HAPPENINGS, st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_a_record_that_is_stored_and_loaded_goes_on_as_if_it_had_not_been(
    gaps: list[tuple[int, str, float | str]], every: int
) -> None:
    """Its state is plain data."""
    seen = [(sum(gap for gap, _, _ in gaps[: n + 1]), user, what) for n, (_, user, what) in enumerate(gaps)]
    straight, stored = TrackRecord(PROMISED), TrackRecord(PROMISED)
    for start in range(0, len(seen), every):
        for record in (straight, stored):
            told(record, seen[start : start + every], settle_every=2)
        loaded = TrackRecord(PROMISED)
        loaded.restore(msgpack.unpackb(msgpack.packb(stored.state()), strict_map_key=False))
        stored = loaded
    assert straight.document() == stored.document()
    assert straight.state() == stored.state()


def test_what_a_record_holds_of_users_goes_when_it_has_matured() -> None:
    """Memory is that of the last horizon, not of all time."""
    record = TrackRecord(PROMISED)
    for number in range(5_000):
        record.see(f"u{number}", number * 10, 0.9)
        record.settle(number * 10)
    state = record.state()
    assert len(state["users"]) == len(state["open"]) <= HORIZON // 10 + 2
    assert len(state["hours"]) <= HOURS


def test_evidence_loses_half_its_weight_in_the_memory_s_time() -> None:
    """So that a model that changes is judged by what it has become."""
    record = TrackRecord(
        PROMISED.model_copy(update={"promises": PROMISED.promises.model_copy(update={"memory": HOUR})})
    )
    record.see("a", 0, 0.9)
    record.escalated("a", 10)
    record.settle(HORIZON + 1)
    before = track_of(record.document())
    record.settle(HORIZON + 1 + HOUR)
    after = track_of(record.document())
    assert before.right[FLOOR] == 1.0
    assert (after.right[FLOOR], after.warnings[FLOOR]) == (0.5, 0.5)


@pytest.mark.parametrize("precision", [0.1, 0.3, 0.6])
def test_a_promise_is_kept_by_the_lowest_level_whose_bound_keeps_it(precision: float) -> None:
    """The bound is that of an exact binomial test: below it, as many right ones would be a surprise of 5 %."""
    rng = random.Random(4)
    warnings = np.array([float(rng.randrange(1, 200)) for _ in LEVELS])
    right = np.array([float(rng.randrange(int(most) + 1)) for most in warnings])
    chosen = Track(warnings, right, warnings).level_of(precision, 0.95)
    bounds = [
        binomtest(int(r), int(n)).proportion_ci(confidence_level=0.90, method="exact").low if r else 0.0
        for r, n in zip(right, warnings, strict=True)
    ]
    assert chosen == next(level for level, bound in zip(LEVELS.tolist(), bounds, strict=True) if bound >= precision)


def test_without_evidence_a_promised_tier_enters_nobody() -> None:
    """Silence is better than a promise that nothing stands for; and no warning in force is ended by it."""
    decider = Decider(PROMISED)
    for track in (None, track_of(TrackRecord(PROMISED).document())):
        thresholds = decider.thresholds(track)
        assert decider.decide(CLEAR, 0, 1.0, Tier.NONE, thresholds) is CLEAR
        assert [enter for _, enter, _ in thresholds.tiers] == [inf, inf]
        warned = decider.decide(CLEAR, 0, 0.0, Tier.WATCH, thresholds)
        assert decider.decide(warned, 1, 0.3, Tier.NONE, thresholds).tier is Tier.WATCH


def shown(levels: dict[float, tuple[int, int, int]]) -> Track:
    """A track record with these warnings, right ones and the busiest hour from a level on, rising."""
    rows = np.zeros((3, len(LEVELS)))
    for level, counts in sorted(levels.items()):
        rows[:, level <= LEVELS] = np.array(counts)[:, None]
    return Track(*rows)


def at(level: float) -> float:
    return float(LEVELS[np.searchsorted(LEVELS, level)])


def test_a_tier_is_entered_where_the_record_keeps_its_promise_and_left_below_half_the_odds() -> None:
    """The higher promise has the higher threshold."""
    thresholds = Decider(PROMISED).thresholds(shown({0.1: (1000, 200, 0), 0.2: (500, 200, 0), 0.5: (100, 80, 0)}))
    (_, watch, leave), (_, high, _) = thresholds.tiers
    assert (watch, high) == (at(0.2), at(0.5))
    assert leave / (1 - leave) == pytest.approx(watch / (1 - watch) / 2)


BUDGETED = policy(
    tiers={"watch": {"enter": 0.1, "leave": 0.05}, "high": {"enter": 0.5, "leave": 0.3}},
    warnings={"budget": 10, "cooldown": 0, "expiry": HOUR},
)


def test_a_budget_raises_the_threshold_until_the_busiest_hour_keeps_to_it() -> None:
    """Who is held back by it is said, if they stand in no tier; higher tiers are not lowered by it."""
    decider = Decider(BUDGETED)
    thresholds = decider.thresholds(shown({0.05: (0, 0, 400), 0.2: (0, 0, 11), 0.3: (0, 0, 10), 0.4: (0, 0, 2)}))
    assert [enter for _, enter, _ in thresholds.tiers] == [at(0.3), 0.5]
    assert decider.decide(CLEAR, 0, 0.2, Tier.NONE, thresholds) is CLEAR
    assert decider.held_back(CLEAR, 0, 0.2, thresholds)
    assert not decider.held_back(CLEAR, 0, 0.09, thresholds)
    assert not decider.held_back(CLEAR, 0, None, thresholds)
    standing = decider.decide(CLEAR, 0, 0.4, Tier.NONE, thresholds)
    assert standing.tier is Tier.WATCH
    assert not decider.held_back(standing, 1, 0.2, thresholds)
    assert decider.decide(standing, 1, 0.06, Tier.NONE, thresholds).tier is Tier.WATCH


def test_a_budget_looks_back_over_the_latest_hours_only() -> None:
    """What an hour brought at a level counts each user once while their warning would hold."""
    record = TrackRecord(BUDGETED)
    for number in range(30):
        record.see(f"u{number}", number, 0.45)
        record.see(f"u{number}", number + 1, 0.45)
    record.settle(HOUR)
    busy = track_of(record.document()).busiest
    assert busy[np.searchsorted(LEVELS, 0.3)] == 30
    assert busy[-1] == 0
    record.settle(HOURS * HOUR)
    assert track_of(record.document()).busiest[np.searchsorted(LEVELS, 0.3)] == 0


@pytest.mark.parametrize(
    ("tiers", "sentence"),
    [
        ({"watch": {"enter": 0.4, "leave": 0.2, "precision": 0.5}}, "give one or the other"),
        ({"watch": {"enter": 0.4}}, "needs both enter and leave"),
        ({"watch": {}}, "or the precision it promises"),
        ({"watch": {"precision": 0.5}, "high": {"precision": 0.4}}, "promises rise with the tier"),
        ({"watch": {"precision": 1.0}}, "less than 1"),
    ],
)
def test_a_promise_that_cannot_be_meant_is_refused(tiers: dict[str, dict[str, float]], sentence: str) -> None:
    """With a sentence that says what to do."""
    with pytest.raises(ValueError, match=sentence):
        Policy.model_validate(PROMISED.model_dump() | {"tiers": tiers})


def test_levels_are_evenly_spaced_in_log_odds() -> None:
    """As the docstring says."""
    odds = np.log(LEVELS / (1 - LEVELS))
    assert all(after - before == pytest.approx(0.25) for before, after in pairwise(odds.tolist()))
    assert (round(float(LEVELS[0]), 4), round(float(LEVELS[-1]), 3)) == (0.0009, 0.982)
