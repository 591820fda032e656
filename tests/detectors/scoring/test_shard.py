"""Lanes: the same scores for every batching and interleaving, and never a version that has seen the future."""

from __future__ import annotations

import random
from collections import Counter
from math import isnan, nan

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.base.state import pack, unpack
from detectors.learning.learner import Forgotten
from detectors.models.catalogue import freeze
from detectors.profiles.results import Erasure, LaneItem, Outcome
from detectors.scoring.served import NONE_SERVED, Served, ServedBatch, joined
from detectors.scoring.shard import STATE_VERSION, Lane, ModelUpdate, Publication
from schemas.records.decisions import RiskEvent, Tier, Tombstone
from tests.kit.community import (
    COMMUNITY,
    community,
    cut,
    items_of,
    lessons_of,
    news_of,
    point_of,
    steps_of,
    vector_of,
)
from tests.kit.streams import LAWFUL
from tests.kit.thorough import examples

STEPS = steps_of(community(seed=3, length=460))
LESSONS, ITEMS = lessons_of(STEPS), items_of(STEPS)
Output = tuple[list[Publication], list[Served]]
rngs = st.integers(0, 2**32).map(random.Random)


def run(lane: Lane, actions: list[ModelUpdate | list[LaneItem]], hop: random.Random | None = None) -> Output:
    """What a lane makes of news and batches in this order; with `hop` it is dumped and restored on the way."""
    published: list[Publication] = []
    served: list[Served] = []
    for action in [*actions, []]:
        if hop is not None and hop.random() < 0.3:
            state = pack(lane.state(), STATE_VERSION)
            lane = Lane(COMMUNITY, wait=lane._wait, pinned=lane._pinned)
            lane.restore(unpack(state, STATE_VERSION, "lane")[1])
            assert pack(lane.state(), STATE_VERSION) == state
        if isinstance(action, ModelUpdate):
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


NEWS = news_of([LESSONS])
STRAIGHT = run(Lane(COMMUNITY, wait=True), [ITEMS, *NEWS["logistic"], *NEWS["bayes"]])
VERSIONS = {item.version.version: item for told in NEWS.values() for news in told for item in news.published}
PINNED = freeze(NEWS["logistic"][-1].published[-1].version)


def test_the_community_gives_these_laws_something_to_hold() -> None:
    """Warnings of several tiers, scores of several versions, erasures: none of the comparisons below is empty."""
    published, served = STRAIGHT
    tiers = {item.event.tier for item in published if isinstance(item.event, RiskEvent)}
    assert len(tiers) >= 3
    assert any(isinstance(item.event, Tombstone) for item in published)
    assert len({row.model_version for row in served}) > 10
    assert sum(row.probability is not None for row in served) > 100
    assert sum(not isnan(row.shadow[0]) for row in served) > 100


@settings(LAWFUL, max_examples=examples(15))
@given(rngs)
def test_a_waiting_lane_gives_the_same_for_any_batching_and_any_interleaving_of_news(rng: random.Random) -> None:
    """Points before their news, news before its points, one by one or all at once: the output is the same."""
    batches = cut(ITEMS, rng, rng.choice((1, 10, 200)))
    news = news_of(cut(LESSONS, rng, rng.choice((2, 30, 400))))
    actions = shuffle_together(rng, batches, *news.values())
    assert repr(run(Lane(COMMUNITY, wait=True), actions)) == repr(STRAIGHT)


@settings(LAWFUL, max_examples=examples(8))
@given(rngs)
def test_points_that_wait_are_taken_in_the_order_of_the_log_whatever_order_they_came_in(rng: random.Random) -> None:
    """Shuffled points, all there before the news that lets them through, come out as if in order."""
    shuffled = rng.sample(ITEMS, len(ITEMS))
    actions = [*cut(shuffled, rng, 60), *shuffle_together(rng, *news_of(cut(LESSONS, rng, 60)).values())]
    assert repr(run(Lane(COMMUNITY, wait=True), actions)) == repr(STRAIGHT)


@settings(LAWFUL, max_examples=examples(10))
@given(rngs)
def test_a_lane_restored_at_any_point_goes_on_identically(rng: random.Random) -> None:
    """Packed and unpacked between any two steps, with points waiting and users warned, nothing changes."""
    actions = shuffle_together(rng, cut(ITEMS, rng, 40), *news_of(cut(LESSONS, rng, 60)).values())
    assert repr(run(Lane(COMMUNITY, wait=True), actions, hop=rng)) == repr(STRAIGHT)
    live = run(Lane(COMMUNITY), actions)
    assert repr(run(Lane(COMMUNITY), actions, hop=rng)) == repr(live)


@settings(LAWFUL, max_examples=examples(15))
@given(rngs, st.booleans())
def test_no_score_ever_uses_a_version_that_has_learnt_at_or_after_the_point(rng: random.Random, wait: bool) -> None:
    """Whatever a lane has heard, the version that scores is strictly older than the point's as-of time."""
    actions = shuffle_together(rng, cut(ITEMS, rng, 40), *news_of(cut(LESSONS, rng, 60)).values())
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


@settings(LAWFUL, max_examples=examples(15))
@given(rngs)
def test_a_pinned_lane_does_not_mind_how_users_are_mixed_or_batched(rng: random.Random) -> None:
    """With a pinned model each user's output is a function of that user's points alone."""
    queues: dict[str, list[LaneItem]] = {}
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


def empty(taken: tuple[list[Publication], ServedBatch]) -> bool:
    """Whether a lane gave nothing."""
    return not taken[0] and not taken[1] and not list(taken[1])


def test_points_that_wait_are_given_when_every_model_has_reached_them() -> None:
    """A point is held until both the champion and the challenger are past its position."""
    lane = Lane(COMMUNITY, wait=True)
    point = point_of(vector_of(), seq=3)
    assert empty(lane.take([point]))
    lane.hear(ModelUpdate("logistic", [], {0: 4}))
    lane.hear(ModelUpdate("logistic", [], {0: 2}))  # old news does not take back what was reached
    assert empty(lane.take([]))
    lane.hear(ModelUpdate("bayes", [], {0: 3}))
    assert empty(lane.take([]))
    lane.hear(ModelUpdate("bayes", [], {0: 4}))
    _, [row] = lane.take([])
    assert row.point == point


def test_a_state_of_version_1_is_read_and_what_it_did_not_have_begins_empty() -> None:
    """As version 1 wrote it: no live evaluation, and items that wait marked as erasures or not."""
    erased = next(number for number, item in enumerate(ITEMS) if isinstance(item, Erasure))
    lane = Lane(COMMUNITY, wait=True)
    lane.take([item for item in ITEMS[: erased + 9] if not isinstance(item, Outcome)])
    state = lane.state()
    del state["live"]
    state["waiting"] = [(bool(kind), fields) for kind, fields in state["waiting"]]
    version, old = unpack(pack(state, 1), STATE_VERSION, "lane")
    assert version == 1
    back = Lane(COMMUNITY, wait=True)
    back.restore(old)
    rest = [*NEWS["logistic"], *NEWS["bayes"], ITEMS[erased + 9 :]]
    assert repr(run(back, rest)) == repr(run(lane, rest))
    assert repr(back.measured()) == repr(lane.measured())


def test_points_without_a_score_are_counted_though_an_erasure_splits_their_batch() -> None:
    """Each part of a batch brings its own counts."""
    points = [row.point for row in STRAIGHT[1][:2]]
    parts = [
        ServedBatch(
            [point],
            np.array([point.vector]),
            np.array([nan]),
            [Tier.NONE],
            [""],
            np.empty((0, 1)),
            held_back=1,
            unscored=Counter(no_version=1),
            silent=Counter(budget=2),
        )
        for point in points
    ]
    whole = joined(parts)
    assert (whole.held_back, whole.unscored, whole.silent) == (2, Counter(no_version=2), Counter(budget=4))
    alone = joined([NONE_SERVED, parts[0]])
    assert (len(alone), alone.unscored, alone.silent) == (1, Counter(no_version=1), Counter(budget=2))


def test_an_erasure_that_waits_for_a_model_which_is_gone_is_dropped_with_it() -> None:
    """A challenger was taken out of the policy while the lane was stopped."""
    lane, without = Lane(COMMUNITY, wait=True), COMMUNITY.learning.model_copy(update={"challengers": ()})
    lane.hear(ModelUpdate("bayes", [], {0: 5}, [Forgotten(1, 0, 3)]))
    resumed = Lane(COMMUNITY.model_copy(update={"learning": without}), wait=True)
    resumed.restore(unpack(pack(lane.state(), STATE_VERSION), STATE_VERSION, "lane")[1])
    resumed.hear(ModelUpdate("logistic", [], {0: 1_000}))
    _, served = resumed.take(ITEMS[:50])
    assert len(served) > 10
