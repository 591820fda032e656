"""The checks that every detector passes, as functions that can also be applied to custom detectors.

A check takes a function that creates a fresh detector. It raises `CheckFailed` with one sentence if the detector fails:

>>> from detectors.rules.velocity import Velocity
>>> for law in LAWS:
...     law(lambda: RuleUnderTest(Velocity()))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from math import fsum, isfinite, isnan, nan
from typing import Any, Protocol
from zlib import crc32

import msgpack
import numpy as np

from detectors.base.points import DecisionPoint, Example, Origin, Score
from detectors.base.vectors import Matrix, Vector, matrix_from, vector_from
from detectors.features.catalogue import NAMES, NUMBERS
from detectors.learning.learner import Learner
from detectors.models.catalogue import MODELS, freeze
from detectors.models.version import FrozenModel
from detectors.policy.sections import LearningPolicy
from detectors.profiles.results import TrainingEvent
from detectors.rules.base import Rule
from detectors.rules.catalogue import RULES
from schemas.records.base import Position

LARGEST = 64 * 1024
"""Maximum size (bytes) of a detector's state, however much it has learnt: it is snapshot and published as a whole."""
_START = 1_700_000_000_000


class CheckFailed(AssertionError):  # noqa: N818 - the name states the result; it is not a program error
    """A detector fails a check; the message is one sentence on how."""


class Candidate(Protocol):
    """A detector with all methods that the checks call. For a rule, learning does nothing."""

    @property
    def name(self) -> str:
        """Return the detector's name in reasons and metrics."""

    def score_one(self, point: DecisionPoint) -> Score:
        """Return the score of one decision point, with reasons, without changing any state."""

    def score_many(self, matrix: Matrix) -> Matrix:
        """Return one probability per row, NaN for *insufficient history*, without changing any state."""

    def learn_one(self, example: Example) -> None:
        """Learn one example."""

    def dump(self) -> Any:
        """Return the whole state as plain data: numbers, text, lists, dicts."""

    def load(self, state: Any) -> None:
        """Restore the state of the detector that was dumped."""


Make = Callable[[], Candidate]


class RuleUnderTest:
    """A rule as a candidate."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.name = rule.name

    def score_one(self, point: DecisionPoint) -> Score:
        """Return the rule's own score."""
        return self.rule.score_one(point)

    def score_many(self, matrix: Matrix) -> Matrix:
        """Return 1 where the rule fires, as a lane computes it, else 0; NaN where a feature it needs is absent."""
        needed = matrix[:, [NAMES.index(feature) for feature in self.rule.features]]
        return np.where(np.isnan(needed).any(axis=1), nan, self.rule.fires_on(matrix).astype(np.float64))

    def learn_one(self, example: Example) -> None:
        """Do nothing: a rule does not learn."""

    def dump(self) -> Any:
        """Return the rule's limit and all of its other attributes, as text."""
        return {name: repr(value) for name, value in sorted(vars(self.rule).items())}

    def load(self, state: Any) -> None:
        """Do nothing: a rule comes from the policy, not from a state."""


class ModelUnderTest:
    """A model as a candidate: trained by a `Learner`, scored by the version it would publish."""

    def __init__(self, name: str, learning: LearningPolicy) -> None:
        self.name = name
        self._learning = learning
        self._learner = Learner(name, learning)
        self._seq = 0
        self._kept: dict[str, FrozenModel] = {}

    def score_one(self, point: DecisionPoint) -> Score:
        """Return the probability and reasons of the frozen version."""
        value = float(self.score_many(matrix_from([point.vector]))[0])
        return Score(self.name, None) if isnan(value) else Score(self.name, value, self._frozen().explain(point, 4))

    def score_many(self, matrix: Matrix) -> Matrix:
        """Return the probabilities of the frozen version."""
        return self._frozen().probabilities(matrix)

    def learn_one(self, example: Example) -> None:
        """Learn a training event with one example, the next in order."""
        self._learner.take([TrainingEvent(0, self._seq, example.user_id, example.known_at, (example,), erased=False)])
        self._seq += 1

    def dump(self) -> Any:
        """Return the learner's state."""
        return self._learner.state()

    def load(self, state: Any) -> None:
        """Restore the learner that was dumped, and its position in the order of training events."""
        self._learner = Learner(self.name, self._learning)
        self._learner.restore(state)
        self._seq = state["following"].get(0, 0)

    def _frozen(self) -> FrozenModel:
        record = self._learner.version()
        if record.version not in self._kept:
            self._kept = {record.version: freeze(record)}
        return self._kept[record.version]


def candidates() -> dict[str, Make]:
    """Return a factory for every detector that a policy can name: all rules and all models."""
    rules: dict[str, Make] = {name: partial(lambda rule: RuleUnderTest(rule()), rule) for name, rule in RULES.items()}
    return rules | {name: partial(ModelUnderTest, name, LearningPolicy()) for name in MODELS}


def scoring_leaves_the_state_unchanged(make: Make) -> None:
    """Check that scoring changes nothing: the dumps before and after are equal, and so are repeated scores."""
    detector = _taught(make, 200)
    before = _packed(detector.dump())
    points = [_point(example.vector) for example in _examples(20)]
    first = [repr(detector.score_one(point)) for point in points]
    detector.score_many(_matrix(20))
    _demand(_packed(detector.dump()) == before, detector, "changes its state when it scores")
    again = [repr(detector.score_one(point)) for point in points]
    _demand(again == first, detector, "scores a point twice differently")


def inputs_are_left_as_they_were(make: Make) -> None:
    """Check that a detector does not modify its inputs."""
    detector, matrix, example = _taught(make, 200), _matrix(20), next(_examples(1, gaps=0.5))
    before = matrix.tobytes(), example.vector.tobytes()
    detector.score_many(matrix)
    detector.score_one(_point(example.vector))
    detector.learn_one(example)
    _demand(matrix.tobytes() == before[0], detector, "writes on the matrix it is given")
    _demand(example.vector.tobytes() == before[1], detector, "writes on the vector it is given")


def cold_start_is_insufficient_history(make: Make) -> None:
    """Check that scores are None or NaN, without reasons, if all features are absent; NaN also before any learning."""
    nothing = vector_from([nan] * len(NAMES))
    score, many = make().score_one(_point(nothing)), make().score_many(matrix_from([nothing]))
    _demand(score.probability is None, make(), f"scores {score.probability} where every feature is absent")
    _demand(not score.reasons, make(), "gives reasons for a score it does not have")
    _demand(bool(np.isnan(many).all()), make(), "scores a row in which every feature is absent")
    if _packed(_taught(make, 50).dump()) != _packed(make().dump()):
        scores = make().score_many(_matrix(20, gaps=0.0))
        _demand(bool(np.isnan(scores).all()), make(), "learns, and yet scores before it has learnt anything")


def memory_is_bounded(make: Make) -> None:
    """Check that the state is small after ten thousand examples, and has stopped growing."""
    detector = make()
    sizes = []
    for number, example in enumerate(_examples(10_000), 1):
        detector.learn_one(example)
        if number % 2_500 == 0:
            sizes.append(len(_packed(detector.dump())))
    _demand(max(sizes) <= LARGEST, detector, f"holds {max(sizes)} bytes after 10,000 examples, more than {LARGEST}")
    _demand(sizes[-1] <= 1.05 * sizes[0] + 64, detector, f"keeps growing: {sizes} bytes after each 2,500 examples")


def a_loaded_dump_goes_on_identically(make: Make) -> None:
    """Check that a detector that was dumped, sent as bytes and loaded continues exactly like the original."""
    detector, twin = _taught(make, 200), make()
    state = _packed(detector.dump())
    twin.load(msgpack.unpackb(state, strict_map_key=False))
    _demand(_packed(twin.dump()) == state, detector, "is not what it was after it was dumped and loaded")
    for example in _examples(50, seed=9):
        detector.learn_one(example)
        twin.learn_one(example)
    same = detector.score_many(_matrix(50)).tobytes() == twin.score_many(_matrix(50)).tobytes()
    _demand(same, detector, "scores differently after it was dumped and loaded")


def absent_features_do_no_lasting_harm(make: Make) -> None:
    """Check that the learnt state never contains NaN, and that a score is None or a probability, never NaN."""
    detector = make()
    for example in _examples(300, gaps=0.3):
        detector.learn_one(example)
        detector.learn_one(example._replace(vector=vector_from([nan] * len(NAMES))))
    found = next((number for number in _numbers(detector.dump()) if not isfinite(number)), None)
    _demand(found is None, detector, f"has learnt {found} from absent features")
    for example in (*_examples(50, gaps=0.0), *_examples(50, gaps=0.5), *_examples(1, gaps=1.0)):
        probability = detector.score_one(_point(example.vector)).probability
        sound = probability is None or 0.0 <= probability <= 1.0
        _demand(sound, detector, f"scores {probability}, which is no probability")
    if _packed(detector.dump()) != _packed(make().dump()):
        scores = detector.score_many(_matrix(50, gaps=0.0))
        _demand(bool(np.isfinite(scores).all()), detector, "no longer scores since it has seen absent features")


def reasons_name_declared_features_and_their_raw_counters(make: Make) -> None:
    """Check that a reason has its detector, a declared feature, the value served, and a finite contribution or none."""
    detector = _taught(make, 200)
    for example in _examples(100):
        for reason in detector.score_one(_point(example.vector)).reasons:
            _demand(reason.detector == detector.name, detector, f"gives reasons in the name of {reason.detector}")
            _demand(reason.feature in NAMES, detector, f"gives {reason.feature!r} as a reason, which is no feature")
            served = example.vector[NAMES.index(reason.feature)]
            raw = isnan(served) if reason.value is None else reason.value == served
            _demand(raw, detector, f"says {reason.feature} was {reason.value}, and it was served as {served}")
            sound = reason.contribution is None or isfinite(reason.contribution)
            _demand(sound, detector, f"says {reason.feature} contributed {reason.contribution}")


def rows_are_scored_on_their_own(make: Make) -> None:
    """Check that a row's score is, to the last bit, independent of the other rows and equal to that of `score_one`."""
    detector, matrix = _taught(make, 200), _matrix(130)
    together = detector.score_many(matrix)
    alone = np.concatenate([detector.score_many(matrix[row : row + 1]) for row in range(len(matrix))])
    _demand(together.tobytes() == alone.tobytes(), detector, "scores a row differently with other rows beside it")
    for row, value in zip(matrix.tolist(), together.tolist(), strict=True):
        one = detector.score_one(_point(vector_from(row))).probability
        same = isnan(value) if one is None else one == value
        _demand(same, detector, f"scores a point {one} alone and {value} in a batch")


def an_example_teaches_as_often_as_it_weighs(make: Make) -> None:
    """Check that an example of weight 3 changes scores more like three examples of weight 1 than like one."""
    weighed, repeated, single = make(), make(), make()
    for example in _examples(300):
        weight = 1.0 if example.label else 3.0
        weighed.learn_one(example._replace(weight=weight))
        single.learn_one(example)
        for _ in range(int(weight)):
            repeated.learn_one(example)
    if _packed(single.dump()) == _packed(make().dump()):
        return
    found, wanted, without = (_mean_score(one) for one in (weighed, repeated, single))
    as_asked = abs(found - wanted) < abs(found - without)
    _demand(
        as_asked, weighed, f"scores {found} with negatives of weight 3, {wanted} with three each, {without} with one"
    )


def what_is_taken_back_counts_no_more(make: Make) -> None:
    """Check that examples learnt and taken back, with weight 4, restore the counts and half of the change of scores.

    The change is summed over eight examples: one alone may happen to change the mean score by nearly nothing.
    """
    detector = _taught(make, 300)
    before, counts = _mean_score(detector), _counts(detector.dump())
    learnt = left = 0.0
    for example in _examples(8, seed=5):
        detector.learn_one(example._replace(weight=4.0, user_id="taken back"))
        between = _mean_score(detector)
        detector.learn_one(example._replace(weight=-4.0, user_id="taken back"))
        after = _mean_score(detector)
        learnt, left, before = learnt + abs(between - before), left + abs(after - before), after
    near = left <= 0.5 * learnt + 1e-9
    _demand(near, detector, f"changes its mean scores by {left} once examples are taken back, by {learnt} with them")
    _demand(_counts(detector.dump()) == counts, detector, "does not count back what is taken back")


def a_new_feature_moves_no_score_far(make: Make) -> None:
    """Check that after 1,000 examples without a feature, one with it changes no odds by a factor of 2."""
    place = NAMES.index("exposure_count_7d")
    for nothing, much, label in ((0.0, 1.0, True), (0.0, 30.0, True), (0.0, 30.0, False), (nan, 1.0, True)):
        detector = make()
        for example in _examples(1_007):  # the next one completes a batch of 8
            detector.learn_one(_with(example, place, nothing))
        points = [_with(example, place, shown) for example in _examples(30, seed=7) for shown in (nothing, 1.0, 60.0)]
        matrix = matrix_from([point.vector for point in points])
        before = detector.score_many(matrix)
        [first] = _examples(1, seed=8)
        time = _START + 1_007 * 60_000
        detector.learn_one(_with(first, place, much)._replace(label=label, known_at=time, user_id="first"))
        after = detector.score_many(matrix)
        known = (before > 0.0) & (after > 0.0) & (before < 1.0) & (after < 1.0)  # exclude probabilities clipped at 1
        moved = np.maximum(after, before)[known] / np.minimum(after, before)[known]
        most = float(moved.max(initial=1.0))
        _demand(most < 2.0, detector, f"moves odds {most:.1f} times by one example of a feature that is new")


LAWS: tuple[Callable[[Make], None], ...] = (
    scoring_leaves_the_state_unchanged,
    inputs_are_left_as_they_were,
    cold_start_is_insufficient_history,
    memory_is_bounded,
    a_loaded_dump_goes_on_identically,
    absent_features_do_no_lasting_harm,
    reasons_name_declared_features_and_their_raw_counters,
    rows_are_scored_on_their_own,
    an_example_teaches_as_often_as_it_weighs,
    what_is_taken_back_counts_no_more,
    a_new_feature_moves_no_score_far,
)


def _demand(holds: bool, detector: Candidate, otherwise: str) -> None:
    if not holds:
        raise CheckFailed(f"{detector.name} {otherwise}")


def _matrix(rows: int, gaps: float = 0.2, seed: int = 1) -> Matrix:
    """Return seeded vectors of typical values: counts, gaps in seconds, distinct codes, and NaN in a share `gaps`.

    Every feature is drawn on its own, so another feature in the catalogue changes no other's values.
    """
    matrix: Matrix = np.empty((rows, len(NAMES)))
    for place, name in enumerate(NAMES):
        rng = np.random.default_rng([seed, crc32(name.encode())])
        if name in NUMBERS:
            values = np.where(rng.random(rows) < 0.7, rng.poisson(4.0, rows), rng.exponential(3_000.0, rows))
        else:
            values = rng.integers(1, 2**32, rows).astype(float)
        matrix[:, place] = np.where(rng.random(rows) < gaps, nan, values)
    return matrix


def _examples(count: int, gaps: float = 0.2, seed: int = 2) -> Iterator[Example]:
    """Yield seeded examples, three of ten positive, one minute apart and with a horizon of ten minutes."""
    labels = (np.random.default_rng(seed).random(count) < 0.3).tolist()
    for number, (row, label) in enumerate(zip(_matrix(count, gaps, seed).tolist(), labels, strict=True)):
        user, time = f"{'bad' if label else 'ok'}{number % 9}", _START + number * 60_000
        yield Example(user, time, vector_from(row), label, 1.0, Origin(1_000_000 - number, time, time + 600_000))


def _taught(make: Make, examples: int) -> Candidate:
    detector = make()
    for example in _examples(examples):
        detector.learn_one(example)
    return detector


def _with(example: Example, place: int, value: float) -> Example:
    """Return the example with another value at one index of its vector."""
    values = example.vector.tolist()
    values[place] = value
    return example._replace(vector=vector_from(values))


def _mean_score(detector: Candidate) -> float:
    """Return the mean score of a detector over 200 rows; NaN counts as 0."""
    scores = detector.score_many(_matrix(200))
    return fsum(scores[~np.isnan(scores)].tolist()) / len(scores)


def _counts(state: Any) -> list[Any]:
    """Return the number of examples and of positives in a learner's state."""
    return [state[name] for name in ("examples", "positives") if name in state]


def _point(vector: Vector) -> DecisionPoint:
    return DecisionPoint("u", _START, "e", vector, 9, Position("events", 0, 0, 0))


def _packed(state: Any) -> bytes:
    return bytes(msgpack.packb(state))


def _numbers(state: Any) -> Iterator[float]:
    """Yield every number in plain data."""
    if isinstance(state, dict):
        state = list(state.values())
    if isinstance(state, list | tuple):
        for part in state:
            yield from _numbers(part)
    elif isinstance(state, int | float):
        yield state
