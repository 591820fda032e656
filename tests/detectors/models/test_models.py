"""Frozen versions: the same numbers as River, to the last bit the same in any company, and calibrated."""

from __future__ import annotations

import random
from itertools import pairwise
from math import exp, inf, isnan, log, nan, pi

import numpy as np
import orjson
import pytest

from detectors.base.elementwise import symlog
from detectors.base.points import Example
from detectors.base.state import content_hash
from detectors.base.vectors import Vector, vector_from
from detectors.features.catalogue import NAMES, NUMBERS
from detectors.learning.learner import Learner
from detectors.models.catalogue import MODELS, freeze
from detectors.models.linear.export import pipeline_of
from detectors.models.naive_bayes.bayes import MOMENTS
from detectors.models.naive_bayes.gaussians import LOUDEST, NARROWEST, say
from detectors.policy.sections import LearningPolicy
from detectors.profiles.results import TrainingEvent
from tests.kit.community import START, given, lesson_of, point_of, random_vector, separable, taught, vector_of

FAMILIES = sorted(MODELS)


def squashed(vector: Vector) -> dict[str, float]:
    """Of a vector, the quantities that are there, squashed."""
    return {name: value for name, value in zip(NAMES, given(vector), strict=True) if not isnan(value)}


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"sequence"}))
def test_a_model_of_numbers_learns_and_scores_the_same_whatever_the_codes(name: str) -> None:
    """A code is a category: nothing that reckons may take it for a quantity."""
    rng = random.Random(3)
    examples = [separable(rng, number) for number in range(40)]
    versions = []
    for code in (1.0, 4_000_000_000.0, nan):
        learner = Learner(name, LearningPolicy(min_positives=5))
        vectors = [vector_from((*vector[: len(NUMBERS)], code)) for vector, _ in examples]
        lessons = [
            lesson_of(n, vector, label) for n, (vector, (_, label)) in enumerate(zip(vectors, examples, strict=True))
        ]
        learner.take(lessons)
        version = learner.version()
        versions.append((version.state, freeze(version).probabilities(np.array(vectors)).tobytes()))
    assert versions[0] == versions[1] == versions[2]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_rows_probability_is_the_same_in_any_company_to_the_last_bit(name: str) -> None:
    """Batches of 1 to 200 rows, sliced anywhere, with absent features among them, against one row at a time."""
    model, rng = freeze(taught(name).version()), random.Random(2)
    matrix = np.array([random_vector(rng, gaps=rng.choice((0.0, 0.3, 1.0))) for _ in range(200)])
    alone = np.concatenate([model.probabilities(matrix[row : row + 1]) for row in range(200)])
    assert len(np.unique(alone)) > (30 if name == "sequence" else 60)  # few n-grams are known well enough to differ
    for rows in range(1, 201):
        start = rng.randint(0, 200 - rows)
        beside = model.probabilities(matrix[start : start + rows])
        assert beside.tobytes() == alone[start : start + rows].tobytes(), f"{rows} rows from {start}"
    picked = rng.sample(range(200), 77)
    assert model.probabilities(matrix[picked]).tobytes() == alone[picked].tobytes()


@pytest.mark.parametrize(("sample", "weight"), [(1.0, 1.0), (0.25, 1.0), (0.5, 7.0)])
def test_the_logistic_version_is_rivers_pipeline_with_the_teaching_undone(sample: float, weight: float) -> None:
    """P = odds * sample / positive_weight, where River's own `predict_proba_one` gives the odds."""
    learner = taught("logistic", examples=300, sample=sample, positive_weight=weight, l2=1e-4)
    frozen, rng = freeze(learner.version()), random.Random(9)
    vectors = [random_vector(rng, gaps=0.2) for _ in range(100)]
    for vector, got in zip(vectors, frozen.probabilities(np.array(vectors)), strict=True):
        taught_to_say = pipeline_of(learner._model).predict_proba_one(squashed(vector))[True]
        wanted = min(1.0, taught_to_say / (1 - taught_to_say) * sample / weight)
        assert got == pytest.approx(wanted, rel=1e-9)


def test_the_bayes_version_is_its_own_definition_recomputed_from_the_examples() -> None:
    """Prior odds and each feature's bounded likelihood ratio from plain means and variances of what was learnt.

    A ratio counts the more the more examples differ in the feature.
    """
    rng = random.Random(1)
    examples = [separable(rng, number) for number in range(40)]
    learner = taught("bayes", examples=40, sample=0.5)
    frozen = freeze(learner.version())
    by_class = {label: [squashed(vector) for vector, is_bad in examples if is_bad == label] for label in (True, False)}
    kept = learner._model.dump()

    def moments_of(label: bool, feature: str) -> list[float]:
        key, place = "positive" if label else "negative", kept["features"].index(feature)
        return [kept[f"{key}_{what}"][place] for what in MOMENTS]

    for vector in [random_vector(rng, gaps=0.3) for _ in range(60)]:
        logit = log(len(by_class[True]) / len(by_class[False]))
        for feature, value in squashed(vector).items():
            density = {}
            for label, rows in by_class.items():
                known = [row[feature] for row in rows if feature in row]
                variance = float(np.var(known, ddof=1)) + NARROWEST
                density[label] = -0.5 * log(2 * pi * variance) - (value - float(np.mean(known))) ** 2 / (2 * variance)
            ratio = max(-LOUDEST, min(LOUDEST, density[True] - density[False]))
            logit += ratio * say(*(moment for label in (False, True) for moment in moments_of(label, feature)))
        assert frozen.probabilities(np.array([vector]))[0] == pytest.approx(min(1.0, exp(logit) * 0.5), rel=1e-9)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_says_of_an_example_what_a_version_made_now_would(name: str) -> None:
    """Before anything is learnt, and at every hundred examples; saying it changes nothing."""
    rng, learner = random.Random(12), taught(name, examples=0)
    for taken in range(0, 500, 100):
        learner.take([lesson_of(taken + n, *separable(rng, n)) for n in range(100 if taken else 0)])
        model, terms = learner._model, freeze(learner.version())._terms
        before = model.dump()
        for number in range(30):
            [example] = lesson_of(1_000 + number, random_vector(rng, gaps=0.3), label=False).examples
            said = model.score_one(given(example.vector, model.reads), example._replace(user_id="somebody"))
            column = np.ascontiguousarray(model.reads.read(np.array([example.vector])).T)
            wanted = float(terms.logits(column, ["somebody"])[0]) if terms.ready else nan
            assert said == pytest.approx(wanted, rel=1e-9, abs=1e-9, nan_ok=True)
        assert model.dump() == before


@pytest.mark.parametrize("name", FAMILIES)
def test_contributions_add_up_to_the_score(name: str) -> None:
    """All reasons together with the score of a vector without features give the score of the vector."""
    frozen, rng = freeze(taught(name).version()), random.Random(3)
    nothing = float(frozen.probabilities(np.array([vector_of(absent=nan)]))[0])
    for _ in range(40):
        vector = random_vector(rng)
        reasons = frozen.explain(point_of(vector), len(NAMES))
        wanted = nothing * exp(sum(reason.contribution or 0.0 for reason in reasons))
        assert float(frozen.probabilities(np.array([vector]))[0]) == pytest.approx(min(wanted, 1.0), rel=1e-9)
        sizes = [abs(reason.contribution or 0.0) for reason in reasons]
        assert all(larger >= smaller for larger, smaller in pairwise(sizes))
        assert frozen.explain(point_of(vector), 3) == reasons[:3]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_decomposition_is_the_probability_served_as_a_sum(name: str) -> None:
    """The start is what a vector without features gets; a threshold is found on the same scale."""
    frozen, rng = freeze(taught(name).version()), random.Random(4)
    nothing = frozen.decompose(vector_of(absent=nan), "somebody")
    assert nothing is not None
    assert nothing.start == pytest.approx(nothing.log_odds, abs=1e-9)
    for _ in range(40):
        vector = random_vector(rng)
        found = frozen.decompose(vector, "somebody")
        assert found is not None
        assert found.start + sum(found.contributions.values()) == pytest.approx(found.log_odds, abs=1e-9)
        served = float(frozen.probabilities(np.array([vector]), ["somebody"])[0])
        assert frozen.probability_of(found.log_odds) == served
        reasons = {one.feature: one.contribution for one in frozen.explain(point_of(vector, user="somebody"), 99)}
        assert {name: part for name, part in found.contributions.items() if part} == reasons
    for probability in (0.001, 0.3, 0.999):
        assert frozen.probability_of(frozen.log_odds_of(probability)) == pytest.approx(probability, rel=1e-12)
    assert frozen.log_odds_of(0.0) == -inf


def test_a_version_that_cannot_score_has_no_decomposition() -> None:
    """As it gives no probability."""
    assert freeze(taught("logistic", examples=2).version()).decompose(vector_of(), "somebody") is None


def calibration_stream(rng: random.Random) -> tuple[Vector, float]:
    """A vector and the known probability that the user behind it escalates: log-linear in two squashed counters."""
    reports, sanctions = rng.randrange(6), rng.randrange(3)
    chance = exp(-3.6 + 0.9 * np.log1p(reports) + 0.7 * np.log1p(sanctions))
    return vector_of(absent=nan, report_count_24h=reports, sanction_count_30d=sanctions), float(chance)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["logistic", "additive", "stack"])
@pytest.mark.parametrize(("sample", "weight"), [(1.0, 1.0), (0.5, 4.0), (0.2, 5.0)])
def test_published_probabilities_are_calibrated_whatever_the_sampling_and_the_class_weight(
    sample: float, weight: float, name: str
) -> None:
    """Learnt as negatives at once and again as positives, the mean score meets the rate, overall and by thirds."""
    rng = random.Random(17)
    learning = LearningPolicy(sample=sample, positive_weight=weight, learning_rate=0.3)
    learner, lessons = Learner(name, learning), []
    for number in range(12_000):
        vector, chance = calibration_stream(rng)
        time = START + number
        negative = [Example("u", time, vector, label=False, weight=1.0)] if rng.random() < sample else []
        positive = [Example("u", time, vector, label=True, weight=1.0)] if rng.random() < chance else []
        lessons.append(TrainingEvent(0, number, "u", time, (*negative, *positive), erased=False))
    learner.take(lessons)
    fresh = [calibration_stream(rng) for _ in range(4_000)]
    scores = freeze(learner.version()).probabilities(np.array([vector for vector, _ in fresh]))
    truth = np.array([chance for _, chance in fresh])
    assert scores.mean() == pytest.approx(truth.mean(), rel=0.1)
    for third in np.array_split(np.argsort(truth, kind="stable"), 3):
        assert scores[third].mean() == pytest.approx(truth[third].mean(), rel=0.25)
    uncorrected = scores / sample * (weight if name == "logistic" else 1.0)
    assert sample == 1.0 or abs(uncorrected.mean() / truth.mean() - 1) > 0.9, "nothing was there to be undone"


@pytest.mark.parametrize("name", FAMILIES)
def test_a_feature_the_model_cannot_judge_moves_nothing_and_is_no_reason(name: str) -> None:
    """Never seen, or not twice in each class: whatever its value, the score stays, and it is not shown."""
    learner, rng = Learner(name, LearningPolicy(min_positives=5)), random.Random(5)
    column = NAMES.index("toxicity_max_24h")
    lessons = []
    for number in range(60):
        vector = list(random_vector(rng))
        vector[column] = rng.random() if name == "bayes" and (number % 3 or number == 0) else nan
        lessons.append(lesson_of(number, vector_from(vector), label=number % 3 == 0))
    learner.take(lessons)
    frozen = freeze(learner.version())
    without = vector_of(report_count_24h=3, toxicity_max_24h=nan)
    with_it = vector_of(report_count_24h=3, toxicity_max_24h=0.9)
    one, other = frozen.probabilities(np.array([without, with_it]))
    assert one == other
    assert "toxicity_max_24h" not in [reason.feature for reason in frozen.explain(point_of(with_it), len(NAMES))]
    assert all(reason.contribution for reason in frozen.explain(point_of(with_it), len(NAMES)))


def test_squashing_keeps_order_sign_zero_and_absence() -> None:
    """`sign(x) * log1p(|x|)`."""
    values = [-100.0, -1.0, 0.0, 0.5, 1.0, 99.0, nan]
    wanted = [-log(101), -log(2), 0.0, log(1.5), log(2), log(100), nan]
    assert symlog(np.array([values]))[0].tolist() == pytest.approx(wanted, rel=1e-15, nan_ok=True)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_loaded_from_its_dump_is_the_same_model(name: str) -> None:
    """Through JSON and back: the same dump, and after the same lesson the same dump again."""
    learner, rng = taught(name), random.Random(4)
    state = orjson.loads(orjson.dumps(learner._model.dump()))
    twin = MODELS[name](LearningPolicy())
    twin.load(state)
    for number in range(30):
        assert twin.dump() == learner._model.dump()
        vector, weight = random_vector(rng), -1.0 if number % 10 == 9 else 1.0
        [example] = lesson_of(200 + number, vector, label=number % 3 == 0, weight=weight).examples
        for model in (twin, learner._model):
            model.learn_one(given(vector), example)


@pytest.mark.parametrize("name", sorted(set(FAMILIES) - {"lookalike"}))  # which also needs a horizon to pass
def test_nothing_is_said_before_there_are_enough_examples_of_both_kinds(name: str) -> None:
    """`min_positives` positives and as many negatives, or every row is NaN."""
    rng = random.Random(6)
    for positives, negatives, ready in ((4, 50, False), (50, 4, False), (5, 5, True)):
        learner = Learner(name, LearningPolicy(min_positives=5))
        labels = [True] * positives + [False] * negatives
        learner.take([lesson_of(n, random_vector(rng), label) for n, label in enumerate(labels)])
        frozen = freeze(learner.version())
        assert frozen.ready is ready
        assert np.isnan(frozen.probabilities(np.array([random_vector(rng)]))).all() != ready


def test_a_version_is_named_by_its_content() -> None:
    """The same lessons give the same hash; one more lesson, another; and it hashes everything but itself."""
    version = taught("logistic").version()
    assert version.version == taught("logistic").version().version
    assert version.version != taught("logistic", examples=121).version().version
    assert version.version == content_hash(version.model_dump(exclude={"version"}))


def test_an_unknown_family_is_refused_with_a_sentence() -> None:
    """A version from a richer forewarn is not scored as something else."""
    record = taught("logistic").version().model_copy(update={"family": "oracle"})
    with pytest.raises(ValueError, match="model family 'oracle' is unknown: this forewarn scores additive"):
        freeze(record)
