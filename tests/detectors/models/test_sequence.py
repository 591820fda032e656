"""The sequence model: rates of n-grams drawn towards those of their shorter forms, within bounded memory."""

from __future__ import annotations

import random
from collections import Counter
from math import log, nan

import numpy as np
import orjson
import pytest

from detectors.base.points import Example
from detectors.base.vectors import Row, Vector
from detectors.checks import LARGEST
from detectors.features.catalogue import NAMES
from detectors.features.selection import CATEGORIES
from detectors.features.tokens import KINDS, LONGEST
from detectors.learning.learner import Learner
from detectors.models.catalogue import freeze
from detectors.models.sequence.ngrams import DOUBT, FORGOTTEN, MOST, Sequence
from detectors.models.version import FrozenModel
from detectors.policy.sections import LearningPolicy
from detectors.profiles.results import TrainingEvent
from tests.kit.community import START, given, point_of, vector_of

MESSAGE, REPORT = 1, 1 + KINDS.index("report") * 8


def trail(*tokens: int) -> Vector:
    """The vector of a user whose latest tokens these are; every number in it is absent."""
    return vector_of(absent=nan, sequence_4=float(int.from_bytes(bytes(tokens[-LONGEST:]))))


def codes_of(vector: Vector) -> list[int]:
    """The codes of the n-grams that end a vector's trail, the shortest first."""
    trail = int(vector[NAMES.index("sequence_4")])
    return [trail % 256**length for length in range(1, LONGEST + 1) if trail >= 256 ** (length - 1)]


def learnt(examples: list[tuple[Vector, bool, float]], **learning: float) -> Learner:
    """A learner that took these (vector, label, weight)."""
    learner = Learner("sequence", LearningPolicy.model_validate({"min_positives": 1} | learning))
    learner.take(
        [
            TrainingEvent(
                0, n, "u", START + n, (Example("u", START + n, vector, label=label, weight=weight),), erased=False
            )
            for n, (vector, label, weight) in enumerate(examples)
        ]
    )
    return learner


def walks(rng: random.Random, count: int) -> list[tuple[Vector, bool, float]]:
    """Users' trails of two to five tokens: who was reported twice within their last three events escalates often."""
    found = []
    for _ in range(count):
        tokens = [rng.choice((MESSAGE, MESSAGE, MESSAGE + 1, REPORT)) for _ in range(rng.randint(2, 5))]
        heated = tokens[-3:].count(REPORT) >= 2
        found.append((trail(*tokens), rng.random() < (0.6 if heated else 0.05), rng.choice((1.0, 1.0, 2.5))))
    return found


def probability(model: FrozenModel, vector: Vector) -> float:
    """The probability of one vector."""
    return float(model.probabilities(np.array([vector]))[0])


@pytest.mark.parametrize(("sample", "weight"), [(1.0, 1.0), (0.5, 7.0)])
def test_the_version_is_its_own_definition_recomputed_from_the_examples(sample: float, weight: float) -> None:
    """Posterior means of rates, each length's prior at the shorter form's; the policy's class weight plays no part."""
    rng = random.Random(1)
    examples = walks(rng, 400)
    frozen = freeze(learnt(examples, sample=sample, positive_weight=weight).version())
    whole: Counter[bool] = Counter()
    seen: Counter[tuple[int, bool]] = Counter()
    for vector, label, much in examples:
        whole[label] += much  # type: ignore[assignment]
        for code in codes_of(vector):
            seen[code, label] += much  # type: ignore[assignment]
    for vector, _, _ in walks(rng, 100):
        ratio = whole[True] / whole[False]
        for code in codes_of(vector):
            positives, negatives = seen[code, True], seen[code, False]
            if positives or negatives:
                ratio = (positives + DOUBT) / (negatives + DOUBT / ratio)
        assert probability(frozen, vector) == pytest.approx(min(ratio * sample, 1.0), rel=1e-9)


def test_order_tells_what_no_counter_can() -> None:
    """A report before a message and one after it: the same counts, another outcome."""
    after, before = trail(MESSAGE, REPORT), trail(REPORT, MESSAGE)
    frozen = freeze(learnt([(after, n % 2 == 0, 1.0) for n in range(80)] + [(before, False, 1.0)] * 80).version())
    assert probability(frozen, after) > 5 * probability(frozen, before)


def test_few_examples_of_a_longer_n_gram_hardly_move_its_shorter_forms_rate() -> None:
    """One positive in one is no certainty, and what was never seen says what its shorter form says."""
    examples = [(trail(MESSAGE, MESSAGE), n % 10 == 0, 1.0) for n in range(1_000)]
    frozen = freeze(learnt([*examples, (trail(REPORT, MESSAGE), True, 1.0)]).version())
    usual, once, never = (probability(frozen, trail(token, MESSAGE)) for token in (MESSAGE, REPORT, REPORT + 1))
    assert usual < never < once < 1.3 * usual


def test_what_is_learnt_and_taken_back_leaves_no_trace() -> None:
    """A reversal takes back the same vector with the same weight, and the model is what it was."""
    rng = random.Random(2)
    kept, overturned = walks(rng, 100), [(vector, True, 2.5) for vector, _, _ in walks(rng, 40)]
    more = [*kept, *overturned, *((vector, True, -2.5) for vector, _, _ in overturned)]
    straight, back = learnt([*kept, *((vector, False, 1.0) for vector, _, _ in overturned)]), learnt(more)
    back.take([_again(len(more) + n, vector) for n, (vector, _, _) in enumerate(overturned)])
    vectors = np.array([vector for vector, _, _ in walks(rng, 50)])
    assert freeze(back.version()).probabilities(vectors) == pytest.approx(
        freeze(straight.version()).probabilities(vectors), rel=1e-12
    )
    assert back.version().positives == straight.version().positives


def _again(seq: int, vector: Vector) -> TrainingEvent:
    return TrainingEvent(0, seq, "u", START, (Example("u", START, vector, label=False, weight=1.0),), erased=False)


def read(code: float) -> Row:
    """What the model is given of a trail."""
    return given(vector_of(absent=nan, sequence_4=code), CATEGORIES)


def taught(label: bool, weight: float) -> Example:
    """An example of which the model is given the trail apart."""
    return Example("u", START, vector_of(), label=label, weight=weight)


def test_taking_back_what_was_forgotten_or_never_learnt_makes_nothing_negative() -> None:
    """Counts stay counts, and nothing is remembered for it."""
    model = Sequence()
    model.learn_one(read(5.0), taught(True, -2.0))
    model.learn_one(read(6.0), taught(True, 1.0))
    model.learn_one(read(6.0), taught(True, -3.0))
    assert (model.positives, model.seen) == (0.0, {6: [0.0, 0.0]})


def test_the_rarest_n_grams_are_forgotten_first_and_of_equally_rare_ones_the_oldest() -> None:
    """Beyond `MOST`, so that a version stays small."""
    model = Sequence()
    trails = [earlier << 8 | MESSAGE for earlier in range(1, 256)]
    trails += [earlier << 16 | MESSAGE << 8 | MESSAGE for earlier in range(1, MOST + 2 - 256)]
    for number, code in enumerate(trails):
        for _ in range(1 + number % 2):
            model.learn_one(read(float(code)), taught(False, 1.0))
    assert len(model.seen) == MOST + 1 - FORGOTTEN
    gone = [code for code in trails if code not in model.seen]
    assert gone == trails[2 : 2 * FORGOTTEN + 1 : 2]
    assert MESSAGE in model.seen


@pytest.mark.slow
def test_a_version_stays_small_whatever_is_learnt() -> None:
    """Endless different n-grams with weights of many digits."""
    rng, model = random.Random(4), Sequence()
    for number in range(20_000):
        row = read(float(rng.randrange(1, 256**LONGEST)))
        model.learn_one(row, taught(number % 3 == 0, rng.random() * 4))
    assert LARGEST / 4 < len(orjson.dumps(model.dump())) < LARGEST


def test_the_reason_is_the_trail_as_served() -> None:
    """Its contribution is what it adds to everybody's log-odds; the code is raw, so that it can be told in words."""
    rng = random.Random(6)
    learner = learnt(walks(rng, 500), sample=0.1)
    frozen = freeze(learner.version())
    vector = trail(MESSAGE, REPORT, REPORT)
    (reason,) = frozen.explain(point_of(vector), 9)
    assert (reason.feature, reason.value) == ("sequence_4", codes_of(vector)[-1])
    whole = learner._model.dump()
    logit = log(whole["positives"] / whole["negatives"]) + (reason.contribution or 0.0)
    assert log(probability(frozen, vector) / 0.1) == pytest.approx(logit, rel=1e-9)
