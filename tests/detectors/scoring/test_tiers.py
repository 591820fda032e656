"""Tiers: entered and left with hysteresis, held back by the cooldown, floored by rules, lapsing by themselves."""

from __future__ import annotations

from math import isnan, nan
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.scoring.tiers import CLEAR, Decider, WarningState
from schemas.records.decisions import Tier
from tests.kit.streams import LAWFUL, decider_of, policy
from tests.kit.thorough import examples

EXPIRY, COOLDOWN = 1_000, 300
THRESHOLDS = {Tier.WATCH: (0.2, 0.1), Tier.ELEVATED: (0.5, 0.4), Tier.HIGH: (0.8, 0.5)}
TIERS = {str(tier): {"enter": enter, "leave": leave} for tier, (enter, leave) in THRESHOLDS.items()}
N, W, E, H = Tier


def decider(expiry: int = EXPIRY, cooldown: int = COOLDOWN) -> Decider:
    """The three tiers of this page with an expiry and a cooldown in milliseconds."""
    return decider_of(policy(tiers=TIERS, warnings={"expiry": expiry, "cooldown": cooldown}))


FIXED = decider().thresholds(None)


class Row(NamedTuple):
    """One decision point of a golden table, and the tier the user is in after it."""

    as_of: int
    probability: float | None
    rule: Tier
    tier: Tier
    published: bool
    expires_at: int


TABLES: dict[str, list[Row]] = {
    "a score that rises and falls enters above and leaves below": [
        Row(0, 0.19, N, N, False, 0),
        Row(1, 0.20, N, W, True, 1001),
        Row(2, 0.49, N, W, False, 1001),
        Row(3, 0.50, N, E, True, 1003),
        Row(4, 0.40, N, E, False, 1003),
        Row(5, 0.39, N, W, True, 1005),
        Row(6, 0.10, N, W, False, 1005),
        Row(7, 0.09, N, N, True, 0),
    ],
    "a jump to the top passes no tier in between": [Row(0, 0.9, N, H, True, 1000), Row(1, 0.45, N, E, True, 1001)],
    "an absent score changes nothing": [
        Row(0, None, N, N, False, 0),
        Row(1, 0.6, N, E, True, 1001),
        Row(2, None, N, E, False, 1001),
        Row(1001, None, N, N, False, 0),
    ],
    "a warning lapses by itself, and the cooldown is over by then": [
        Row(0, 0.3, N, W, True, 1000),
        Row(999, 0.3, N, W, False, 1000),
        Row(1000, 0.3, N, W, True, 2000),
    ],
    "a tier that was left is not entered again within the cooldown": [
        Row(0, 0.6, N, E, True, 1000),
        Row(10, 0.0, N, N, True, 0),
        Row(20, 0.6, N, N, False, 0),
        Row(30, 0.3, N, N, False, 0),
        Row(299, 0.6, N, N, False, 0),
        Row(300, 0.6, N, E, True, 1300),
    ],
    "a tier that was lowered is not entered again within the cooldown": [
        Row(0, 0.9, N, H, True, 1000),
        Row(10, 0.45, N, E, True, 1010),
        Row(20, 0.9, N, E, False, 1010),
        Row(300, 0.9, N, H, True, 1300),
    ],
    "a higher tier is entered within the cooldown, and starts its own": [
        Row(0, 0.3, N, W, True, 1000),
        Row(1, 0.6, N, E, True, 1001),
        Row(2, 0.9, N, H, True, 1002),
        Row(3, 0.0, N, N, True, 0),
        Row(301, 0.6, N, N, False, 0),
        Row(302, 0.6, N, E, True, 1302),
    ],
    "a rule raises without a score, and its tier holds until the expiry": [
        Row(0, None, E, E, True, 1000),
        Row(1, 0.0, N, E, False, 1000),
        Row(999, None, N, E, False, 1000),
        Row(1000, 0.0, N, N, False, 0),
    ],
    "a score above a rule's tier falls back to the rule's tier": [
        Row(0, 0.0, W, W, True, 1000),
        Row(1, 0.9, N, H, True, 1001),
        Row(2, 0.0, N, W, True, 1002),
        Row(1002, 0.0, N, N, False, 0),
    ],
    "a rule that fires while the tier is higher is remembered": [
        Row(0, 0.9, N, H, True, 1000),
        Row(1, 0.9, W, H, False, 1000),
        Row(2, 0.0, N, W, True, 1002),
        Row(3, 0.0, N, W, False, 1002),
    ],
}


def in_force(standing: WarningState, as_of: int) -> Tier:
    """The tier a subscriber believes in at a time."""
    return standing.tier if as_of < standing.expires_at else Tier.NONE


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_golden_table_of_decisions(table: list[Row]) -> None:
    """Each row: when, what the model and the rules said, and where the user stands then."""
    judge, standing, tier = decider(), CLEAR, Tier.NONE
    for row in table:
        before = in_force(standing, row.as_of)
        standing = judge.decide(standing, row.as_of, row.probability, row.rule, FIXED)
        tier = in_force(standing, row.as_of)
        assert (tier, tier is not before) == (row.tier, row.published), row
        if tier.rank:
            assert standing.expires_at == row.expires_at, row


def expected(past: list[Row], row: Row) -> Tier:
    """The tier after a decision point by the words of the policy, from the whole list of what went before.

    `past` holds earlier points with the tier and expiry that came of them.
    """
    last = past[-1] if past else None
    current = last.tier if last is not None and row.as_of < last.expires_at else Tier.NONE
    floors = [row.rule]
    for earlier in reversed(past):
        if current is Tier.NONE:
            break
        floors.append(earlier.rule)
        if earlier.published and earlier.tier.rank and in_effect_before(past, earlier) is Tier.NONE:
            break  # the warning began here
    asked = current
    if row.probability is not None:
        asked = Tier.NONE
        for tier, (enter, leave) in THRESHOLDS.items():
            if row.probability >= (leave if tier.rank <= current.rank else enter):
                asked = tier
    wanted = max([asked, *floors], key=lambda tier: tier.rank)
    entries = [
        earlier for earlier in past if earlier.published and earlier.tier.rank > in_effect_before(past, earlier).rank
    ]
    if wanted.rank > current.rank and entries:
        cooling = row.as_of < entries[-1].as_of + COOLDOWN
        if cooling and wanted.rank <= entries[-1].tier.rank:
            return current
    return wanted


def in_effect_before(past: list[Row], row: Row) -> Tier:
    """The tier in force when a point came, before it was decided."""
    index = past.index(row)
    earlier = past[index - 1] if index else None
    return earlier.tier if earlier is not None and row.as_of < earlier.expires_at else Tier.NONE


POINTS = st.lists(
    st.tuples(
        st.sampled_from((0, 1, 50, 250, 300, 700, 1000)),
        st.one_of(st.none(), st.sampled_from((0.0, 0.05, 0.1, 0.15, 0.2, 0.4, 0.45, 0.5, 0.79, 0.8, 1.0))),
        st.sampled_from((N, N, N, N, W, E, H)),
    ),
    max_size=40,
)


@settings(LAWFUL, max_examples=examples(300))
@given(POINTS)
def test_standings_are_what_the_words_of_the_policy_say(points: list[tuple[int, float | None, Tier]]) -> None:
    """Hysteresis, cooldown, floors and expiry against a recomputation from the whole list of points."""
    judge, standing, now = decider(), CLEAR, 0
    past: list[Row] = []
    for number, (gap, probability, rule) in enumerate(points):
        now += gap + 1
        before = in_force(standing, now)
        after = judge.decide(standing, now, probability, rule, FIXED)
        tier = in_force(after, now)
        row = Row(now, probability, rule, tier, tier is not before, after.expires_at if tier.rank else 0)
        assert tier is expected(past, row), f"point {number}"
        past.append(row)
        standing = after


@settings(LAWFUL, max_examples=examples(200))
@given(POINTS, st.integers(1, 2_000), st.integers(0, 2_000))
def test_no_law_of_tiers_is_ever_broken(
    points: list[tuple[int, float | None, Tier]],
    expiry: int,
    cooldown: int,
) -> None:
    """Whatever comes: never in below enter, never out above leave, never moved by an absent score, never cooled up."""
    judge, standing, now, top = decider(expiry, cooldown), CLEAR, 0, Tier.NONE
    entered_at = -1
    for gap, probability, rule in points:
        now += gap
        before = in_force(standing, now)
        after = judge.decide(standing, now, probability, rule, FIXED)
        tier = in_force(after, now)
        if tier is before:
            assert after.tier is standing.tier
            assert after.expires_at == standing.expires_at
        elif tier.rank > before.rank:
            assert tier is rule or tier is standing.floor or (probability or 0.0) >= THRESHOLDS[tier][0]
            assert now >= entered_at + cooldown or entered_at < 0 or tier.rank > top.rank
            entered_at, top = now, tier
        else:
            assert probability is not None
            assert probability < THRESHOLDS[before][1]
            assert tier.rank >= rule.rank
        if tier.rank and tier is not before:
            assert after.expires_at == now + expiry
        if (
            probability is not None
            and probability >= THRESHOLDS[H][0]
            and (now >= entered_at + cooldown or top is not H)
        ):
            assert tier is H
        standing = after
    assert judge.decide(standing, max(now, standing.expires_at), None, N, FIXED) is standing
    assert in_force(standing, max(now, standing.expires_at)) is N


@settings(LAWFUL, max_examples=examples(200))
@given(POINTS, POINTS)
def test_a_settled_standing_can_be_forgotten(
    before: list[tuple[int, float | None, Tier]],
    after: list[tuple[int, float | None, Tier]],
) -> None:
    """Once settled, a user decides just like one who was never warned."""
    judge, standing, now = decider(), CLEAR, 0
    for gap, probability, rule in before:
        now += gap
        standing = judge.decide(standing, now, probability, rule, FIXED)
    now = max(now, standing.expires_at, standing.entered_at + COOLDOWN)
    assert judge.settled(standing, now)
    assert standing is CLEAR or not judge.settled(
        standing, max(standing.expires_at, standing.entered_at + COOLDOWN) - 1
    )
    fresh = CLEAR
    for gap, probability, rule in after:
        now += gap
        standing, fresh = (
            judge.decide(standing, now, probability, rule, FIXED),
            judge.decide(fresh, now, probability, rule, FIXED),
        )
        assert in_force(standing, now) is in_force(fresh, now)
        assert not fresh.tier.rank or standing == fresh


STANDINGS = st.builds(
    WarningState,
    st.sampled_from((N, W, E, H)),
    st.sampled_from((0, 400, 1_000)),
    st.sampled_from((-1, 300, 499)),
    st.sampled_from((N, W, E, H)),
    st.sampled_from((N, N, W, E, H)),
)
SCORES = st.sampled_from((nan, 0.0, 0.05, 0.1, 0.15, 0.2, 0.4, 0.45, 0.5, 0.79, 0.8, 1.0))


@settings(LAWFUL, max_examples=examples(300))
@given(
    st.lists(st.tuples(st.one_of(st.none(), STANDINGS), SCORES), min_size=1, max_size=20),
    st.lists(st.sampled_from((W, E, H)), min_size=1, max_size=3, unique=True),
    st.sampled_from(({}, {"budget": 10})),
)
def test_where_no_standing_is_said_to_move_deciding_would_leave_it_as_it_is(
    rows: list[tuple[WarningState | None, float]], tiers: list[Tier], budget: dict[str, int]
) -> None:
    """Rows that are passed over: the same standing, nobody held back, and the tier in force as it was told."""
    asked = {str(tier): TIERS[str(tier)] for tier in tiers}
    judge = decider_of(policy(tiers=asked, warnings={"expiry": EXPIRY, "cooldown": COOLDOWN, **budget}))
    limits, users, now = judge.thresholds(None), [str(row) for row in range(len(rows))], 500
    standings = {user: standing for user, (standing, _) in zip(users, rows, strict=True) if standing is not None}
    told = [N] * len(rows)
    scores, times = [score for _, score in rows], [now] * len(rows)
    moved = {*judge.moved(range(len(rows)), users, times, scores, standings, limits, {0}, told)}
    assert 0 in moved
    for row in {*range(len(rows))} - moved:
        standing, probability = standings.get(users[row], CLEAR), None if isnan(scores[row]) else scores[row]
        assert judge.decide(standing, now, probability, N, limits) is standing
        assert not judge.held_back(standing, now, probability, limits)
        assert told[row] is in_force(standing, now)


def test_nearly_nobody_moves() -> None:
    """Who is in no tier and scores below all, whose tier the score holds, and whose tier a rule holds."""
    judge, now = decider(), 500
    at_rest = {"low": CLEAR, "held": WarningState(E, 900, 400, E, N), "floored": WarningState(W, 900, 400, W, W)}
    lapsed, told = WarningState(H, 400, 300, H, H), [N] * 5
    standings, users = {**at_rest, "lapsed": lapsed}, [*at_rest, "lapsed", "new"]
    scores = [0.19, 0.4, 0.0, 0.19, 0.19]
    assert [*judge.moved(range(5), users, [now] * 5, scores, standings, FIXED, (), told)] == []
    assert told == [N, E, W, N, N]
    scores = [0.2, 0.39, 0.5, 0.2, 0.2]
    assert [*judge.moved(range(5), users, [now] * 5, scores, standings, FIXED, (), told)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("cooldown", [COOLDOWN, 40 * EXPIRY])
def test_a_standing_is_kept_until_its_cooldown_is_over_too(cooldown: int) -> None:
    """A warning that has lapsed long ago is still what the cooldown goes by, however long that is."""
    judge = decider(cooldown=cooldown)
    standing = judge.decide(CLEAR, 5, 0.9, N, FIXED)
    over = max(standing.expires_at, 5 + cooldown)
    assert not judge.settled(standing, over - 1)
    assert judge.settled(standing, over)
    if over > standing.expires_at:
        assert judge.decide(standing, over - 1, 0.9, N, FIXED) is standing
