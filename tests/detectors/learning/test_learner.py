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

from detectors.base.points import Example
from detectors.base.state import pack, unpack
from detectors.base.vectors import matrix_from
from detectors.features.upgrade import BEFORE_CODES, stored_vector
from detectors.learning.ahead import MOST, OF_A_USER, Ahead
from detectors.learning.learner import Learner, Published
from detectors.learning.order import InOrder
from detectors.models.catalogue import MODELS, freeze
from detectors.models.naive_bayes.bayes import Bayes
from detectors.models.track_record import TrackRecord
from detectors.profiles.results import TrackedPoint, TrainingEvent
from tests.kit.community import (
    COMMUNITY,
    HOUR,
    MINUTE,
    START,
    community,
    cut,
    lesson_of,
    lessons_of,
    random_vector,
    steps_of,
    vector_of,
)
from tests.kit.lazy import Lazy
from tests.kit.streams import DAY, LAWFUL, record_settings
from tests.kit.thorough import examples

LESSONS = lessons_of(steps_of(community(seed=3, length=460)))
OLDER = 1
"""The layout before there was a track record."""
rngs = st.integers(0, 2**32).map(random.Random)


def empty(partition: int, seq: int) -> TrainingEvent:
    """A lesson that teaches nothing but its place."""
    return TrainingEvent(partition, seq, "u", START, (), erased=False)


def told(published: list[Published]) -> list[tuple[str, int | None, int]]:
    """What identifies published versions."""
    return [(item.version.version, item.version.learned_until, item.seq) for item in published]


def new(name: str) -> Learner:
    """A fresh learner that keeps a track record."""
    return Learner(name, COMMUNITY.learning, TrackRecord(**record_settings(COMMUNITY)))


def learn(name: str, batches: list[list[TrainingEvent]]) -> tuple[list[Published], Learner]:
    """A fresh learner that took the batches."""
    learner = new(name)
    return [item for batch in batches for item in learner.take(batch)[0]], learner


STRAIGHT = Lazy[str, tuple[list[Published], Learner]](lambda name: learn(name, [LESSONS]))


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


def test_an_event_that_comes_twice_does_not_take_the_place_of_another() -> None:
    """The one that is still missing is learnt when it comes."""
    order, first, second = InOrder(), empty(0, 0), empty(0, 1)
    assert order.take([first, first]) == [first]
    assert order.take([second]) == [second]
    assert order.following == {0: 2}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@settings(LAWFUL, max_examples=examples(12))
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


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@settings(LAWFUL, max_examples=examples(12))
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


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@settings(LAWFUL, max_examples=examples(12))
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
    Learner("logistic", COMMUNITY.learning, Spy(**record_settings(COMMUNITY))).take(LESSONS)
    expected = []
    for lesson in LESSONS:
        in_force = [item.version for item in published if item.seq <= lesson.seq]
        if lesson.asked is not None and in_force:
            probability = freeze(in_force[-1]).probabilities(matrix_from([lesson.asked.vector]))[0]
            expected.append((lesson.user_id, lesson.asked.as_of, float(probability)))
    assert np.array_equal([one[2] for one in entered], [one[2] for one in expected], equal_nan=True)
    assert [one[:2] for one in entered] == [one[:2] for one in expected]
    assert sum(probability > 0 for _, _, probability in entered) > 100


def test_the_record_hears_of_every_escalation_and_of_those_overturned() -> None:
    """By whom, when, and by which cause, in order; an erasure too."""
    entered: list[tuple[str, str, int, int]] = []

    class Spy(TrackRecord):
        def escalated(self, user_id: str, time: int, cause: int) -> None:
            entered.append(("escalated", user_id, time, cause))

        def overturned(self, user_id: str, time: int, cause: int) -> None:
            entered.append(("overturned", user_id, time, cause))

        def forget(self, user_id: str) -> None:
            entered.append(("forgotten", user_id, 0, 0))

    events = lessons_of(steps_of(community(seed=3, length=2_000)))
    Learner("logistic", COMMUNITY.learning, Spy(**record_settings(COMMUNITY))).take(events)
    expected = []
    for event in events:
        if event.erased:
            expected.append(("forgotten", event.user_id, 0, 0))
        for kind, cause, time, _ in event.turns:
            expected.append((kind, event.user_id, time if kind == "escalated" else event.time, cause))
    assert entered == expected
    assert {kind for kind, *_ in entered} == {"escalated", "overturned", "forgotten"}


def test_a_track_record_travels_with_the_versions_and_names_nobody() -> None:
    """What lanes decide by is in the version they score with."""
    lessons = lessons_of(steps_of(community(seed=3, length=2_000)))
    published, learner = learn("logistic", [lessons])
    track = freeze(published[-1].version).track
    assert track is not None
    assert track.warnings.sum() > track.right.sum() > 0
    assert not any(f'"{lesson.user_id}"' in published[-1].version.state for lesson in lessons)
    gone = next(iter(learner.state()["track"]["users"]))
    learner.take([TrainingEvent(0, len(lessons), gone, lessons[-1].time, (), erased=True)])
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

    def lesson(seq: int, user: str, time: int, *, teaches: bool) -> TrainingEvent:
        examples = (Example(user, time, vector, label=False, weight=1.0),) if teaches else ()
        return TrainingEvent(0, seq, user, time, examples, erased=False)

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
        TrainingEvent(
            1, n, f"u{n}", start + n * MINUTE, (), False, TrackedPoint(start + n * MINUTE, vector) if asked else None
        )
        for n, vector in zip(range(60 * hours_ahead), cycle(vectors), strict=False)
    ]
    learner.take(ahead)
    example = Example("zed", known_at, vectors[0], label=False, weight=1.0)
    learner.take([TrainingEvent(0, len(LESSONS), "zed", known_at, (example,), erased=False)])
    later = ahead[-1].time + 2 * every
    many = len(ahead)  # as many as a quarter of all users, and more
    [item] = learner.take([TrainingEvent(1, many + n, f"z{n}", later, (), erased=False) for n in range(many)])[0]
    document: dict[str, Any] = orjson.loads(item.version.state)
    return {"until": item.version.learned_until, **document["track"]}


def test_a_version_s_record_has_seen_nothing_that_the_version_has_not_learnt() -> None:
    """A partition that is hours ahead and teaches nothing is in no record, until something as late was learnt."""
    last = LESSONS[-1].time
    assert record_after(60, last, asked=True) == record_after(60, last, asked=False)
    seen, unseen = (record_after(60, last + 60 * HOUR, asked=asked) for asked in (True, False))
    assert seen["until"] == unseen["until"] == last + 60 * HOUR
    assert max(seen["busiest"]) > max(unseen["busiest"])


def test_a_point_years_ahead_of_the_log_is_in_no_record() -> None:
    """What only one user's clock says can mature for nobody, and is not kept waiting for that."""
    learner, start = new("logistic"), LESSONS[-1].time
    learner.take(LESSONS)
    before = learner.state()["track"]["users"]
    vectors = [lesson.asked.vector for lesson in LESSONS if lesson.asked is not None]
    ahead = [
        TrainingEvent(
            0,
            len(LESSONS) + n,
            "mallory",
            start + (900 + n) * DAY,
            (),
            False,
            TrackedPoint(start + (900 + n) * DAY, one),
        )
        for n, one in enumerate(vectors)
    ]
    learner.take(ahead)
    assert learner.state()["track"]["users"] == before


def test_a_record_that_was_no_event_moves_neither_the_clock_nor_the_model() -> None:
    """A Reject takes its place in the order, and that is all: as would a time that was seen already."""
    with_gap = [lesson if n != 5 else TrainingEvent(0, 5, "", -1, (), erased=False) for n, lesson in enumerate(LESSONS)]
    without = [
        lesson if n != 5 else LESSONS[4]._replace(seq=5, examples=(), asked=None, turns=())
        for n, lesson in enumerate(LESSONS)
    ]
    assert told(learn("bayes", [with_gap])[0]) == told(learn("bayes", [without])[0])


def test_an_erased_user_is_no_longer_named_nor_heard_by_the_clock() -> None:
    """A user is forgotten with the time nobody else has reached; nobody else's time is."""
    leading = [("ann", START), ("bob", START + HOUR), ("cid", START + 9 * HOUR)]
    lessons = [TrainingEvent(0, n, user, time, (), erased=False) for n, (user, time) in enumerate(leading)]
    learner = learn("logistic", [lessons])[1]
    learner.take([TrainingEvent(0, 3, "cid", START, (), erased=True)])
    assert "cid" not in repr(learner.state())
    learner.take([TrainingEvent(0, 4, "dan", START + 8 * HOUR, (), erased=False)])
    assert learner.state()["clock"][0] == START + HOUR


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


def far_ahead(
    seq: int, user: str, time: int, *, label: bool = False, weight: float = 1.0, **features: float
) -> TrainingEvent:
    """A lesson of one example of a time."""
    example = Example(user, time, vector_of(**features), label=label, weight=weight)
    return TrainingEvent(0, seq, user, time, (example,), erased=False)


def passing(seq: int, user: str, time: int) -> TrainingEvent:
    """A lesson that teaches nothing but the time."""
    return TrainingEvent(0, seq, user, time, (), erased=False)


@pytest.mark.parametrize("name", MODELS)
def test_an_example_dated_ahead_of_the_log_dates_no_model_and_is_learnt_when_the_log_gets_there(name: str) -> None:
    """Before, versions say what the others have taught; after, it is among what was learnt."""
    usual = [far_ahead(n, f"u{n % 5}", START + n * MINUTE, message_count_1h=n) for n in range(60)]
    ahead = far_ahead(60, "early", START + 9 * DAY, message_count_1h=99)
    learner = new(name)
    learner.take([*usual, ahead])
    assert learner.version().learned_until == START + 59 * MINUTE
    assert learner.version().examples == 60
    assert learner.fates() == {"put_off": 1}
    learner.take([passing(61 + n, f"u{n}", START + 9 * DAY) for n in range(5)])
    assert (learner.version().learned_until, learner.version().examples) == (START + 9 * DAY, 61)


@pytest.mark.parametrize("name", MODELS)
def test_what_was_learnt_before_the_clock_turned_out_to_be_ahead_is_learnt_anew_without_it(name: str) -> None:
    """Two users with wrong clocks come first: the model is in the end that of a log in which they teach nothing."""
    usual = [
        far_ahead(n, f"u{n % 30}", START + n * MINUTE, label=n % 7 == 0, message_count_1h=n % 9) for n in range(2, 300)
    ]
    wrong = [far_ahead(n, f"wrong{n}", START + 700 * DAY, message_count_1h=50) for n in range(2)]
    learner, without = new(name), new(name)
    learner.take([*wrong, *usual])
    without.take([*(one._replace(examples=()) for one in wrong), *usual])
    assert learner.fates()["begun_anew"] >= 1
    assert learner.version().learned_until <= START + 300 * MINUTE
    assert learner.version().examples == without.version().examples
    wild, calm = learner.state()["model"], without.state()["model"]
    if name not in ("lookalike", "sequence"):  # whose parts go by when they heard of what
        assert pack({"model": wild}, 1) == pack({"model": calm}, 1)


def test_a_flood_of_examples_dated_ahead_leaves_out_none_of_anybody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room is bounded; whoever has most of what waits loses what is furthest ahead, and it is counted."""
    monkeypatch.setattr("detectors.learning.ahead.MOST", 40)
    monkeypatch.setattr("detectors.learning.learner.MOST", 40)
    usual = [passing(n, f"u{n}", START + n) for n in range(20)]
    waits = [far_ahead(20 + n, f"u{n % 4}", START + DAY + n, message_count_1h=n) for n in range(2)]
    flood = [far_ahead(22 + n, "flood", START + 4 * HOUR + n) for n in range(500)]
    learner = new("bayes")
    learner.take([*usual, *waits, *flood])
    fates = learner.fates()
    assert fates["put_off"] == 502
    assert len(learner.state()["ahead"][1]) <= 40
    assert fates["left_out"] >= 460
    assert {"u0", "u1"} <= {waiting[1] for waiting in learner.state()["ahead"][1]}


def test_nothing_is_taken_back_that_was_never_learnt() -> None:
    """Neither while it waits, nor after it was left out."""
    usual = [far_ahead(n, f"u{n % 5}", START + n * MINUTE, label=n % 3 == 0) for n in range(30)]
    positive = far_ahead(30, "early", START + 9 * DAY, label=True, message_count_1h=9)
    back = far_ahead(31, "early", START + HOUR, label=True, weight=-1.0, message_count_1h=9)
    learner = new("logistic")
    learner.take([*usual, positive, back])
    assert (learner.version().examples, learner.version().positives) == (30, 10)
    learner.take([passing(32 + n, f"u{n}", START + 10 * DAY) for n in range(5)])
    assert (learner.version().examples, learner.version().positives) == (30, 10)
    held = Ahead()
    for number in range(MOST + 1):
        held.add(positive.examples[0]._replace(known_at=START + number))
    assert held.make_room() > OF_A_USER
    waiting = len(held)
    cancelled = [held.cancel(back.examples[0]) for _ in range(waiting + OF_A_USER + 1)]
    assert cancelled == [True] * (waiting + OF_A_USER) + [False]


def test_an_erasure_reaches_what_waits_for_the_clock_and_what_was_kept_from_the_beginning() -> None:
    """Nothing that names the user is left."""
    usual = [far_ahead(n, f"u{n % 5}", START + n * MINUTE) for n in range(30)]
    learner = new("bayes")
    learner.take([*usual, far_ahead(30, "early", START + 9 * DAY), far_ahead(31, "u1", START + 9 * DAY)])
    learner.take([TrainingEvent(0, 32 + n, user, START, (), erased=True) for n, user in enumerate(("early", "u1"))])
    assert "'early'" not in repr(learner.state())
    assert "'u1'" not in repr(learner.state())


def test_a_model_that_keeps_examples_is_told_no_time_later_than_its_versions_will_say() -> None:
    """However far the log has gone since the last example: what it knows by then would be of the future."""
    told_times: list[int] = []

    class Keeping(Bayes):
        def advance(self, now: int) -> bool:
            told_times.append(now)
            return False

        def forget(self, user_id: str) -> bool:
            return user_id == ""

    learner = Learner("bayes", COMMUNITY.learning, model=Keeping)
    teaching = [far_ahead(n, f"u{n % 3}", START + n * MINUTE) for n in range(9)]
    learner.take([*teaching, *(passing(9 + n, f"u{n % 3}", START + n * HOUR) for n in range(100))])
    assert len(told_times) > 50
    assert max(told_times) == learner.version().learned_until == START + 8 * MINUTE
