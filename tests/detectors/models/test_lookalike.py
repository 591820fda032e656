"""The look-alike model: exact neighbours, and exemplars that come when they are known and leave when they must."""

from __future__ import annotations

import random
from itertools import pairwise
from math import exp, isnan, log, nan, sqrt
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.base.points import Example, Origin
from detectors.base.vectors import Vector
from detectors.features.catalogue import NAMES, NUMBERS
from detectors.features.selection import QUANTITIES
from detectors.features.signals import stable_hash
from detectors.learning.learner import Learner
from detectors.models.catalogue import freeze
from detectors.models.lookalike.exemplars import LARGEST, Exemplar, Pool, dumped, loaded, packed, unpacked
from detectors.models.lookalike.lookalike import HORIZONS, PARTS, Lookalike
from detectors.models.lookalike.moments import FEW, Moments
from detectors.models.lookalike.neighbours import FARTHEST, NEAREST, Metric, Neighbours
from detectors.policy.sections import LearningPolicy
from detectors.profiles.results import TrainingEvent
from tests.kit.community import DAY, HOUR, MINUTE, START, point_of, random_vector, separable, taught, vector_of
from tests.kit.streams import LAWFUL
from tests.kit.thorough import examples

rngs = st.integers(0, 2**32).map(random.Random)
LEARNING = LearningPolicy(
    min_positives=1, neighbours=1, exemplars=16, exemplar_age=30 * DAY, publish_every=10 * MINUTE, keep_versions=256
)
HORIZON = 2 * HOUR


class Teacher:
    """A learner that is taught one example at a time, and what its look-alike model holds."""

    def __init__(self, learning: LearningPolicy = LEARNING) -> None:
        self.learner = Learner("lookalike", learning)
        self.seq = 0

    def teach(self, user: str, time: int, *, label: bool, weight: float = 1.0, **features: float) -> Vector:
        """An example of the point that the user's event at `time` made; the vector it taught."""
        vector = vector_of(absent=nan, **({"report_count_24h": 1.0} | features))
        origin = Origin(stable_hash(f"{user}-{time}"), time, time + HORIZON) if weight > 0 else None
        example = Example(user, time, vector, label=label, weight=weight, origin=origin)
        self._take(user, time, (example,))
        return vector

    def erase(self, user: str, time: int) -> None:
        """An erasure."""
        self._take(user, time, (), erased=True)

    def pass_time(self, until: int) -> None:
        """So many ordinary users are seen at a time that the log's clock gets there; two of them teach."""
        for number in range(self.learner._clock.population // 3 + 2):
            if number < 2:
                self.teach(f"clock-{number}", until, label=False)
            else:
                self._take(f"clock-{number}", until, ())

    def held(self, pool: str) -> list[tuple[int, int]]:
        """Users and times known of a pool's exemplars."""
        state = self.dump()[pool]
        return list(zip(state["users"], state["known_at"], strict=True))

    def users(self, pool: str) -> set[int]:
        """Hashes of the users who have exemplars in a pool."""
        return {user for user, _ in self.held(pool)}

    def dump(self) -> dict[str, Any]:
        """The model as plain data."""
        return self.learner._model.dump()

    def _take(self, user: str, time: int, examples: tuple[Example, ...], *, erased: bool = False) -> None:
        self.learner.take([TrainingEvent(0, self.seq, user, time, examples, erased=erased)])
        self.seq += 1


def distances(row: list[float], exemplars: list[Exemplar], metric: Metric) -> list[float]:
    """The definition, one feature at a time in plain Python."""
    found = []
    for exemplar in exemplars:
        values = unpacked(exemplar.vector, len(row))[:, 0].tolist()
        total = weight_of_all = 0.0
        for value, held, variance, weight in zip(row, values, metric.variances, metric.weights, strict=True):
            if isnan(value) or variance < 1e-6:
                continue
            weight_of_all += weight
            total += weight * (FARTHEST if isnan(held) else min(FARTHEST, (value - held) ** 2 / variance))
        found.append(total / weight_of_all if weight_of_all else 0.0)
    return found


@settings(LAWFUL, max_examples=examples(60))
@given(rng=rngs)
def test_neighbours_are_exact(rng: random.Random) -> None:
    """Contrasts and nearest exemplars are those of every distance computed by its definition."""
    features, k = rng.randint(1, 6), rng.randint(1, 4)

    def row() -> list[float]:
        return [nan if rng.random() < 0.2 else round(rng.gauss(0, 2), 3) for _ in range(features)]

    def exemplar() -> Exemplar:
        return Exemplar(rng.randrange(99), rng.randrange(6), rng.randrange(9), packed(row()))

    pools = [[exemplar() for _ in range(rng.randint(1, 9))] for _ in range(2)]
    metric = Metric(
        np.array([rng.choice((0.0, 0.5, 2.0)) for _ in range(features)]),
        np.array([rng.choice((0.0, 0.3, 1.0)) for _ in range(features)]),
    )
    neighbours = Neighbours(pools[0], pools[1], metric, k)
    rows = [row() for _ in range(20)]
    users = np.array([rng.randrange(8) for _ in rows])
    before = rng.choice((None, 5))
    got = neighbours.contrasts(np.array(rows).T, users, before)
    for values, user, contrast in zip(rows, users.tolist(), got.tolist(), strict=True):
        means, nearest = [], []
        for pool in pools:
            allowed = [
                (distance, number)
                for number, (distance, exemplar) in enumerate(zip(distances(values, pool, metric), pool, strict=True))
                if exemplar.user != user and (before is None or exemplar.known_at < before)
            ]
            chosen = sorted(allowed)[:k]
            means.append(sum(distance for distance, _ in chosen) / len(chosen) if chosen else nan)
            nearest.append([distance for distance, _ in chosen])
        wanted = log((means[1] + NEAREST) / (means[0] + NEAREST))
        assert contrast == pytest.approx(wanted, rel=1e-9, abs=1e-12, nan_ok=True)
        if before is None:
            found = neighbours.find(np.array([values]).T, user)
            picked = found.escalated, found.ordinary
            for numbers, wanted_distances in zip(picked, nearest, strict=True):
                assert found.distances[numbers].tolist() == pytest.approx(wanted_distances, rel=1e-9, abs=1e-12)
            assert all(neighbours.exemplars[number].user != user for numbers in picked for number in numbers)


def test_what_a_point_lacks_is_left_out_and_what_an_exemplar_lacks_is_far() -> None:
    """By hand: two features of weight 1 and 3, spread 1 and 4."""
    metric = Metric(np.array([1.0, 4.0]), np.array([1.0, 3.0]))
    near, gap = Exemplar(1, 1, 0, packed([1.0, 2.0])), Exemplar(2, 2, 0, packed([1.0, nan]))
    both = Neighbours([near], [gap], metric, 1)
    found = both.find(np.array([[2.0], [3.0]]), None)
    assert found.distances.tolist() == pytest.approx([(1 * 1 + 3 * 1 / 4) / 4, (1 * 1 + 3 * FARTHEST) / 4])
    alone = both.find(np.array([[2.0], [nan]]), None)
    assert alone.distances.tolist() == pytest.approx([1.0, 1.0])
    nothing = both.find(np.array([[nan], [nan]]), None)
    assert nothing.distances.tolist() == [0.0, 0.0]


def test_what_scores_is_what_is_published() -> None:
    """Vectors are rounded once, when they are kept; dumped, through JSON and loaded they are the same bytes."""
    values = [0.0, 0.1234567, -3.0, 31.5, 1e9, nan]
    exemplar = Exemplar(2**62, 2**61, START, packed(values))
    wanted = [0.0, 0.123, -3.0, 31.5, LARGEST / 1000, nan]
    assert unpacked(exemplar.vector, 6)[:, 0].tolist() == pytest.approx(wanted, nan_ok=True)
    names = ("a", "b", "c", "d", "e", "f")
    state = orjson.loads(orjson.dumps(dumped([exemplar])))
    assert loaded(state, list(names), names) == [exemplar]
    moved = loaded(state, list(names), ("f", "b", "new", "a"))[0].vector
    assert unpacked(moved, 4)[:, 0].tolist() == pytest.approx([nan, 0.123, nan, 0.0], nan_ok=True)


@settings(LAWFUL)
@given(rng=rngs)
def test_a_pool_is_the_latest_of_each_user_that_is_not_too_old(rng: random.Random) -> None:
    """Against a list of everything that was ever added."""
    pool, added, now = Pool(5, 20), [], 0
    for number in range(40):
        now += rng.randrange(6)
        exemplar = Exemplar(number, rng.randrange(9), now, b"")
        pool.add(exemplar)
        added = [known for known in added if known.user != exemplar.user] + [exemplar]
        pool.expire(now)
        added = [known for known in added[-5:] if known.known_at >= now - 20]
        if rng.random() < 0.2:
            gone = rng.randrange(9)
            assert pool.drop(gone) == any(known.user == gone for known in added)
            added = [known for known in added if known.user != gone]
        assert pool.exemplars == added


def test_an_ordinary_exemplar_waits_until_its_horizon_is_over() -> None:
    """Not one moment earlier on the log's clock, and not on one user's own."""
    teacher = Teacher()
    teacher.teach("calm", START, label=False)
    teacher.teach("early", START + 400 * DAY, label=False)
    teacher.pass_time(START + HORIZON - 15 * MINUTE)
    assert stable_hash("calm") not in teacher.users("ordinary")
    for minutes in (15, 30):  # the model is told by the first of whom it learns there
        teacher.pass_time(START + HORIZON + minutes * MINUTE)
    assert stable_hash("calm") in teacher.users("ordinary")
    assert stable_hash("early") not in teacher.users("ordinary")
    assert all(known_at <= START + HORIZON + 15 * MINUTE for _, known_at in teacher.held("ordinary"))


def test_who_escalates_while_waiting_is_never_ordinary() -> None:
    """The label was not known, and so was not used; the exemplar is known from the escalation on."""
    teacher = Teacher()
    teacher.teach("bad", START, label=False)
    teacher.teach("bad", START + HOUR, label=True)
    assert teacher.held("escalated") == [(stable_hash("bad"), START + HOUR)]
    for hours in range(2, 9):
        teacher.pass_time(START + hours * HOUR)
        assert stable_hash("bad") not in teacher.users("ordinary")


def test_no_exemplar_is_looked_at_that_was_not_known_when_the_point_was_made() -> None:
    """A positive learns what its contrast was worth then: a pool that came to be since teaches nothing."""

    def calibrated(known: int) -> float:
        teacher = Teacher()
        for number in range(6):
            teacher.teach(f"ok{number}", START, label=False, report_count_24h=number)
        teacher.teach("bad", known, label=True, report_count_24h=9.0)
        teacher.pass_time(known + HORIZON + HOUR)
        before = teacher.dump()["steps"]
        vector = vector_of(absent=nan, report_count_24h=8.0)
        origin = Origin(7, START + 6 * HOUR, START + 9 * HOUR)
        example = Example("late", START + 12 * HOUR, vector, label=True, weight=1.0, origin=origin)
        teacher._take("late", START + 12 * HOUR, (example,))
        return float(teacher.dump()["steps"] - before)

    assert calibrated(known=START + 5 * HOUR) == 1
    assert calibrated(known=START + 6 * HOUR) == 0, "an escalation at the very time of the point was used"


def test_a_user_is_never_compared_with_themselves() -> None:
    """Neither in what is learnt nor in what is scored: with no one else in the pool there is no score."""
    teacher = Teacher()
    for number in range(6):
        teacher.teach(f"ok{number}", START, label=False, report_count_24h=number)
    vector = teacher.teach("bad", START + HOUR, label=True, report_count_24h=9.0)
    teacher.pass_time(START + HORIZON + HOUR)
    frozen = freeze(teacher.learner.version())
    own, others = frozen.probabilities(np.array([vector, vector]), ["bad", "ann"]).tolist()
    assert isnan(own)
    assert 0.0 < others <= 1.0
    assert frozen.exemplars(point_of(vector, user="bad"), 3) == ()
    assert frozen.explain(point_of(vector, user="bad"), 3) == ()
    [nearest] = frozen.exemplars(point_of(vector, user="ann"), 3)
    assert nearest.distance == pytest.approx(0.0, abs=0.01)
    steps = teacher.dump()["steps"]
    teacher.teach("bad", START + 4 * HOUR, label=False, report_count_24h=9.0)
    assert teacher.dump()["steps"] == steps
    teacher.teach("ann", START + 4 * HOUR, label=False, report_count_24h=9.0)
    assert teacher.dump()["steps"] == steps + 1


def test_an_escalation_leaves_its_users_latest_point() -> None:
    """Of the points that an escalation turns into positives one becomes the exemplar, under its own event's hash."""
    teacher = Teacher()
    examples = tuple(
        Example(
            "bad",
            START + HOUR,
            vector_of(absent=nan, report_count_24h=count),
            label=True,
            weight=2.0,
            origin=Origin(count, START + count * MINUTE, START + HORIZON),
        )
        for count in (1, 2, 3)
    )
    teacher._take("bad", START + HOUR, examples)
    assert teacher.dump()["escalated"]["keys"] == [3]


def test_an_overturned_escalation_takes_its_exemplar_with_it() -> None:
    """By user and vector: another's exemplar stays, and so does the same user's of another escalation."""
    teacher = Teacher()
    teacher.teach("other", START, label=True, report_count_24h=9.0)
    first = teacher.teach("bad", START, label=True, report_count_24h=9.0)
    teacher.pass_time(START + DAY)
    teacher.teach("bad", START + DAY, label=True, report_count_24h=4.0)
    before = teacher.held("escalated")
    teacher.teach("bad", START + DAY, label=True, weight=-1.0, report_count_24h=9.0)
    assert teacher.held("escalated") == before, first
    teacher.teach("bad", START + DAY, label=True, weight=-1.0, report_count_24h=4.0)
    assert teacher.users("escalated") == {stable_hash("other")}


def test_exemplars_expire() -> None:
    """After `exemplar_age` on the log's clock, those of both kinds."""
    teacher = Teacher(LEARNING.model_copy(update={"exemplar_age": 2 * DAY}))
    teacher.teach("calm", START, label=False)
    teacher.teach("bad", START, label=True)
    teacher.pass_time(START + DAY)
    assert (stable_hash("calm") in teacher.users("ordinary"), len(teacher.held("escalated"))) == (True, 1)
    teacher.pass_time(START + 2 * DAY + HORIZON + HOUR)
    assert (stable_hash("calm") in teacher.users("ordinary"), len(teacher.held("escalated"))) == (False, 0)


@pytest.mark.parametrize("kind", ["escalated", "ordinary", "waiting"])
def test_nothing_of_an_erased_user_stays(kind: str) -> None:
    """Neither the hash nor the vector, in the state and in the next version; a version comes of it by itself."""
    teacher = Teacher()
    teacher.teach("ann", START + DAY, label=kind == "escalated")
    teacher.pass_time(START + DAY + (3 * HOUR if kind == "ordinary" else 20 * MINUTE))
    assert stable_hash("ann") in teacher.users(kind)
    teacher.pass_time(START + DAY + 4 * HOUR - 30 * MINUTE if kind == "ordinary" else START + DAY + HOUR)
    teacher.learner._fresh = False
    teacher.erase("ann", START + DAY)
    assert str(stable_hash("ann")) not in str(teacher.learner.state())
    assert teacher.learner._fresh
    state = teacher.dump()
    teacher.erase("nobody-known", START + DAY)
    assert teacher.dump() == state


def test_ordinary_exemplars_are_a_sample_of_all_times_and_users() -> None:
    """So many from each part of a horizon, by the lowest hash, one of a user: neither crowds nor quiet hours rule."""
    learning = LEARNING.model_copy(update={"exemplars": 64})
    share, teacher, offered = 64 // (PARTS * HORIZONS), Teacher(learning), {}
    for number in range(1_200):
        time = START + number * 20_000 + (number % 2) * 1_000
        teacher.teach("crowd" if number % 3 == 0 else f"u{number}", time, label=False)
        offered[stable_hash(f"{'crowd' if number % 3 == 0 else f'u{number}'}-{time}")] = time
    waiting = teacher.dump()["waiting"]
    parts = teacher.dump()["parts"]
    assert len(set(zip(parts, waiting["users"], strict=True))) == len(parts), "a user waits twice in one part"
    assert max(parts.count(part) for part in parts) == share
    assert len(parts) <= share * (PARTS + 2)
    assert len(set(parts)) >= PARTS
    ordinary = teacher.held("ordinary")
    assert len({user for user, _ in ordinary}) == len(ordinary)
    gaps = [later - earlier for (_, earlier), (_, later) in pairwise(ordinary)]
    assert max(gaps) <= HORIZON / PARTS * 2
    reached = teacher.learner.state()["clock"][0]
    assert min(offered[key] for key in waiting["keys"]) >= reached - HORIZON - 20 * MINUTE
    assert reached >= START + 1_200 * 20_000 - 2 * HOUR  # a quarter of 800 users


def ordinary(user: str, time: int, key: int) -> Example:
    """A negative whose point was made at `time`."""
    return Example(user, time, vector_of(), label=False, weight=1.0, origin=Origin(key, time, time + HORIZON))


def test_the_lowest_hashes_of_each_part_wait_and_one_of_each_user() -> None:
    """Against all that were offered in each part of a horizon."""
    model, rng, share = (
        Lookalike(LEARNING.model_copy(update={"exemplars": 64})),
        random.Random(2),
        64 // (PARTS * HORIZONS),
    )
    wanted = set()
    for part in range(PARTS):
        now = START // HORIZON * HORIZON + part * HORIZON // PARTS
        model.advance(now)
        offered = [(rng.randrange(10**6), f"u{rng.randrange(9)}") for _ in range(60)]
        for key, user in offered:
            model.learn_one([nan] * len(NAMES), ordinary(user, now, key))
        lowest = sorted(min(key for key, other in offered if other == user) for user in {user for _, user in offered})
        wanted |= set(lowest[:share])
    assert set(model.dump()["waiting"]["keys"]) == wanted


def test_points_ahead_of_the_log_do_not_crowd_out_what_waits() -> None:
    """However many poisoned clocks there are: what waits is bounded, and honest points are among it to the end."""
    model = Lookalike(LEARNING)
    for part in range(100):
        now = START + part * HORIZON // PARTS
        model.advance(now)
        model.learn_one([nan] * len(NAMES), ordinary(f"ahead{part}", now + 900 * DAY, 2 * part))
        model.advance(now + 1)
        if part % 2:
            model.learn_one([nan] * len(NAMES), ordinary(f"honest{part}", now, 2 * part - 1))
    assert len(model.dump()["waiting"]["keys"]) <= PARTS + 2
    assert len(model.dump()["ordinary"]["keys"]) == LEARNING.exemplars
    assert all(known_at < START + 100 * DAY for known_at in model.dump()["ordinary"]["known_at"])


def test_the_metric_is_recomputed_from_the_examples() -> None:
    """Variance of all that was seen, and how far the positives' mean lies from it; one taken back leaves both."""
    moments, rng = Moments(), random.Random(3)
    rows = [QUANTITIES.read(np.array([separable(rng, number)[0]]))[0] for number in range(50)]
    for row in rows:
        moments.see(row, 1.0, label=False)
    for row in [*rows[:9], rows[20]]:
        moments.see(row, 1.0, label=True)
    moments.see(rows[20], -1.0, label=True)
    whole, some = np.array([*rows, *rows[:9]]), np.array(rows[:9])
    variances = np.nanvar(whole, axis=0, ddof=1)
    count = np.sum(~np.isnan(some), axis=0)
    apart = (np.nanmean(some, axis=0) - np.nanmean(whole, axis=0)) ** 2 / (variances + 1 / count)
    differ = moments.squares**2 / moments.fourths
    assert moments.metric().variances == pytest.approx(variances, rel=1e-9)
    assert moments.metric().weights == pytest.approx(apart * count / (count + FEW) * differ / (differ + FEW), rel=1e-9)
    assert (differ > 5).all(), "many points differ in every feature"
    assert (differ <= 59).all()


def test_the_version_is_its_own_definition_and_learns_to_tell_users_apart() -> None:
    """Log-odds are intercept and slope on the contrast, undone by sample and weight; look-alikes score higher."""
    learner, rng = taught("lookalike", examples=600, sample=0.5, positive_weight=2.0), random.Random(5)
    state = learner._model.dump()
    frozen = freeze(learner.version())
    metric = Metric(np.array(state["variances"]), np.array(state["weights"]))
    pools = [loaded(state[pool], state["features"], NUMBERS) for pool in ("escalated", "ordinary")]
    fresh = [separable(rng, number + 2) for number in range(200)]
    scores = frozen.probabilities(np.array([vector for vector, _ in fresh]))
    for (vector, _), score in zip(fresh[:40], scores, strict=False):
        row = QUANTITIES.read(np.array([vector]))[0].tolist()
        near, far = (sum(sorted(distances(row, pool, metric))[:5]) / 5 for pool in pools)
        logit = state["intercept"] + state["slope"] * log((far + NEAREST) / (near + NEAREST))
        assert score == pytest.approx(min(1.0, exp(logit) * 0.5 / 2.0), rel=1e-9)
    labels = np.array([label for _, label in fresh])
    wins = (scores[labels][:, None] > scores[~labels]).mean()
    assert wins > 0.85, "positives do not look like positives"


def test_the_nearest_exemplars_are_named_by_an_event_and_never_by_a_user() -> None:
    """Hash of the event, distance and time known; nearest first, and as many as asked for."""
    learner = taught("lookalike", examples=300)
    frozen, state = freeze(learner.version()), learner._model.dump()["escalated"]
    metric = Metric(*(np.array(learner._model.dump()[key]) for key in ("variances", "weights")))
    vector = random_vector(random.Random(4))
    pool = loaded(state, list(NUMBERS), NUMBERS)
    ranked = sorted(zip(distances(QUANTITIES.read(np.array([vector]))[0].tolist(), pool, metric), pool, strict=True))[
        :3
    ]
    got = frozen.exemplars(point_of(vector), 3)
    assert [near.exemplar_id for near in got] == [f"{exemplar.key:016x}" for _, exemplar in ranked]
    assert [near.known_at for near in got] == [exemplar.known_at for _, exemplar in ranked]
    assert [near.distance for near in got] == pytest.approx([sqrt(distance) for distance, _ in ranked])
    assert not {near.exemplar_id for near in got} & {f"{user:016x}" for user in state["users"]}
    assert frozen.exemplars(point_of(vector), 2) == got[:2]
    assert freeze(taught("logistic").version()).exemplars(point_of(vector), 3) == ()


def test_it_says_nothing_before_both_pools_have_neighbours_enough() -> None:
    """However many examples it has seen: without ordinary exemplars there is nothing to contrast with."""
    teacher = Teacher(LEARNING.model_copy(update={"neighbours": 3, "exemplars": 64}))
    for number in range(20):
        teacher.teach(f"bad{number}", START + number, label=True)
        teacher.teach(f"ok{number}", START + number, label=False)
    assert not freeze(teacher.learner.version()).ready
    teacher.pass_time(START + HORIZON + HOUR)
    assert freeze(teacher.learner.version()).ready


def test_the_published_document_stays_small() -> None:
    """With full pools, below 100 kB by far: a version is published every few minutes."""
    version = taught("lookalike", examples=2_000, exemplars=64).version()
    assert len(version.state) < 30_000
    assert isinstance(Lookalike(LearningPolicy()).dump()["features"], list)
