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

from detectors.models.track_record import HOUR, HOURS, LEVELS, Track, TrackRecord, track_of
from detectors.policy.policy import Policy
from detectors.scoring.tiers import CLEAR
from schemas.records.decisions import Tier
from tests.kit.streams import decider_of, policy, record_settings
from tests.kit.thorough import examples

HORIZON, EXPIRY, MEMORY = 5_000, 2_000, 10**15
PROMISED = policy(
    target={"horizon": HORIZON, "when": [{"event": "sanction"}]},
    tiers={"watch": {"precision": 0.3}, "high": {"precision": 0.6}},
    warnings={"expiry": EXPIRY, "cooldown": 0},
    promises={"memory": MEMORY},
)
FLOOR = bisect_right(LEVELS.tolist(), 0.3 / 4)

Seen = tuple[int, str, float | str, int]
"""When, who, a probability or what became of the user, and which escalation that is about."""
HAPPENINGS = st.lists(
    st.tuples(
        st.integers(0, 3_000),
        st.sampled_from("abc"),
        st.one_of(st.floats(0.0, 1.0), st.just(nan), st.sampled_from(["escalated", "overturned", "forget"])),
        st.integers(0, 9),
        st.sampled_from((0,) * 6 + (700, 4_000)),
    ),
    max_size=60,
)


def log_of(drawn: list[tuple[int, str, float | str, int, int]]) -> list[Seen]:
    """A log in which any earlier escalation may be overturned, in any order, and sanctions may be back-dated."""
    time, seen, known = 0, list[Seen](), dict[str, list[int]]()
    for number, (gap, user, what, which, back) in enumerate(drawn):
        time += gap
        own = known.setdefault(user, [])
        if what == "escalated":
            own.append(number)
            seen.append((max(0, time - back), user, what, number))
        elif what == "overturned":
            seen.append((time, user, what, own[which % len(own)] if own else -1))
        else:
            seen.append((time, user, what, -1))
    return seen


def told(record: TrackRecord, seen: list[Seen], settle_every: int = 10**9) -> None:
    """Tell a record what happened, settling now and then."""
    for number, (time, user, what, cause) in enumerate(seen):
        if isinstance(what, float):
            record.see(user, time, what)
        elif what == "escalated":
            record.escalated(user, time, cause)
        elif what == "overturned":
            record.overturned(user, time, cause)
        else:
            record.forget(user)
        if number % settle_every == settle_every - 1:
            record.settle(time)


def warned_of(seen: list[Seen], level: float) -> list[tuple[str, int, int]]:
    """Who was warned at one level, when, and at which place, but those who asked to be forgotten since."""
    warnings: list[tuple[str, int, int]] = []
    for place, (time, user, what, _) in enumerate(seen):
        warned = [t for u, t, at in warnings if u == user and not forgotten(seen, user, at, place)]
        if isinstance(what, float) and what >= level and not any(time < t + EXPIRY for t in warned):
            warnings.append((user, time, place))
    return [w for w in warnings if not forgotten(seen, w[0], w[2], len(seen))]


def by_hand(seen: list[Seen], level: float, now: int) -> tuple[int, int]:
    """How many warnings at one level have matured by `now`, and how many of them were right, from the whole list."""
    matured = [w for w in warned_of(seen, level) if w[1] + max(HORIZON, EXPIRY) < now]
    return len(matured), sum(right(seen, user, time, place, now) for user, time, place in matured)


def forgotten(seen: list[Seen], user: str, start: int, end: int) -> bool:
    return any(u == user and what == "forget" for _, u, what, _ in seen[start:end])


def right(seen: list[Seen], user: str, time: int, place: int, now: int) -> bool:
    """Whether an escalation within the horizon after the warning stands, as far as was known at `now`."""
    later = [(when, what, cause) for when, who, what, cause in seen[place + 1 :] if who == user]
    overturned = {cause for when, what, cause in later if what == "overturned" and when <= now}
    reached = {cause for when, what, cause in later if what == "escalated" and time <= when <= time + HORIZON}
    return bool(reached - overturned)


@given(HAPPENINGS, st.integers(-6_000, 4_000))
@settings(max_examples=examples(300), deadline=None)
def test_the_record_counts_what_an_oracle_counts(
    drawn: list[tuple[int, str, float | str, int, int]], beyond: int
) -> None:
    """At every level, and settled at any time: nothing that was known only after that is in it."""
    seen = log_of(drawn)
    record, now = TrackRecord(**record_settings(PROMISED)), max((time for time, *_ in seen), default=0) + beyond
    told(record, seen)
    record.settle(now)
    track = track_of(record.document())
    for at, level in enumerate(LEVELS.tolist()):
        expected = by_hand(seen, level, now) if at >= FLOOR else (0, 0)
        assert (track.warnings[at], track.right[at]) == expected, level
        if at >= FLOOR:
            assert track.busiest[at] == len([w for w in warned_of(seen, level) if w[1] <= now])


def test_a_warning_dated_years_ahead_keeps_no_other_from_maturing() -> None:
    """Warnings mature by their own time, whatever came before them in the log."""
    record = TrackRecord(**record_settings(PROMISED))
    record.see("mallory", 10**12, 0.9)
    for number in range(50):
        record.see(f"u{number}", number, 0.9)
    record.settle(HORIZON + 50)
    assert track_of(record.document()).warnings[FLOOR] == 50
    assert list(record.state()["users"]) == ["mallory"]


def test_a_sanction_dated_before_a_warning_makes_it_right_no_more_than_one_after_the_horizon() -> None:
    """It was not foretold, though it was heard of later."""
    record = TrackRecord(**record_settings(PROMISED))
    for user, escalated_at in (("before", 99), ("at", 100), ("last", 100 + HORIZON), ("after", 101 + HORIZON)):
        record.see(user, 100, 0.9)
        record.escalated(user, escalated_at, 1)
    record.settle(10 * HORIZON)
    track = track_of(record.document())
    assert (track.warnings[FLOOR], track.right[FLOOR]) == (4, 2)


def test_a_warning_that_holds_longer_than_the_horizon_is_counted_when_it_has_lapsed() -> None:
    """Until then the user cannot be warned again, and the record knows that."""
    record = TrackRecord(
        **record_settings(
            PROMISED.model_copy(update={"warnings": PROMISED.warnings.model_copy(update={"expiry": 3 * HORIZON})})
        )
    )
    record.see("ann", 0, 0.9)
    record.settle(2 * HORIZON)
    record.see("ann", 2 * HORIZON, 0.9)
    assert track_of(record.document()).warnings[FLOOR] == 0
    record.settle(3 * HORIZON + 1)
    record.see("ann", 3 * HORIZON + 1, 0.9)
    record.settle(10 * HORIZON)
    assert track_of(record.document()).warnings[FLOOR] == pytest.approx(2)


def test_nothing_names_a_user_who_asked_to_be_forgotten() -> None:
    """Neither the state nor what it is made of."""
    record = TrackRecord(**record_settings(PROMISED))
    record.see("ann", 0, 0.9)
    record.escalated("ann", 1, 7)
    record.forget("ann")
    assert "ann" not in repr(record.state())
    assert {one.user for heap in (record._open, record._fresh) for *_, one in heap} == {""}
    record.settle(10 * HORIZON)
    assert track_of(record.document()).warnings[FLOOR] == 0


@given(HAPPENINGS, st.integers(1, 5))
@settings(max_examples=examples(100), deadline=None)
def test_a_record_that_is_stored_and_loaded_goes_on_as_if_it_had_not_been(
    drawn: list[tuple[int, str, float | str, int, int]], every: int
) -> None:
    """Its state is plain data."""
    seen = log_of(drawn)
    straight, stored = TrackRecord(**record_settings(PROMISED)), TrackRecord(**record_settings(PROMISED))
    for start in range(0, len(seen), every):
        for record in (straight, stored):
            told(record, seen[start : start + every], settle_every=2)
        loaded = TrackRecord(**record_settings(PROMISED))
        loaded.restore(msgpack.unpackb(msgpack.packb(stored.state()), strict_map_key=False))
        stored = loaded
    assert straight.document() == stored.document()
    assert straight.state() == stored.state()


def test_a_state_replaces_all_that_a_record_held() -> None:
    """A model that is learnt anew has no warnings, and none of those that the model before it gave matures later."""
    record, new = TrackRecord(**record_settings(PROMISED)), TrackRecord(**record_settings(PROMISED))
    empty = record.state()
    record.see("ann", 10, 0.9)
    record.restore(empty)
    for one in (record, new):
        one.see("bob", 20, 0.9)
        one.settle(10 * HORIZON)
    assert record.state() == new.state()
    assert record.document() == new.document()


def test_what_a_record_holds_of_users_goes_when_it_has_matured() -> None:
    """Memory is that of the last horizon, not of all time."""
    record = TrackRecord(**record_settings(PROMISED))
    for number in range(5_000):
        record.see(f"u{number}", number * 10, 0.9)
        record.settle(number * 10)
    state = record.state()
    assert len(state["users"]) == len(record._open) <= HORIZON // 10 + 2
    assert len(state["hours"]) <= HOURS


def test_evidence_loses_half_its_weight_in_the_memory_s_time() -> None:
    """So that a model that changes is judged by what it has become."""
    record = TrackRecord(
        **record_settings(
            PROMISED.model_copy(update={"promises": PROMISED.promises.model_copy(update={"memory": HOUR})})
        )
    )
    record.see("a", 0, 0.9)
    record.escalated("a", 10, 1)
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
    decider = decider_of(PROMISED)
    for track in (None, track_of(TrackRecord(**record_settings(PROMISED)).document())):
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
    thresholds = decider_of(PROMISED).thresholds(shown({0.1: (1000, 200, 0), 0.2: (500, 200, 0), 0.5: (100, 80, 0)}))
    (_, watch, leave), (_, high, _) = thresholds.tiers
    assert (watch, high) == (at(0.2), at(0.5))
    assert leave / (1 - leave) == pytest.approx(watch / (1 - watch) / 2)


BUDGETED = policy(
    tiers={"watch": {"enter": 0.1, "leave": 0.05}, "high": {"enter": 0.5, "leave": 0.3}},
    warnings={"budget": 10, "cooldown": 0, "expiry": HOUR},
)


def test_a_budget_raises_the_threshold_until_the_busiest_hour_keeps_to_it() -> None:
    """Who is held back by it is said, if they stand in no tier; higher tiers are not lowered by it."""
    decider = decider_of(BUDGETED)
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
    record = TrackRecord(**record_settings(BUDGETED))
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
