"""The learner: lessons in, versions out, the same for every way the lessons were batched and shuffled."""

from __future__ import annotations

import random
from itertools import cycle
from math import isnan
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.contract import Example, matrix_from
from detectors.features.upgrade import BEFORE_CODES, stored_vector
from detectors.items import Asked, Lesson
from detectors.learn import Learner, Published
from detectors.lessons import InOrder
from detectors.log_clock import LogClock
from detectors.models.catalogue import MODELS, freeze
from detectors.storage import pack, unpack
from detectors.track import TrackRecord
from tests.detectors.kit import (
    COMMUNITY,
    HOUR,
    START,
    community,
    cut,
    lesson_of,
    lessons_of,
    random_vector,
    steps_of,
    vector_of,
)
from tests.properties.streams import DAY, LAWFUL, MINUTE

LESSONS = lessons_of(steps_of(community(seed=3, length=400)))
OLDER = 1
"""The layout before there was a track record."""
rngs = st.integers(0, 2**32).map(random.Random)


def empty(partition: int, seq: int) -> Lesson:
    """A lesson that teaches nothing but its place."""
    return Lesson(partition, seq, "u", START, (), erased=False)


def told(published: list[Published]) -> list[tuple[str, int | None, int]]:
    """What identifies published versions."""
    return [(item.version.version, item.version.learned_until, item.seq) for item in published]


def new(name: str) -> Learner:
    """A fresh learner that keeps a track record."""
    return Learner(name, COMMUNITY.learning, TrackRecord(COMMUNITY))


def learn(name: str, batches: list[list[Lesson]]) -> tuple[list[Published], Learner]:
    """A fresh learner that took the batches."""
    learner = new(name)
    return [item for batch in batches for item in learner.take(batch)[0]], learner


STRAIGHT = {name: learn(name, [LESSONS]) for name in MODELS}


@settings(LAWFUL)
@given(rngs, st.integers(1, 3))
def test_in_order_gives_every_lesson_once_and_in_its_place(rng: random.Random, partitions: int) -> None:
    """Whatever the arrival, each partition's lessons come out by position, as soon as nothing before is missing."""
    lessons = [empty(partition, seq) for partition in range(partitions) for seq in range(rng.randint(1, 20))]
    rng.shuffle(lessons)
    order, out, arrived = InOrder(), [], set()
    for batch in cut(lessons, rng, 5):
        out += order.take(batch)
        arrived |= {(lesson.partition, lesson.seq) for lesson in batch}
        for partition in range(partitions):
            reach = next(n for n in range(len(lessons) + 1) if (partition, n) not in arrived)
            assert [lesson.seq for lesson in out if lesson.partition == partition] == list(range(reach))
            assert order.following.get(partition, 0) == reach
        assert [(lesson.partition, lesson.seq) for lesson in order.waiting] == sorted(
            arrived - {(lesson.partition, lesson.seq) for lesson in out},
        )
    assert len(out) == len(lessons)


@pytest.mark.parametrize("name", MODELS)
@settings(LAWFUL, max_examples=12)
@given(rng=rngs)
def test_versions_do_not_depend_on_how_lessons_were_batched_or_shuffled(name: str, rng: random.Random) -> None:
    """Same versions, same hashes, same positions, and in the end the same model to the last bit."""
    straight, last = STRAIGHT[name]
    assert len(straight) > 5
    shuffled = list(LESSONS)
    rng.shuffle(shuffled)
    lessons = shuffled if rng.random() < 0.5 else LESSONS
    published, learner = learn(name, cut(lessons, rng, rng.choice((2, 12, 300))))
    assert told(published) == told(straight)
    assert learner.version() == last.version()


@pytest.mark.parametrize("name", MODELS)
@settings(LAWFUL, max_examples=12)
@given(rng=rngs)
def test_a_learner_restored_at_any_point_goes_on_identically(name: str, rng: random.Random) -> None:
    """Packed and unpacked between any two batches, even with lessons waiting, it publishes the same versions."""
    straight, last = STRAIGHT[name]
    window = [lesson for block in cut(LESSONS, rng, 40) for lesson in rng.sample(block, len(block))]
    learner, published = new(name), []
    for batch in cut(window, rng, 60):
        resumed = new(name)
        resumed.restore(unpack(pack(learner.state(), 1), 1, "learner")[1])
        assert pack(resumed.state(), 1) == pack(learner.state(), 1)
        learner = resumed
        published += learner.take(batch)[0]
    assert told(published) == told(straight)
    assert learner.version() == last.version()


@pytest.mark.parametrize("name", MODELS)
@settings(LAWFUL, max_examples=12)
@given(rng=rngs)
def test_a_model_that_joins_late_learns_all_there_is_from_then_on(name: str, rng: random.Random) -> None:
    """As if the log had begun there; lessons of an epoch come in any order, and what it never learnt stays unlearnt."""
    start = rng.randrange(1, 200)
    rest = LESSONS[start:]
    learner, published = new(name), []
    for epoch in cut(rest, rng, 40):
        for batch in cut(rng.sample(epoch, len(epoch)), rng):
            published += learner.take(batch)[0]
        learner.join()
        resumed = new(name)
        resumed.restore(unpack(pack(learner.state(), 1), 1, "learner")[1])
        learner = resumed
    renumbered, last = learn(name, [[lesson._replace(seq=lesson.seq - start) for lesson in rest]])
    published += learner.take([empty(0, len(LESSONS))])[0]  # what waited for the end of the epoch it joined in
    assert told(published) == [(version, until, seq + start) for version, until, seq in told(renumbered)]
    assert learner.version() == last.version()
    assert learner.state()["waiting"] == []


@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_joined_late_takes_nothing_back_that_it_never_learnt(name: str) -> None:
    """It counts no fewer than no positives, and has a score wherever it would have one without that."""
    near, far = vector_of(message_count_1h=1.0), vector_of(message_count_1h=500.0)
    known = [Example("u", START, near, label=label, weight=1.0) for label in (True, False) for _ in range(8)]
    unknown = Example("u", START, far, label=True, weight=-1.0)
    learner, alone = new(name), new(name)
    learner.take([empty(0, 0)._replace(examples=(unknown,))])
    assert (learner.version().examples, learner.version().positives) == (0, 0)
    learner.take([empty(0, 1)._replace(examples=(*known, unknown, unknown, unknown))])
    assert (learner.version().examples, learner.version().positives) == (13, 5)
    alone.take([empty(0, 0)._replace(examples=tuple(known))])
    asked = matrix_from([near, far]), ["ann", "bob"]
    scores, expected = (freeze(one.version()).probabilities(*asked) for one in (learner, alone))
    assert np.array_equal(np.isnan(scores), np.isnan(expected))
    assert not np.any((scores < 0) | (scores > 1))


def test_the_record_is_of_the_scores_that_lanes_give() -> None:
    """Every point is entered with the probability of the version in force at its position."""
    entered: list[tuple[str, int, float]] = []

    class Spy(TrackRecord):
        def see(self, user_id: str, as_of: int, probability: float) -> None:
            entered.append((user_id, as_of, probability))
            super().see(user_id, as_of, probability)

    published, _ = learn("logistic", [LESSONS])
    Learner("logistic", COMMUNITY.learning, Spy(COMMUNITY)).take(LESSONS)
    expected = []
    for lesson in LESSONS:
        in_force = [item.version for item in published if item.seq <= lesson.seq]
        if lesson.asked is not None and in_force:
            probability = freeze(in_force[-1]).probabilities(matrix_from([lesson.asked.vector]))[0]
            expected.append((lesson.user_id, lesson.asked.as_of, float(probability)))
    assert np.array_equal([one[2] for one in entered], [one[2] for one in expected], equal_nan=True)
    assert [one[:2] for one in entered] == [one[:2] for one in expected]
    assert sum(probability > 0 for _, _, probability in entered) > 100


def test_a_track_record_travels_with_the_versions_and_names_nobody() -> None:
    """What lanes decide by is in the version they score with."""
    lessons = lessons_of(steps_of(community(seed=3, length=2_000)))
    published, learner = learn("logistic", [lessons])
    track = freeze(published[-1].version).track
    assert track is not None
    assert track.warnings.sum() > track.right.sum() > 0
    assert not any(f'"{lesson.user_id}"' in published[-1].version.state for lesson in lessons)
    gone = next(iter(learner.state()["track"]["users"]))
    learner.take([Lesson(0, len(lessons), gone, lessons[-1].time, (), erased=True)])
    assert gone not in learner.state()["track"]["users"]


def test_a_learner_of_the_version_before_goes_on_with_an_empty_record() -> None:
    """Its lessons that waited had no points of a record, and their examples no origin."""
    learner = Learner("logistic", COMMUNITY.learning)
    learner.take([lesson._replace(asked=None, turns=()) for lesson in (*LESSONS[:200], *LESSONS[210:300])])
    state = learner.state()
    del state["track"], state["in_force"]
    state["waiting"] = [
        (*waiting[:4], [example[:5] for example in waiting[4]], waiting[5]) for waiting in state["waiting"]
    ]
    loaded = new("logistic")
    loaded.restore(unpack(pack(state, OLDER), OLDER, "learner")[1])
    plain = Learner("logistic", COMMUNITY.learning)
    plain.take([lesson._replace(asked=None, turns=()) for lesson in LESSONS])
    loaded.take(LESSONS[200:210])
    loaded.take(LESSONS[300:])
    assert loaded.state()["model"] == plain.state()["model"]
    assert "track" in loaded.version().state


@pytest.mark.parametrize("name", MODELS)
def test_learned_until_is_the_latest_time_a_learnt_label_was_known(name: str) -> None:
    """Every version says the largest `known_at` of all lessons before the position it is in force from."""
    for item in STRAIGHT[name][0]:
        known = [example.known_at for lesson in LESSONS[: item.seq] for example in lesson.examples]
        assert item.version.learned_until == max(known)
        assert item.version.examples == sum(
            -1 if example.weight < 0 else 1 for lesson in LESSONS[: item.seq] for example in lesson.examples
        )


def test_a_version_appears_when_the_log_enters_a_new_interval_and_only_if_something_was_learnt() -> None:
    """One version per interval with lessons; the lesson that opens the interval is not in it."""
    every = COMMUNITY.learning.publish_every
    vector = vector_of(report_count_24h=1)

    def lesson(seq: int, user: str, time: int, *, teaches: bool) -> Lesson:
        examples = (Example(user, time, vector, label=False, weight=1.0),) if teaches else ()
        return Lesson(0, seq, user, time, examples, erased=False)

    base = START // every * every
    published, learner = learn(
        "logistic",
        [
            [
                lesson(0, "a", base, teaches=True),
                lesson(1, "b", base + 1, teaches=True),  # the clock starts: what was learnt first is published
                lesson(2, "c", base + every, teaches=True),
                lesson(3, "d", base + every, teaches=True),  # two users have reached the next interval
                lesson(4, "a", base + every + 5, teaches=False),
                lesson(5, "b", base + 2 * every, teaches=False),
                lesson(6, "c", base + 2 * every, teaches=False),
                lesson(7, "a", base + 3 * every, teaches=False),
                lesson(8, "b", base + 3 * every, teaches=False),  # nothing new to publish
            ],
        ],
    )
    assert [(item.seq, item.version.examples) for item in published] == [(1, 1), (3, 3), (6, 4)]
    assert published[-1].version.version == learner.version().version


def record_after(hours_ahead: int, known_at: int, *, asked: bool) -> dict[str, Any]:
    """The record of a version that learnt an example of `known_at` after another partition had run ahead.

    There, where `asked`, somebody else is warned of every minute.
    """
    learner, every = new("logistic"), COMMUNITY.learning.publish_every
    learner.take(LESSONS)
    vectors = [lesson.asked.vector for lesson in LESSONS if lesson.asked is not None]
    start = LESSONS[-1].time + MINUTE
    ahead = [
        Lesson(1, n, f"u{n}", start + n * MINUTE, (), False, Asked(start + n * MINUTE, vector) if asked else None)
        for n, vector in zip(range(60 * hours_ahead), cycle(vectors), strict=False)
    ]
    learner.take(ahead)
    example = Example("zed", known_at, vectors[0], label=False, weight=1.0)
    learner.take([Lesson(0, len(LESSONS), "zed", known_at, (example,), erased=False)])
    later = ahead[-1].time + 2 * every
    [item] = learner.take([Lesson(1, len(ahead) + n, user, later, (), erased=False) for n, user in enumerate("ab")])[0]
    document: dict[str, Any] = orjson.loads(item.version.state)
    return {"until": item.version.learned_until, **document["track"]}


def test_a_version_s_record_has_seen_nothing_that_the_version_has_not_learnt() -> None:
    """A partition that is hours ahead and teaches nothing is in no record, until something as late was learnt."""
    last = LESSONS[-1].time
    assert record_after(40, last, asked=True) == record_after(40, last, asked=False)
    seen, unseen = (record_after(40, last + 40 * HOUR, asked=asked) for asked in (True, False))
    assert seen["until"] == unseen["until"] == last + 40 * HOUR
    assert max(seen["busiest"]) > max(unseen["busiest"])


def test_a_point_years_ahead_of_the_log_is_in_no_record() -> None:
    """What only one user's clock says can mature for nobody, and is not kept waiting for that."""
    learner, start = new("logistic"), LESSONS[-1].time
    learner.take(LESSONS)
    before = learner.state()["track"]["users"]
    vectors = [lesson.asked.vector for lesson in LESSONS if lesson.asked is not None]
    ahead = [
        Lesson(0, len(LESSONS) + n, "mallory", start + (900 + n) * DAY, (), False, Asked(start + (900 + n) * DAY, one))
        for n, one in enumerate(vectors)
    ]
    learner.take(ahead)
    assert learner.state()["track"]["users"] == before


def test_a_record_that_was_no_event_moves_neither_the_clock_nor_the_model() -> None:
    """A Reject takes its place in the order, and that is all."""
    with_gap = [lesson if n != 5 else Lesson(0, 5, "", -1, (), erased=False) for n, lesson in enumerate(LESSONS)]
    without = [
        lesson if n != 5 else lesson._replace(examples=(), user_id="zz", time=0) for n, lesson in enumerate(LESSONS)
    ]
    assert told(learn("bayes", [with_gap])[0]) == told(learn("bayes", [without])[0])


@settings(LAWFUL)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 40)), max_size=60))
def test_the_logs_clock_is_the_latest_time_that_two_users_have_reached(seen: list[tuple[str, int]]) -> None:
    """It equals the second largest of the users' own clocks, at every moment."""
    clock, latest = LogClock(), {}
    for user, time in seen:
        clock.advance(user, time)
        latest[user] = max(latest.get(user, -1), time)
        assert clock.now == sorted([-1, -1, *latest.values()])[-2]


def test_one_users_poisoned_time_does_not_move_the_logs_clock() -> None:
    """A user a thousand days ahead, however often, leaves the clock where the others are."""
    clock = LogClock()
    for hour in range(50):
        clock.advance("poisoned", START + 1_000 * DAY + hour)
        clock.advance(f"u{hour % 5}", START + hour * HOUR)
    assert clock.now == START + 49 * HOUR


def test_an_erased_user_is_no_longer_named_nor_heard_by_the_clock() -> None:
    """Who led the clock is forgotten with the time nobody else has reached; anybody else's erasure changes nothing."""
    leading = [("a", START, False), ("b", START + HOUR, False), ("c", START + 9 * HOUR, False)]
    lessons = [Lesson(0, n, user, time, (), erased=gone) for n, (user, time, gone) in enumerate(leading)]
    learner = learn("logistic", [lessons])[1]
    assert learner.state()["clock"] == ("c", START + 9 * HOUR, START + HOUR)
    learner.take([Lesson(0, 3, "b", START + HOUR, (), erased=True)])
    assert learner.state()["clock"] == ("c", START + 9 * HOUR, START + HOUR)
    learner.take([Lesson(0, 4, "c", START, (), erased=True)])
    assert learner.state()["clock"] == ("", START + HOUR, START + HOUR)


@pytest.mark.parametrize("name", MODELS)
def test_what_is_taken_back_no_longer_counts_as_learnt(name: str) -> None:
    """An example with negative weight is subtracted from what a version says it has learnt."""
    rng = random.Random(8)
    lessons = [lesson_of(n, random_vector(rng), n % 4 == 0) for n in range(40)]
    back = lesson_of(40, lessons[8].examples[0].vector, label=True, weight=-1.0)
    _, learner = learn(name, [lessons])
    before = learner.version()
    learner.take([back])
    after = learner.version()
    assert (after.examples, after.positives) == (before.examples - 1, before.positives - 1)
    assert after.state != before.state


def test_what_waits_since_before_a_feature_was_declared_is_learnt_without_it() -> None:
    """A vector stored shorter is one in which what was declared behind it is absent."""
    rng = random.Random(8)
    early = lesson_of(1, random_vector(rng), label=True)
    old, new = Learner("sequence", COMMUNITY.learning), Learner("sequence", COMMUNITY.learning)
    old.take([early])
    state = old.state()
    (place, seq, user, time, ((who, known_at, vector, *rest),), erased, *_) = state["waiting"][0]
    cut_off = (who, known_at, vector[: 8 * BEFORE_CODES], *rest)
    assert isnan(stored_vector(cut_off[2])[-1])
    new.restore({**state, "waiting": [(place, seq, user, time, [cut_off], erased)]})
    new.take([empty(0, 0)])
    assert new.version().positives == 1
    assert not new._model.dump()["codes"]
    old.take([empty(0, 0)])
    assert old._model.dump()["codes"]
