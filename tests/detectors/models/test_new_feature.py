"""A feature that nobody has shown so far: its first example moves nobody's odds by a factor of 2, in any model."""

from __future__ import annotations

import random
from math import isnan, log, nan

import numpy as np
import pytest

from detectors.base.points import Example, Origin
from detectors.base.vectors import Row, Vector, matrix_from, vector_from
from detectors.features.catalogue import NAMES
from detectors.features.selection import columns_of
from detectors.learning.learner import Learner
from detectors.models.adagrad import FARTHEST
from detectors.models.catalogue import MODELS, freeze
from detectors.models.inputs import PLACES
from detectors.models.linear.logistic import Logistic
from detectors.models.naive_bayes.bayes import Bayes
from detectors.policy.sections import LearningPolicy
from detectors.profiles.results import TrainingEvent
from tests.kit.community import START

NEW = "exposure_count_7d"
Drawn = tuple[float, float, float]


def drawn(rng: random.Random, bad: bool) -> Drawn:
    """Toxicity, messages and reports of a user."""
    return (
        rng.betavariate(5, 3) if bad else rng.betavariate(1, 6),
        float(rng.randrange(8)),
        float(bad * rng.randrange(4)),
    )


def vector(of: Drawn, shown: float) -> Vector:
    """Their vector once they were shown so many lessons."""
    values = [nan] * len(NAMES)
    for name, value in zip(("toxicity_mean_1h", "message_count_1h", "report_count_24h"), of, strict=True):
        values[PLACES[name]] = value
    values[PLACES[NEW]] = shown
    values[-1] = 1.0 + of[1]  # what they did last
    return vector_from(values)


@pytest.mark.slow
@pytest.mark.parametrize("label", [False, True])
@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_first_example_after_20_000_without_the_feature_moves_nobody_far(name: str, label: bool) -> None:
    """Whoever has the feature, once or often, and whoever has not; by log-odds, before any probability is cut."""
    rng, learner = random.Random(4), Learner(name, LearningPolicy())

    def lesson(number: int, of: Drawn, shown: float, label: bool) -> TrainingEvent:
        time = START + number * 60_000
        origin = Origin(rng.getrandbits(60), time, time + 600_000)
        example = Example(f"u{number % 500}", time, vector(of, shown), label, 1.0, origin)
        return TrainingEvent(0, number, example.user_id, time, (example,), erased=False)

    def learn(numbers: range) -> None:
        bads = [rng.random() < 0.05 for _ in numbers]
        learner.take(
            [lesson(n, drawn(rng, bad), 0.0, bad and n % 2 == 0) for n, bad in zip(numbers, bads, strict=True)]
        )

    many = 20_007  # with the next one a batch of 8 is full
    learn(range(many))
    others = [vector(drawn(rng, bad), shown) for bad in (False, True) for shown in (0.0, 1.0, 7.0) for _ in range(5)]
    columns = columns_of(matrix_from(others))

    def said() -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        frozen = freeze(learner.version())
        return frozen._terms.logits(frozen._reads.of(columns), ())

    before = said()
    learner.take([lesson(many, drawn(rng, label), 1.0, label)])
    assert not np.isnan(before).any()
    assert np.abs(said() - before).max() < log(2)


@pytest.mark.slow
@pytest.mark.parametrize("label", [False, True])
@pytest.mark.parametrize("name", ["logistic", "bayes"])
def test_the_first_example_after_400_000_without_the_feature_moves_nobody_far(name: str, label: bool) -> None:
    """The longer a feature was the same for everybody, the further away its first other value lies."""
    model: Logistic | Bayes = Logistic() if name == "logistic" else Bayes()
    rng = random.Random(5)

    def row(of: Drawn, shown: float) -> Row:
        found: Row = columns_of(matrix_from([vector(of, shown)]))[:, 0].tolist()
        return found

    users = [(bad := number % 20 == 0, row(drawn(rng, bad), 0.0)) for number in range(200)]
    examples = {label: Example("u", START, vector_from([0.0]), label, 1.0) for label in (False, True)}
    for number in range(400_000):
        bad, given = users[number % 200]
        model.learn_one(given, examples[bad and number % 3 == 0])
    others = [row(drawn(rng, bad), shown) for bad in (False, True) for shown in (0.0, 1.0, 7.0) for _ in range(5)]
    before = [model.score_one(other, examples[False]) for other in others]
    model.learn_one(row(drawn(rng, label), 1.0), examples[label])
    moved = [abs(model.score_one(other, examples[False]) - was) for other, was in zip(others, before, strict=True)]
    assert not any(map(isnan, before))
    assert 0.0 < max(moved) < log(2)
    assert name == "bayes" or max(moved) > 0.04 * FARTHEST, "the example taught nothing of the feature"


def test_a_version_scores_standardised_features_within_the_bound() -> None:
    """What is published is bounded as what is learnt: a value however far out adds no more than one at the bound."""
    learner, rng = Learner("logistic", LearningPolicy(min_positives=1)), random.Random(6)
    for number in range(400):
        example = Example(
            "u", START, vector(drawn(rng, number % 3 == 0), float(number % 50 == 0)), number % 3 == 0, 1.0
        )
        learner.take([TrainingEvent(0, number, "u", START + number, (example,), erased=False)])
    frozen, of = freeze(learner.version()), drawn(rng, True)
    far = matrix_from([vector(of, shown) for shown in (1e6, 1e9, 1e300)])
    parts = frozen._terms.logits(frozen._reads.of(columns_of(far)), ())
    assert parts[0] == parts[1] == parts[2]
    model = learner._model
    assert isinstance(model, Logistic)
    assert model.score_one(columns_of(far)[:, 2].tolist(), example) == pytest.approx(float(parts[2]), rel=1e-12)
