"""The stack: members that learn as they would alone, weighed by what they said before they learnt."""

from __future__ import annotations

import random
from math import exp, isnan, log, nan
from typing import Any

import numpy as np
import orjson
import pytest

from detectors.base.points import Example
from detectors.base.vectors import Row
from detectors.features.catalogue import CODES, NAMES, NUMBERS
from detectors.features.selection import EVERYTHING, QUANTITIES
from detectors.features.signals import key_of
from detectors.learning.learner import Learner
from detectors.models.base import OnlineModel
from detectors.models.catalogue import freeze, made_of, new_model
from detectors.models.stack.meta_learner import Weighing, spreads
from detectors.models.stack.stack import Stack
from detectors.policy.policy import Policy
from detectors.policy.sections import LearningPolicy
from tests.kit.community import (
    COMMUNITY,
    community,
    lesson_of,
    lessons_of,
    point_of,
    random_vector,
    separable,
    steps_of,
)
from tests.kit.streams import erasure, policy

ALL = ("logistic", "bayes", "lookalike", "sequence")
LESSONS = lessons_of(steps_of(community(seed=3, length=400)))


def stacked(members: tuple[str, ...] = ALL, **over: Any) -> Policy:
    """A policy with a stack of these members."""
    learning = COMMUNITY.learning.model_dump() | {"champion": "stack", "challengers": [], "neighbours": 2}
    return policy(learning=learning, stack={"members": members}, **over)


def learner_of(rules: Policy, name: str) -> Learner:
    """A learner of one of a policy's models."""
    return Learner(name, rules.learning, model=lambda: new_model(name, rules))


def test_members_learn_every_example_as_they_would_alone() -> None:
    """To the last bit, whatever their class weight, with what time brings and erasures take."""
    rules = stacked()
    together = learner_of(rules, "stack")
    together.take(LESSONS)
    members = together.version().state
    for name in ALL:
        alone = learner_of(rules, name)
        alone.take(LESSONS)
        assert orjson.loads(members)["model"]["members"][name]["model"] == orjson.loads(alone.version().state)["model"]
    assert len(orjson.loads(members)["model"]["members"]["lookalike"]["model"]["escalated"]["keys"]) > 1


class Said:
    """A member that says what it is told to, and notes what it is asked."""

    family = "said"
    reads = QUANTITIES

    def __init__(self, log_odds: list[float]) -> None:
        self._log_odds = iter(log_odds)
        self.asked: list[str] = []

    def class_weight(self, asked: float) -> float:
        return asked

    def score_one(self, _row: Row, example: Example) -> float:
        self.asked.append(f"score {example.weight:g}")
        return next(self._log_odds)

    def learn_one(self, row: Row, example: Example) -> None:
        assert [isnan(value) for value in row] == [name in CODES for name in NAMES]
        self.asked.append(f"learn {example.weight:g}")

    def dump(self) -> dict[str, Any]:
        return {}

    def load(self, state: dict[str, Any]) -> None:
        raise NotImplementedError


def example_of(label: bool, weight: float = 1.0) -> Example:
    """An example of no features."""
    [example] = lesson_of(0, random_vector(random.Random(1)), label, weight).examples
    return example


def test_weights_are_learnt_from_what_was_said_before_it_was_learnt() -> None:
    """Every member is asked before any learns; positives weigh for members what they ask for, and once for weights."""
    members: dict[str, OnlineModel] = {"one": Said([1.0, 2.0, 3.0]), "two": Said([nan, 1.0, nan])}
    stack, alone = Stack(members, LearningPolicy(positive_weight=5.0)), Weighing(2)
    row = [1.0] * len(NAMES)
    for said, example in (
        ([1.0, nan], example_of(label=False)),
        ([2.0, 1.0], example_of(label=True, weight=2.0)),
        ([3.0, nan], example_of(label=True, weight=-2.0)),
    ):
        stack.learn_one(row, example)
        alone.learn(said, example.label, example.weight)
    assert stack.class_weight(5.0) == 1.0
    asked = ["score 1", "learn 1", "score 2", "learn 10", "score -2", "learn -10"]
    for member in members.values():
        assert isinstance(member, Said)
        assert member.asked == asked
    assert {key: stack.dump()[key] for key in alone.dump()} == alone.dump()


def test_an_untaught_stack_is_the_plain_mean_of_standardised_log_odds() -> None:
    """Each member's log-odds less their mean, over their standard deviation, count alike."""
    weighing = Weighing(2)
    rng = random.Random(4)
    seen = [(rng.gauss(-3.0, 0.5), rng.gauss(-9.0, 6.0)) for _ in range(5_000)]
    for pair in seen:
        weighing._see(list(pair), 1.0)
    spread = spreads(weighing.counts, weighing.squares)
    assert spread == pytest.approx(np.std(seen, axis=0), rel=0.01)
    assert weighing.score([-2.0, -3.0]) == pytest.approx(0.5 * (1.0 / 0.5) + 0.5 * (6.0 / 6.0), rel=0.05)


def drawn(rng: random.Random, slopes: tuple[float, ...], base: float) -> tuple[list[float], bool]:
    """What members said, on scales of their own, and a label by log-odds of known weights."""
    plain = [rng.gauss(0.0, 1.0) for _ in slopes]
    chance = 1 / (1 + exp(-base - sum(slope * one for slope, one in zip(slopes, plain, strict=True))))
    return [5.0 * number + (1 + 3 * number) * one for number, one in enumerate(plain)], rng.random() < chance


def test_weights_and_intercept_come_to_those_the_labels_follow() -> None:
    """Log-linear labels: a member that knows more weighs more, one that knows nothing next to nothing."""
    rng, weighing = random.Random(7), Weighing(3)
    for _ in range(20_000):
        said, label = drawn(rng, (1.2, 0.4, 0.0), base=-2.0)
        weighing.learn(said, label, 1.0)
    assert weighing.weights == pytest.approx([1.2, 0.4, 0.0, -2.0], abs=0.1)
    deviations = np.sqrt(np.diag(np.array(weighing.covariance)))
    assert np.all((deviations > 0.01) & (deviations < 0.05))


def test_a_member_that_says_the_opposite_of_the_truth_is_left_out() -> None:
    """No weight is below zero, at any time."""
    rng, weighing = random.Random(7), Weighing(2)
    for _ in range(3_000):
        said, label = drawn(rng, (1.0, -1.0), base=-1.0)
        weighing.learn(said, label, 1.0)
        assert min(weighing.weights[:2]) >= 0.0
    assert weighing.weights[0] > 0.5
    assert weighing.weights[1] < 0.05


def test_who_says_nothing_is_left_out_and_the_others_carry_its_weight() -> None:
    """Their weights are scaled to the same sum; where nobody says anything, nothing is said or learnt."""
    rng, weighing = random.Random(7), Weighing(3)
    for _ in range(2_000):
        said, label = drawn(rng, (1.2, 0.6, 0.2), base=-2.0)
        weighing.learn(said, label, 1.0)
    one, two, three, intercept = weighing.weights
    means, spread = weighing.means, spreads(weighing.counts, weighing.squares)
    first, third = (0.3 - means[0]) / spread[0], (8.0 - means[2]) / spread[2]
    wanted = intercept + (one + two + three) / (one + three) * (one * first + three * third)
    assert weighing.score([0.3, nan, 8.0]) == pytest.approx(wanted, rel=1e-12)
    before = orjson.dumps(weighing.dump())
    assert isnan(weighing.score([nan, nan, nan]))
    weighing.learn([nan, nan, nan], True, 1.0)
    assert orjson.dumps(weighing.dump()) == before


def test_what_is_taken_back_moves_the_weights_back() -> None:
    """A wrong positive learnt and taken back leaves the score nearer to where it was."""
    rng, weighing = random.Random(7), Weighing(2)
    for _ in range(500):
        said, label = drawn(rng, (1.0, 0.5), base=-2.0)
        weighing.learn(said, label, 1.0)
    asked = [-1.0, 4.0]
    at_first = weighing.score(asked)
    weighing.learn(asked, True, 3.0)
    moved = weighing.score(asked)
    held = weighing.covariance, weighing.counts, list(weighing.means)
    weighing.learn(asked, True, -3.0)
    assert held == (weighing.covariance, weighing.counts, weighing.means)
    assert moved > at_first
    assert abs(weighing.score(asked) - at_first) < 0.2 * (moved - at_first)


def test_contributions_add_up_through_all_members_and_the_nearest_exemplars_are_named() -> None:
    """Reasons explain the whole difference to a point without features; exemplars are those of the look-alikes."""
    rules = stacked()
    for seed in range(10):  # which seed gives weight to every member depends on the features that there are
        learner, rng = learner_of(rules, "stack"), random.Random(seed)
        learner.take([lesson_of(number, *separable(rng, number)) for number in range(300)])
        frozen, terms = freeze(learner.version()), freeze(learner.version())._terms
        if all(member.weight > 0 for member in terms.members):  # type: ignore[attr-defined]
            break
    else:
        pytest.fail("no seed gives weight to every member")
    nothing = float(frozen.probabilities(np.full((1, len(NAMES)), nan))[0])
    for _ in range(40):
        vector = random_vector(rng)
        got = float(frozen.probabilities(np.array([vector]))[0])
        reasons = frozen.explain(point_of(vector), len(NAMES))
        if got < 1.0:
            assert log(got / nothing) == pytest.approx(sum(one.contribution or 0.0 for one in reasons), rel=1e-9)
    assert {reason.detector for reason in reasons} == {"stack"}
    assert NAMES[-1] in {reason.feature for reason in reasons}
    alone = learner_of(rules, "lookalike")
    rng = random.Random(seed)
    alone.take([lesson_of(number, *separable(rng, number)) for number in range(300)])
    assert frozen.exemplars(point_of(vector), 3) == freeze(alone.version()).exemplars(point_of(vector), 3) != ()


def test_a_version_leaves_out_a_member_that_is_not_ready_just_as_learning_does() -> None:
    """Scores and contributions are those of the others, scaled."""
    rules = stacked(("logistic", "lookalike"))
    learner, rng = learner_of(rules, "stack"), random.Random(2)
    learner.take([lesson_of(number, *separable(rng, number)) for number in range(40)])
    model, frozen = learner._model, freeze(learner.version())
    logistic, lookalike = frozen._terms.members  # type: ignore[attr-defined]
    assert not lookalike.terms.ready
    assert lookalike.weight > 0.1
    nothing = model.score_one([nan] * len(NAMES), example_of(label=False))
    for number in range(30):
        [example] = lesson_of(1_000 + number, random_vector(rng), label=False).examples
        row = EVERYTHING.read(np.array([example.vector]))
        said = float(frozen._terms.logits(np.ascontiguousarray(row.T), ["somebody"])[0])
        assert said == pytest.approx(model.score_one(row[0].tolist(), example), rel=1e-9)
        added = frozen._terms.contributions(np.ascontiguousarray(row.T), "somebody")
        assert float(added.sum()) == pytest.approx(said - nothing, rel=1e-9)
    assert logistic.terms.ready


def test_a_stack_forgets_who_is_erased() -> None:
    """Its look-alikes keep nothing that names them."""
    learner = learner_of(stacked(("bayes", "lookalike")), "stack")
    learner.take(LESSONS)
    users = orjson.loads(learner.version().state)["model"]["members"]["lookalike"]["model"]["escalated"]["users"]
    known = [f"u{number}" for number in range(12) if key_of(f"u{number}") in users]
    assert known
    [lesson] = lessons_of(steps_of([erasure("gone", LESSONS[-1].time, known[0])]))
    assert lesson.erased
    learner.take([lesson._replace(partition=LESSONS[-1].partition, seq=len(LESSONS))])
    users = orjson.loads(learner.version().state)["model"]["members"]["lookalike"]["model"]["escalated"]["users"]
    assert key_of(known[0]) not in users


def test_a_stack_of_variants_and_a_variant_of_a_stack_read_no_more_than_they_may() -> None:
    """Whether the member or the whole leaves a feature out, and wherever the version is loaded."""
    variants = {
        "quiet": {"model": "logistic", "ignore": ["report*"]},
        "half": {"model": "stack", "members": ["quiet", "bayes"], "ignore": ["strike*"]},
    }
    rules = stacked(("quiet", "lookalike"), variants=variants)
    rng = random.Random(2)
    for name, ignored in (("stack", ()), ("half", ("strike_count",))):
        learner = learner_of(rules, name)
        learner.take([lesson_of(number, *separable(rng, number)) for number in range(200)])
        terms = freeze(learner.version())._terms
        first = terms.members[0]  # type: ignore[attr-defined]
        names = [one for one in EVERYTHING.names if one not in ignored]
        assert [names[row] for row in first.rows] == [
            one for one in NUMBERS if not one.startswith("report") and one not in ignored
        ]
        vectors = np.array([random_vector(rng) for _ in range(50)])
        scores = freeze(learner.version()).probabilities(vectors)
        vectors[:, [NAMES.index(one) for one in ignored]] = 9.0
        assert freeze(learner.version()).probabilities(vectors).tobytes() == scores.tobytes()
    asked = rules.learning.model_copy(update={"challengers": ("half",)})
    assert made_of(rules.model_copy(update={"learning": asked})) == {
        "stack": {"members": ["quiet", "lookalike"]},
        "quiet": {"model": "logistic", "ignore": ["report*"]},
        "half": {"model": "stack", "ignore": ["strike*"], "members": ["quiet", "bayes"]},
    }
