"""What a lane measures of itself: the same for any batching, across restarts, and against a look back."""

from __future__ import annotations

import random
from collections import Counter
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.base.points import DecisionPoint
from detectors.base.state import pack, unpack
from detectors.monitoring.bins import BINS, bin_of
from detectors.monitoring.quality import MILLION, SAMPLE, Live, keys_of
from detectors.profiles.results import Erasure, LaneItem, Outcome
from detectors.scoring.served import Served
from detectors.scoring.shard import STATE_VERSION, Lane, ModelUpdate, Publication
from schemas.records.decisions import RiskEvent, Tier
from tests.kit.community import (
    DAY,
    HOUR,
    START,
    community,
    cut,
    items_of,
    lessons_of,
    news_of,
    point_of,
    policy,
    steps_of,
    vector_of,
)
from tests.kit.streams import LAWFUL, place
from tests.kit.thorough import examples

RULES = policy(
    allowed_lateness="1h",
    target={"horizon": "12h", "when": [{"event": "sanction"}], "reset_after": "2h"},
    learning={"challengers": [], "publish_every": "6h", "min_positives": 3, "keep_versions": 64},
    tiers={"watch": {"enter": 0.1, "leave": 0.05}, "high": {"enter": 0.4, "leave": 0.3}},
    warnings={"expiry": "1d", "cooldown": "1h"},
    rules={"repeated_text": {"limit": 3}},
)
STEPS = steps_of(community(seed=11, length=2_500), RULES)
LESSONS, ITEMS = lessons_of(STEPS), items_of(STEPS)
NEWS = news_of([LESSONS], RULES)["logistic"]
rngs = st.integers(0, 2**32).map(random.Random)
Measured = dict[str, dict[str, int]]


def run(lane: Lane, actions: list[ModelUpdate | list[LaneItem]], hop: random.Random | None = None) -> Measured:
    """What a lane measures in all, given news and batches in this order; with `hop` it is restored on the way."""
    return run_whole(lane, actions, hop)[2]


def run_whole(
    lane: Lane, actions: list[ModelUpdate | list[LaneItem]], hop: random.Random | None = None
) -> tuple[list[Publication], list[Served], Measured]:
    published: list[Publication] = []
    served: list[Served] = []
    measured: dict[str, Counter[str]] = {}
    for action in [*actions, []]:
        if hop is not None and hop.random() < 0.2:
            state = pack(lane.state(), STATE_VERSION)
            lane = Lane(RULES, wait=lane._wait)
            lane.restore(unpack(state, STATE_VERSION, "lane")[1])
            assert pack(lane.state(), STATE_VERSION) == state
        if isinstance(action, ModelUpdate):
            lane.hear(action)
        else:
            events, rows = lane.take(action)
            published += events
            served += rows
        for name, counts in lane.measured().items():
            measured.setdefault(name, Counter()).update(counts)
    return published, served, {name: dict(sorted(measured[name].items())) for name in sorted(measured)}


PUBLISHED, SERVED, STRAIGHT = run_whole(Lane(RULES, wait=True), [ITEMS, *NEWS])


def looked_back() -> Measured:
    """The matured counts by definition, from what was served and published and what happened to the users."""
    wanted: dict[str, Counter[str]] = {}
    judged = [
        (r.point.user_id, r.point.as_of, r.point.at.seq, r.probability) for r in SERVED if sampled(r.point.at.seq)
    ]
    warned = [
        (event.user_id, event.as_of, at.seq, event.tier)
        for at, event in PUBLISHED
        if isinstance(event, RiskEvent) and event.tier.rank > event.previous_tier.rank
    ]
    for user, as_of, seq, said in [*judged, *warned]:
        if said is None or (right := label(user, as_of, seq)) is None:
            continue
        if isinstance(said, Tier):
            counts = {"matured_warnings": 1, "matured_right": int(right)}
            name = said.value
        else:
            name = BINS[bin_of(said)]
            counts = {"matured_points": 1, "matured_positives": int(right)}
            counts["matured_probability_millionths"] = round(said * MILLION)
        for kind, amount in counts.items():
            wanted.setdefault(kind, Counter())[name] += amount
    return {kind: dict(sorted(wanted[kind].items())) for kind in sorted(wanted)}


def sampled(seq: int) -> bool:
    return keys_of([seq])[0] < SAMPLE


def label(user: str, as_of: int, seq: int) -> bool | None:
    """Whether a user escalates within the horizon after a point, as known an hour after it; None if never known."""
    latest: dict[str, int] = {}
    upheld: dict[int, int] = {}
    clock = -1
    for item in ITEMS:
        if item.at.seq > seq and item.user_id == user:
            if isinstance(item, Erasure):
                return None
            if isinstance(item, Outcome):
                if item.kind == "escalated":
                    upheld[item.cause] = item.as_of
                else:
                    upheld.pop(item.cause, None)
        if isinstance(item, Outcome) or (isinstance(item, DecisionPoint) and sampled(item.at.seq)):
            latest[item.user_id] = max(latest.get(item.user_id, 0), item.as_of)
        elif isinstance(item, Erasure):
            latest.pop(item.user_id, None)
        if len(latest) > 1:
            clock = sorted(latest.values())[-max(2, ceil(len(latest) / 4))]
        if item.at.seq >= seq and clock >= as_of + 13 * HOUR:
            return any(as_of <= time <= as_of + 12 * HOUR for time in upheld.values())
    return None


def test_what_is_measured_is_what_a_look_back_counts() -> None:
    """Points by bin, warnings by tier, right and wrong, against the definition."""
    assert {name: counts for name, counts in STRAIGHT.items() if name.startswith("matured")} == looked_back()
    assert sum(STRAIGHT["matured_points"].values()) > 2 * sum(STRAIGHT["matured_positives"].values()) > 20
    assert sum(STRAIGHT["matured_warnings"].values()) > sum(STRAIGHT["matured_right"].values()) > 10


@pytest.mark.slow
@settings(LAWFUL, max_examples=examples(6))
@given(rngs)
def test_batches_news_and_restarts_change_nothing_of_what_is_measured(rng: random.Random) -> None:
    """However points, outcomes and news were cut and mixed, and wherever the lane was restored."""
    news = news_of(cut(LESSONS, rng, rng.choice((30, 400))), RULES)["logistic"]
    batches = cut(ITEMS, rng, rng.choice((3, 40, 400)))
    actions: list[ModelUpdate | list[LaneItem]] = []
    heads: list[list] = [batches, news]
    while heads[0] or heads[1]:
        queue = rng.choice([head for head in heads if head])
        actions.append(queue.pop(0))
    assert run(Lane(RULES, wait=True), actions, hop=rng) == STRAIGHT


def test_bundles_of_a_batch_are_put_back_in_order_before_anything_is_counted() -> None:
    """A live batch comes user by user; the clock of one must not cut off what another did earlier in the log."""
    by_user = sorted(ITEMS, key=lambda item: item.user_id)
    whole = run(Lane(RULES), [*NEWS, ITEMS])
    assert run(Lane(RULES), [*NEWS, by_user]) == whole
    assert sum(whole["matured_positives"].values()) > 10


def test_the_point_of_the_escalation_itself_has_not_foretold_it() -> None:
    """With a recurring target the event that escalates makes a point as well; the outcome comes first."""
    measured = Live(horizon=RULES.target.horizon, lateness=RULES.allowed_lateness)
    first, second = 3, 4
    measured.point("ann", START, 0, first, 0, 0.5)
    measured.outcome(Outcome("ann", START, "escalated", place(second)))
    measured.point("ann", START, 0, second, 0, 0.01)
    for user in ("bob", "cid"):
        measured.point(user, START + 3 * DAY, 0, second + 1, 0, np.nan)
    assert measured.take() == {
        "matured_points": {"0.5": 1, "0.01": 1},
        "matured_probability_millionths": {"0.5": 500_000, "0.01": 10_000},
        "matured_positives": {"0.5": 1, "0.01": 0},
    }
    assert measured.take() == {}


def test_one_poisoned_clock_matures_nothing() -> None:
    """It takes two users to have come to a time."""
    measured = Live(horizon=RULES.target.horizon, lateness=RULES.allowed_lateness)
    measured.point("ann", START, 0, 0, 0, 0.5)
    measured.point("mallory", START + 1_000 * DAY, 0, 1, 0, 0.5)
    assert measured.take() == {}
    measured.point("bob", START + DAY, 0, 2, 0, 0.5)
    assert measured.take()["matured_points"] == {"0.5": 1}


def test_a_time_that_only_an_erased_user_had_come_to_is_forgotten() -> None:
    """Else the next user with a poisoned clock would be the second."""
    measured = Live(horizon=RULES.target.horizon, lateness=RULES.allowed_lateness)
    measured.point("ann", START, 0, 0, 0, 0.5)
    measured.point("mallory", START + 1_000 * DAY, 0, 1, 0, 0.5)
    measured.erase("mallory", 0)
    measured.point("oscar", START + 1_000 * DAY, 0, 2, 0, 0.5)
    assert measured.take() == {}


def test_a_sixteenth_of_any_stretch_of_the_log_is_sampled() -> None:
    """Evenly, and by the place alone."""
    for start in (0, 10**6, 2**40):
        keys = np.array(keys_of(range(start, start + 16_000)))
        assert 990 <= (keys < SAMPLE).sum() <= 1_010
        assert (keys >= 0).all()
        assert (keys < 2**24).all()


@pytest.mark.slow
def test_drift_of_a_feature_and_of_the_score_is_counted_by_name() -> None:
    """A lane whose users begin to be reported tells which features moved, and none that did not."""
    rng = random.Random(4)
    lane, measured = Lane(RULES), Counter[str]()
    for seq in range(3 * 8_192 + 2_000):
        reports = rng.randrange(3) + (3 if seq > 2 * 8_192 + 500 else 0)
        vector = vector_of(report_count_24h=reports, message_count_1h=rng.randrange(9))
        lane.take([point_of(vector, user=f"u{seq % 50}", as_of=START + seq * 1_000, seq=seq)])
        counts = lane.measured()
        measured.update({f"{name} {label}": n for name in counts for label, n in counts[name].items()})
    assert measured == {"drift_windows all": 2, "drifts report_count_24h": 1}
