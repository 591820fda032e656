"""Lanes: the same scores for every batching and interleaving, and never a version that has seen the future."""

from __future__ import annotations

import random
from math import isnan, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.contract import DecisionPoint, matrix_from
from detectors.features.profile import pack, unpack
from detectors.lane import Erasure, Lane, News, Publication, Served
from detectors.learn import Learner, Lesson
from detectors.models.catalogue import freeze
from detectors.policy import Policy
from schemas.records import RiskEvent, Tombstone
from tests.detectors.kit import (
    COMMUNITY,
    DAY,
    HOUR,
    START,
    community,
    cut,
    items_of,
    lessons_of,
    point_of,
    steps_of,
    vector_of,
)
from tests.properties.streams import LAWFUL, policy

STEPS = steps_of(community(seed=3, length=400))
LESSONS, ITEMS = lessons_of(STEPS), items_of(STEPS)
MODELS = ("logistic", "bayes")
Output = tuple[list[Publication], list[Served]]
rngs = st.integers(0, 2**32).map(random.Random)


def news_of(lessons: list[list[Lesson]], rules: Policy = COMMUNITY) -> list[News]:
    """What the learners of a policy tell, batch by batch."""
    learners = {name: Learner(name, rules.learning) for name in MODELS}
    told = []
    for batch in lessons:
        for name, learner in learners.items():
            published, reached = learner.take(batch)
            told.append(News(name, published, dict(reached)))
    return told


def run(lane: Lane, actions: list[News | list[DecisionPoint | Erasure]], hop: random.Random | None = None) -> Output:
    """What a lane makes of news and batches in this order; with `hop` it is dumped and restored on the way."""
    published: list[Publication] = []
    served: list[Served] = []
    for action in [*actions, []]:
        if hop is not None and hop.random() < 0.3:
            state = pack(lane.state())
            lane = Lane(COMMUNITY, wait=lane._wait, pinned=lane._pinned)
            lane.restore(unpack(state))
            assert pack(lane.state()) == state
        if isinstance(action, News):
            lane.hear(action)
        else:
            events, rows = lane.take(action)
            published += events
            served += rows
    return published, served


def shuffle_together(rng: random.Random, *queues: list) -> list:
    """Items of all queues in one list, each queue's own order kept."""
    heads = [list(queue) for queue in queues]
    out = []
    while any(heads):
        queue = rng.choice([head for head in heads if head])
        out.append(queue.pop(0))
    return out


STRAIGHT = run(Lane(COMMUNITY, wait=True), [ITEMS, *news_of([LESSONS])])
VERSIONS = {item.version.version: item for news in news_of([LESSONS]) for item in news.published}
PINNED = freeze(next(news for news in reversed(news_of([LESSONS])) if news.model == "logistic").published[-1].version)


def test_the_community_gives_these_laws_something_to_hold() -> None:
    """Warnings of several tiers, scores of several versions, erasures: none of the comparisons below is empty."""
    published, served = STRAIGHT
    tiers = {item.event.tier for item in published if isinstance(item.event, RiskEvent)}
    assert len(tiers) >= 3
    assert any(isinstance(item.event, Tombstone) for item in published)
    assert len({row.model_version for row in served}) > 10
    assert sum(row.probability is not None for row in served) > 100
    assert sum(not isnan(row.shadow[0]) for row in served) > 100


@settings(LAWFUL, max_examples=15)
@given(rngs)
def test_a_waiting_lane_gives_the_same_for_any_batching_and_any_interleaving_of_news(rng: random.Random) -> None:
    """Points before their news, news before its points, one by one or all at once: the output is the same."""
    batches = cut(ITEMS, rng, rng.choice((1, 10, 200)))
    news = news_of(cut(LESSONS, rng, rng.choice((2, 30, 400))))
    by_model = [[item for item in news if item.model == model] for model in MODELS]
    actions = shuffle_together(rng, batches, *by_model)
    assert repr(run(Lane(COMMUNITY, wait=True), actions)) == repr(STRAIGHT)


@settings(LAWFUL, max_examples=8)
@given(rngs)
def test_points_that_wait_are_taken_in_the_order_of_the_log_whatever_order_they_came_in(rng: random.Random) -> None:
    """Shuffled points, all there before the news that lets them through, come out as if in order."""
    shuffled = rng.sample(ITEMS, len(ITEMS))
    actions = [*cut(shuffled, rng, 60), *news_of(cut(LESSONS, rng, 60))]
    assert repr(run(Lane(COMMUNITY, wait=True), actions)) == repr(STRAIGHT)


@settings(LAWFUL, max_examples=10)
@given(rngs)
def test_a_lane_restored_at_any_point_goes_on_identically(rng: random.Random) -> None:
    """Packed and unpacked between any two steps, with points waiting and users warned, nothing changes."""
    actions = shuffle_together(rng, cut(ITEMS, rng, 40), news_of(cut(LESSONS, rng, 60)))
    assert repr(run(Lane(COMMUNITY, wait=True), actions, hop=rng)) == repr(STRAIGHT)
    live = run(Lane(COMMUNITY), actions)
    assert repr(run(Lane(COMMUNITY), actions, hop=rng)) == repr(live)


@settings(LAWFUL, max_examples=15)
@given(rngs, st.booleans())
def test_no_score_ever_uses_a_version_that_has_learnt_at_or_after_the_point(rng: random.Random, wait: bool) -> None:
    """Whatever a lane has heard, the version that scores is strictly older than the point's as-of time."""
    actions = shuffle_together(rng, cut(ITEMS, rng, 40), news_of(cut(LESSONS, rng, 60)))
    published, served = run(Lane(COMMUNITY, wait=wait), actions)
    scored = 0
    for row in served:
        if row.model_version:
            version = VERSIONS[row.model_version]
            scored += row.probability is not None
            assert version.version.learned_until < row.point.as_of
            assert version.seq <= row.point.at.seq
        else:
            assert row.probability is None
    assert scored > 100 or not wait
    for item in published:
        if isinstance(item.event, RiskEvent) and item.event.learned_until is not None:
            assert item.event.learned_until < item.event.as_of


def test_a_waiting_lane_scores_with_the_newest_version_in_force_that_is_old_enough() -> None:
    """Recomputed by going through all versions for each point."""
    keep = COMMUNITY.learning.keep_versions
    champions = [item for item in VERSIONS.values() if item.version.name == "logistic"]
    for row in STRAIGHT[1]:
        in_force = [item for item in champions if item.seq <= row.point.at.seq][-keep:]
        fit = [item for item in in_force if item.version.learned_until < row.point.as_of]
        assert row.model_version == (fit[-1].version.version if fit else "")


@settings(LAWFUL, max_examples=15)
@given(rngs)
def test_a_pinned_lane_does_not_mind_how_users_are_mixed_or_batched(rng: random.Random) -> None:
    """With a pinned model each user's output is a function of that user's points alone."""
    queues: dict[str, list[DecisionPoint | Erasure]] = {}
    for item in ITEMS:
        queues.setdefault(item.user_id, []).append(item)
    straight = run(Lane(COMMUNITY, pinned=PINNED), [[item] for item in ITEMS])
    mixed = (
        shuffle_together(rng, *queues.values())
        if rng.random() < 0.5
        else [item for queue in queues.values() for item in queue]
    )
    shuffled = run(Lane(COMMUNITY, pinned=PINNED), cut(mixed, rng, rng.choice((2, 50, 400))), hop=rng)
    assert repr(sorted(shuffled[0], key=lambda item: item.at)) == repr(straight[0])
    assert repr(sorted(shuffled[1], key=lambda row: row.point.at)) == repr(straight[1])


def test_a_pinned_model_that_has_seen_the_future_says_so() -> None:
    """`ahead` up to and including the time it has learnt until, `ok` after it."""
    rules = policy(tiers={"watch": {"enter": 0.0, "leave": 0.0}})
    until = PINNED.learned_until
    assert until is not None
    for as_of, note in ((until - 1, "ahead"), (until, "ahead"), (until + 1, "ok")):
        [publication], [row] = Lane(rules, pinned=PINNED).take([point_of(vector_of(), as_of=as_of)])
        assert isinstance(publication.event, RiskEvent)
        assert (publication.event.model_note, publication.event.learned_until) == (note, until)
        assert row.model_version == PINNED.version


def test_a_user_with_few_events_has_insufficient_history() -> None:
    """Below `min_events` the model may think what it likes: there is no score, but rules still speak."""
    rules = policy(
        learning={"min_events": 5},
        tiers={"watch": {"enter": 0.0, "leave": 0.0}},
        rules={"velocity": {"tier": "elevated"}},
    )
    lane = Lane(rules, pinned=PINNED)
    vector = vector_of(message_count_5m=40)
    [publication], [row] = lane.take([point_of(vector, events=4)])
    assert isinstance(publication.event, RiskEvent)
    assert (row.probability, row.tier) == (None, "elevated")
    assert (publication.event.probability, publication.event.model_note) == (None, "insufficient_history")
    assert [reason.detector for reason in publication.event.reasons] == ["velocity"]
    _, [row] = lane.take([point_of(vector, events=5, seq=1)])
    assert row.probability is not None


def test_a_risk_event_names_what_it_came_from() -> None:
    """Trigger, versions, horizon, expiry, reasons with raw counters; and the same point always gives the same id."""
    rules = policy(tiers={"watch": {"enter": 0.0, "leave": 0.0}}, rules={"velocity": {}}, warnings={"reasons": 2})
    point = point_of(vector_of(message_count_5m=31, report_count_24h=2), seq=7)
    [publication], _ = Lane(rules, pinned=PINNED).take([point])
    event = publication.event
    assert isinstance(event, RiskEvent)
    assert (event.user_id, event.as_of, event.expires_at) == ("ann", START, START + DAY)
    assert (event.tier, event.previous_tier, event.horizon_ms) == ("watch", "none", rules.target.horizon)
    assert (event.trigger.event_id, event.trigger.topic, event.trigger.offset) == (point.event_id, "events", 7)
    assert (event.model, event.model_version, event.policy_version) == ("logistic", PINNED.version, rules.version)
    assert event.reasons[0].model_dump() == {
        "detector": "velocity",
        "feature": "message_count_5m",
        "value": 31.0,
        "contribution": None,
    }
    assert {reason.detector for reason in event.reasons[1:]} == {"logistic"}
    assert len(event.reasons) == 3
    [again], _ = Lane(rules, pinned=PINNED).take([point])
    assert again == publication
    [other], _ = Lane(rules, pinned=PINNED).take([point._replace(event_id="another")])
    assert isinstance(other.event, RiskEvent)
    assert other.event.risk_event_id != event.risk_event_id


def test_an_erased_user_is_forgotten_and_announced() -> None:
    """A tombstone is published, and the next warning starts from none."""
    rules = policy(tiers={"watch": {"enter": 0.0, "leave": 0.0}})
    lane = Lane(rules, pinned=PINNED)
    first, again = point_of(vector_of()), point_of(vector_of(), as_of=START + HOUR, seq=2)
    gone = Erasure("ann", START + 1, again.at._replace(seq=1, offset=1))
    published, _ = lane.take([first, gone, again])
    assert [type(item.event).__name__ for item in published] == ["RiskEvent", "Tombstone", "RiskEvent"]
    assert published[1].event == Tombstone(user_id="ann", as_of=START + 1)
    assert published[2].event.previous_tier == "none"
    assert len(lane.take([again._replace(event_id="third", as_of=START + 2 * HOUR)])[0]) == 0


def test_points_that_wait_are_given_when_every_model_has_reached_them() -> None:
    """A point is held until both the champion and the challenger are past its position."""
    lane = Lane(COMMUNITY, wait=True)
    point = point_of(vector_of(), seq=3)
    assert lane.take([point]) == ([], [])
    lane.hear(News("logistic", [], {0: 4}))
    lane.hear(News("logistic", [], {0: 2}))  # old news does not take back what was reached
    assert lane.take([]) == ([], [])
    lane.hear(News("bayes", [], {0: 3}))
    assert lane.take([]) == ([], [])
    lane.hear(News("bayes", [], {0: 4}))
    _, [row] = lane.take([])
    assert row.point == point


FLOODING = policy(
    learning={"min_events": 99},
    rules={"velocity": {"tier": "high"}, "report_burst": {"tier": "watch"}},
    warnings={"expiry": "1h", "cooldown": "2h"},
)
"""The model never has history enough: what happens is what the rules say."""


def flooding(*moments: tuple[int, dict[str, float]]) -> list[tuple[str, str, list[str]]]:
    """What is published of one user whose lane is restarted between any two points: tiers and whose reasons."""
    lane, said = Lane(FLOODING, pinned=PINNED), []
    for seq, (as_of, features) in enumerate(moments):
        restarted = Lane(FLOODING, pinned=PINNED)
        restarted.restore(unpack(pack(lane.state())))
        lane = restarted
        published, _ = lane.take([point_of(vector_of(**features), as_of=START + as_of, seq=seq)])
        for item in published:
            assert isinstance(item.event, RiskEvent)
            speakers = sorted({reason.detector for reason in item.event.reasons})
            said.append((str(item.event.previous_tier), str(item.event.tier), speakers))
    return said


FLOOD, REPORTS = {"message_count_5m": 99}, {"reporter_distinct_24h": 5}


def test_a_warning_that_lapsed_is_not_what_the_next_one_rises_from() -> None:
    """Nothing is published when a warning lapses, and the next one's previous tier is none."""
    assert flooding((0, FLOOD), (HOUR, {}), (2 * HOUR, FLOOD)) == [("none", "high", ["velocity"])] * 2


def test_the_cooldown_survives_a_restart() -> None:
    """Between its expiry and the end of the cooldown the same tier is not entered again."""
    assert flooding((0, FLOOD), (HOUR + 1, FLOOD), (HOUR + 2, REPORTS)) == [("none", "high", ["velocity"])]


def test_a_rule_below_the_tier_in_force_is_noted_and_not_published() -> None:
    """A second rule that asks for less gives no event of its own."""
    assert flooding((0, FLOOD), (1, REPORTS), (2, {})) == [("none", "high", ["velocity"])]


def test_all_rules_that_fire_are_named_and_the_highest_decides() -> None:
    """Two rules on one point: one event, the higher tier, reasons of both."""
    assert flooding((0, REPORTS), (1, FLOOD | REPORTS)) == [
        ("none", "watch", ["report_burst"]),
        ("watch", "high", ["report_burst", "velocity"]),
    ]


def test_a_warned_user_whose_score_falls_is_taken_out_of_the_tier() -> None:
    """However quiet the score: who stands in a tier is decided again at every point."""
    calm, alarming = vector_of(absent=nan, message_count_24h=50), vector_of(absent=nan, report_count_24h=9)
    low, high = PINNED.probabilities(matrix_from([calm, alarming])).tolist()
    assert low < high
    lane = Lane(policy(tiers={"watch": {"enter": high, "leave": high}}), pinned=PINNED)
    points = [point_of(vector, as_of=START + seq, seq=seq) for seq, vector in enumerate((calm, alarming, calm, calm))]
    published, served = lane.take(points)
    said = [(item.at.seq, item.event.previous_tier, item.event.tier) for item in published]
    assert said == [(1, "none", "watch"), (2, "watch", "none")]
    assert [row.tier for row in served] == ["none", "watch", "none", "none"]
    assert [item.event.expires_at for item in published] == [START + 1 + DAY, START + 2]


@pytest.mark.parametrize(("days", "kept"), [(29, {"ann", "bob", "eve"}), (31, {"bob", "eve"})])
def test_a_crowded_lane_forgets_only_standings_long_settled(days: int, kept: set[str]) -> None:
    """A month after neither warning nor cooldown matter any more; and the users after it go on as before."""
    lane = Lane(FLOODING, pinned=PINNED)
    lane._crowd = 1
    settled = 2 * HOUR  # the cooldown outlasts the expiry
    flood = point_of(vector_of(**FLOOD))
    moments = [
        ("ann", 0),
        ("bob", days * DAY + settled),
        ("eve", days * DAY + settled),
        ("bob", days * DAY + settled + 1),
    ]
    points = [
        flood._replace(user_id=user, as_of=START + after, event_id=str(seq))
        for seq, (user, after) in enumerate(moments)
    ]
    published, served = lane.take(points)
    assert [item.event.user_id for item in published] == ["ann", "bob", "eve"]
    assert [row.tier for row in served] == ["high"] * 4
    assert set(lane.state()["standings"]) == kept
