"""The additive model: functions that bend where they must, and rehearsal that forgets who must be forgotten."""

from __future__ import annotations

import random
from math import exp, isnan, log, nan
from typing import Any

import numpy as np
import orjson
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from detectors.base.elementwise import symlog
from detectors.base.points import Example
from detectors.base.vectors import Vector
from detectors.features.catalogue import CANDIDATES, CATALOGUE, NUMBERS
from detectors.features.declare import TokenNgram
from detectors.features.selection import QUANTITIES
from detectors.features.signals import key_of
from detectors.learning.learner import Learner
from detectors.models.additive import knots
from detectors.models.additive.additive import BATCH, BEGUN, RATE, SHRINK, SMOOTH, Additive
from detectors.models.additive.calibration import Calibration
from detectors.models.additive.knots import ABSENT, KNOTS, SLOTS, STEPS, Scale, knots_of
from detectors.models.additive.rehearsal import HEAD, NEGATIVES, PAIRS, POSITIVES, REACH, Rehearsal, read, row_of
from detectors.models.catalogue import freeze, new_model
from detectors.policy.sections import LearningPolicy
from detectors.profiles.results import TrainingEvent
from tests.kit.community import START, given, random_vector, separable, taught, vector_of
from tests.kit.streams import policy

QUANTITY_FEATURES = [feature for feature in (*CATALOGUE, *CANDIDATES) if not isinstance(feature, TokenNgram)]


def example_of(vector: Vector, *, label: bool, weight: float = 1.0, user: str = "ann") -> Example:
    """An example of a vector."""
    return Example(user, START, vector, label, weight)


def learn(model: Additive, *examples: Example) -> Additive:
    """The model, after it has learnt these."""
    for example in examples:
        model.learn_one(given(example.vector), example)
    return model


def stream(count: int, seed: int = 1, users: int = 50) -> list[Example]:
    """Examples of many users, one of ten a positive."""
    rng = random.Random(seed)
    found = []
    for number in range(count):
        vector, label = separable(rng, number)
        label = label and number % 3 == 0
        weight = 1.0 + rng.randrange(4) / 2 if label else 1.0
        found.append(example_of(vector, label=label, weight=weight, user=f"u{rng.randrange(users)}"))
    return found


def rows_of(state: dict[str, Any], kind: str) -> list[bytes]:
    """The rows that are dumped under a name."""
    rehearsal = Rehearsal()
    rehearsal.load(state["rehearsal"], state["features"], NUMBERS)
    return list(getattr(rehearsal, kind))


KINDS = ("waiting", "_positives", "_negatives")


@pytest.mark.parametrize("feature", QUANTITY_FEATURES, ids=lambda feature: feature.name)
def test_every_feature_that_can_be_declared_has_knots_that_fit(feature: Any) -> None:
    """Rising, two at least, and no more than there is room for."""
    edges = symlog(np.array(knots_of(feature), dtype=np.float64))
    assert np.all(np.diff(edges) > 0)
    assert 2 <= len(edges) < SLOTS
    assert (len(edges) - 1) * STEPS < ABSENT


def test_knots_follow_from_what_is_declared() -> None:
    """A few of each kind, by hand."""
    wanted = {
        "report_count_24h": knots.COUNTS,
        "first_since": knots.SECONDS,
        "repeat_ratio_24h": knots.SHARES,
        "message_trend_1h_24h": knots.QUOTIENTS,
        "length_mean_1h": knots.LENGTHS,
        "toxicity_max_24h": knots.SHARES,
        "excess_mean_24h": knots.DIFFERENCES,
        "channel_sanctions": knots.SANCTIONS,
        "channel_share": knots.SHARES,
        "strike_count": knots.COUNTS,
    }
    assert {name: KNOTS[name] for name in wanted} == wanted
    assert tuple(KNOTS) == NUMBERS


def test_a_function_is_linear_between_its_knots_and_constant_beyond() -> None:
    """Against `np.interp`, at, between and beyond the knots of every feature; NaN where absent."""
    rng = np.random.default_rng(3)
    scale, levels = Scale(NUMBERS), rng.normal(size=(len(NUMBERS), SLOTS))
    columns = np.stack([symlog(np.array([-1e9, *rng.normal(0, 50, 40), 1e9, nan, *KNOTS[n][:2]])) for n in NUMBERS])
    parts, places = scale.parts(columns, levels), scale.places(columns)
    for row, name in enumerate(NUMBERS):
        edges = symlog(np.array(KNOTS[name], dtype=np.float64))
        present = ~np.isnan(columns[row])
        wanted = np.interp(columns[row][present], edges, levels[row, : len(edges)])
        assert parts[row][present] == pytest.approx(wanted, rel=1e-9, abs=1e-12)
        assert np.isnan(parts[row][~present]).all()
        along = np.interp(columns[row][present], edges, np.arange(len(edges)))
        assert places[present, row] == pytest.approx(along * STEPS, abs=0.5001)
        assert set(places[~present, row]) == {ABSENT}


def bent(rng: random.Random) -> tuple[Vector, float]:
    """A vector and its chance of being a positive: high for three messages an hour, low for none and for many.

    Who was never reported has a chance of their own, which no number of seconds stands for.
    """
    messages, noise = rng.choice((0, 1, 2, 3, 5, 10, 30)), rng.random()
    since = rng.choice((nan, 10.0, 1e6))
    hump = exp(-2 * (log(1 + messages) - log(4)) ** 2)
    chance = exp(-4.6 + 2.2 * hump + 0.8 * isnan(since))
    return vector_of(absent=nan, message_count_1h=messages, report_since=since, repeat_ratio_24h=noise), chance


@pytest.mark.slow
def test_it_learns_what_a_batch_fit_on_the_same_basis_does_and_the_linear_model_cannot() -> None:
    """A hump and an absence that counts: rare positives, and still as good as scikit-learn with all data at once."""
    rng = random.Random(5)
    drawn = [bent(rng) for _ in range(12_000)]
    labels = [rng.random() < chance for _, chance in drawn]
    lessons = []
    for number, ((vector, _), label) in enumerate(zip(drawn, labels, strict=True)):
        examples = [example_of(vector, label=False), *([example_of(vector, label=True)] if label else [])]
        lessons.append(TrainingEvent(0, number, "ann", START + number, tuple(examples), erased=False))
    said = {}
    fresh = [bent(rng) for _ in range(4_000)]
    matrix, truth = np.array([vector for vector, _ in fresh]), np.array([chance for _, chance in fresh])
    for name in ("additive", "logistic"):
        learner = Learner(name, LearningPolicy())
        learner.take(lessons)
        said[name] = freeze(learner.version()).probabilities(matrix)
    came = np.array([rng.random() < chance for chance in truth])

    def basis(rows: Any) -> Any:
        columns = QUANTITIES.read(np.array(rows)).T
        tents = []
        for name in ("message_count_1h", "report_since", "repeat_ratio_24h"):
            column, edges = columns[NUMBERS.index(name)], symlog(np.array(KNOTS[name], dtype=np.float64))
            filled = np.nan_to_num(column)
            tents.extend(np.where(np.isnan(column), 0.0, np.interp(filled, edges, one)) for one in np.eye(len(edges)))
        return np.stack(tents, axis=1)

    batch = LogisticRegression(C=1.0, max_iter=500).fit(basis([vector for vector, _ in drawn]), labels)
    oracle = batch.predict_proba(basis(matrix))[:, 1]
    areas = {name: roc_auc_score(came, scores) for name, scores in {**said, "oracle": oracle}.items()}
    assert areas["additive"] == pytest.approx(areas["oracle"], abs=0.01)
    assert areas["additive"] > areas["logistic"] + 0.05
    assert said["additive"].mean() == pytest.approx(truth.mean(), rel=0.1)
    groups = [truth == chance for chance in np.unique(truth)]
    means = {who: np.log([scores[group].mean() for group in groups]) for who, scores in {**said, "": oracle}.items()}
    # smoothness flattens the hump, and the slope that mends it on the whole lifts what needed no mending
    assert np.abs(means["additive"] - means[""]).max() < log(2)
    assert np.corrcoef(means["additive"], means[""])[0, 1] > 0.95
    assert np.corrcoef(means["logistic"], means[""])[0, 1] < 0.5


def test_a_batch_is_a_step_of_adagrad_down_the_loss_and_the_penalties() -> None:
    """The definition in plain Python, one row, one feature, one knot at a time."""
    model = learn(Additive(), *stream(400))
    before = model.dump()
    fresh = stream(BATCH, seed=9)
    rows = [
        row_of(one.user_id, one.label, one.weight, model._scale.places(model._read(given(one.vector)))) for one in fresh
    ]
    rehearsal = Rehearsal()
    rehearsal.load(before["rehearsal"], before["features"], NUMBERS)
    rehearsal.waiting = list(rows)
    again = rehearsal.keep() and rehearsal.pairs()
    learn(model, *fresh)
    after = model.dump()
    bias, bias_squares = before["biases"]
    down = [[SHRINK * value for value in levels] for levels in before["latest"]]
    lift = 0.0
    for row in rows + again:
        weight, places = int.from_bytes(row[HEAD - 1 : HEAD], "little", signed=True) / 16, row[HEAD:]
        under = [
            (feature, place // STEPS + one, (1 - place % STEPS / STEPS, place % STEPS / STEPS)[one])
            for feature, place in enumerate(places)
            if place != ABSENT
            for one in (0, 1)
            if one == 0 or place % STEPS
        ]
        score = bias + sum(before["latest"][feature][knot] * tent for feature, knot, tent in under)
        miss = (1 / (1 + exp(-score)) - (weight > 0)) * abs(weight) / PAIRS
        lift += miss
        for feature, knot, tent in under:
            down[feature][knot] += miss * tent
    for feature, levels in enumerate(before["latest"]):
        for knot in range(len(levels) - 1):
            rise = SMOOTH * (levels[knot + 1] - levels[knot])
            down[feature][knot + 1] += rise
            down[feature][knot] -= rise
        for knot, value in enumerate(levels):
            squares = before["squares"][feature][knot] + down[feature][knot] ** 2
            assert after["squares"][feature][knot] == pytest.approx(squares, rel=1e-9)
            wanted = value - RATE * down[feature][knot] / squares**0.5
            assert after["latest"][feature][knot] == pytest.approx(wanted, rel=1e-9, abs=1e-12)
            mean = before["levels"][feature][knot]
            mean += (wanted - mean) / after["batches"]
            assert after["levels"][feature][knot] == pytest.approx(mean, rel=1e-9, abs=1e-12)
    assert after["biases"] == pytest.approx(
        [bias - RATE * lift / (bias_squares + lift**2) ** 0.5, bias_squares + lift**2]
    )
    assert after["batches"] == before["batches"] + 1
    assert min(min(levels) for levels in before["squares"]) >= BEGUN


def test_every_batch_rehearses_as_many_positives_as_negatives() -> None:
    """However rare positives are; the latest of them, and a sample of the negatives that reaches back."""
    rehearsal = Rehearsal()
    chosen: list[bytes] = []
    for number in range(60_000):
        places = np.array([number % 250, number // 250], dtype=np.uint8)
        rehearsal.waiting.append(row_of("ann", number % 100 == 0, 1.0, places))
        if len(rehearsal.waiting) == BATCH:
            rehearsal.keep()
            rows = rehearsal.pairs()
            assert read(rows).labels.tolist() == [True] * PAIRS + [False] * PAIRS
            chosen = (chosen + rows)[-4_000:]

    def numbers(rows: list[bytes]) -> Any:
        places = read(rows).places.astype(int)
        return places[:, 0] + 250 * places[:, 1]

    positives, negatives = rehearsal._positives, rehearsal._negatives
    assert numbers(positives).tolist() == list(range(59_900 - 100 * (POSITIVES - 1), 60_000, 100))
    assert len(negatives) == NEGATIVES
    ages = 60_000 - numbers(negatives)
    assert np.mean(ages < REACH / 2) == pytest.approx(1 - exp(-0.5), abs=0.08)
    assert np.mean(ages > REACH * 0.6) > 0.2
    labels = read(chosen).labels
    assert len({*numbers(chosen)[labels]}) > 0.9 * POSITIVES
    assert len({*numbers(chosen)[~labels]}) > 0.9 * NEGATIVES


@pytest.mark.slow
def test_a_model_that_was_dumped_in_the_middle_of_a_batch_goes_on_to_the_last_bit() -> None:
    """With a full reservoir, through JSON, and however the examples were parted into lessons."""
    examples = stream(3_000)
    straight = learn(Additive(), *examples)
    for cut in (0, 3, 1_501, 2_993):
        first, second = learn(Additive(), *examples[:cut]), Additive()
        assert len(rows_of(first.dump(), "waiting")) == cut % BATCH
        second.load(orjson.loads(orjson.dumps(first.dump())))
        assert orjson.dumps(learn(second, *examples[cut:]).dump()) == orjson.dumps(straight.dump())
    lessons = [TrainingEvent(0, n, one.user_id, START + n, (one,), erased=False) for n, one in enumerate(examples)]
    states = []
    for size in (1, 7, 3_000):
        learner = Learner("additive", LearningPolicy(publish_every=10_000))
        for start in range(0, len(lessons), size):
            learner.take(lessons[start : start + size])
        states.append(orjson.dumps(learner._model.dump()))
    assert set(states) == {orjson.dumps(straight.dump())}
    assert len(rows_of(straight.dump(), "_negatives")) == NEGATIVES


def test_a_model_dumped_before_a_feature_was_declared_has_nothing_of_it() -> None:
    """Its rows lack it, its function is flat, and the rest is as it was."""
    whole = learn(Additive(), *stream(300)).dump()
    state: dict[str, Any] = orjson.loads(orjson.dumps(whole))
    column = NUMBERS.index("report_count_24h")
    for key in ("features", "knots", "levels", "latest", "squares"):
        del state[key][column]
    rehearsal = Rehearsal()
    rehearsal.load(whole["rehearsal"], list(NUMBERS), tuple(state["features"]))
    state["rehearsal"] = rehearsal.dump()
    model = Additive()
    model.load(state)
    dumped = model.dump()
    assert set(dumped["levels"][column]) == {0.0}
    assert set(dumped["squares"][column]) == {BEGUN}
    assert dumped["levels"][:column] + dumped["levels"][column + 1 :] == state["levels"]
    for kind in KINDS:
        for row, before in zip(rows_of(dumped, kind), rows_of(whole, kind), strict=True):
            at = HEAD + column
            assert row == before[:at] + bytes([ABSENT]) + before[at + 1 :]


def test_a_positive_taken_back_before_it_was_learnt_has_never_been() -> None:
    """To the last bit."""
    examples = stream(BATCH * 50 + 3)
    extra = example_of(random_vector(random.Random(8)), label=True, weight=2.5, user="eve")
    plain = learn(Additive(), *examples)
    once = learn(Additive(), *examples, extra, extra._replace(weight=-2.5))
    assert once.dump() == plain.dump()


def test_a_positive_taken_back_is_rehearsed_no_more_and_scores_less() -> None:
    """Its row leaves, one of another user or weight stays, and the calibration learns the opposite."""
    vector = random_vector(random.Random(8), gaps=0.0)
    wrong = example_of(vector, label=True, weight=2.0, user="eve")
    others = [wrong._replace(user_id="bob"), wrong._replace(weight=1.5)]
    model = learn(Additive(), *stream(400), wrong, *others, *stream(30, seed=4))
    row = row_of("eve", True, 2.0, model._scale.places(model._read(given(vector))))
    held = rows_of(model.dump(), "_positives")
    assert held.count(row) == 1
    at_first = model.score_one(given(vector), wrong)
    learn(model, wrong._replace(weight=-2.0))
    held.remove(row)
    assert rows_of(model.dump(), "_positives") == held
    assert model.score_one(given(vector), wrong) < at_first
    assert (
        model.dump()["latest"] == learn(Additive(), *stream(400), wrong, *others, *stream(30, seed=4)).dump()["latest"]
    )


def test_nothing_is_kept_of_an_erased_user() -> None:
    """Neither rows nor hash; all others stay; and what scores is not published anew."""
    examples = stream(1_203, users=9)
    learner = Learner("additive", LearningPolicy())
    learner.take([TrainingEvent(0, n, one.user_id, START + n, (one,), erased=False) for n, one in enumerate(examples)])
    model = learner._model
    before = model.dump()
    user = (key_of("u4") & 0xFFFF_FFFF).to_bytes(4, "little")
    assert all(any(row.startswith(user) for row in rows_of(before, kind)) for kind in KINDS[1:])
    learner.take([TrainingEvent(0, len(examples), "u4", START + 1_203, (), erased=True)])
    after = model.dump()
    for kind in KINDS:
        assert rows_of(after, kind) == [row for row in rows_of(before, kind) if not row.startswith(user)]
    assert isinstance(model, Additive)
    assert model.publish() == {key: before[key] for key in model.publish()}
    waiting = learn(Additive(), example_of(random_vector(random.Random(1)), label=False, user="u4"))
    assert waiting.forget("u4") is False
    assert rows_of(waiting.dump(), "waiting") == []


def test_a_version_holds_what_scores_and_no_row_of_anybody() -> None:
    """Also as a member of a stack; what is kept goes into the learner's state alone."""
    learner = taught("additive", examples=900)
    document = orjson.loads(learner.version().state)["model"]
    assert set(document) == {"features", "knots", "levels", "bias", "slope", "intercept"}
    assert [len(levels) for levels in document["levels"]] == [len(KNOTS[name]) for name in NUMBERS]
    assert len(learner.version().state) < 10_000
    assert learner.state()["model"]["rehearsal"]["positives"]
    rules = policy(learning={"champion": "stack", "challengers": []}, stack={"members": ["logistic", "additive"]})
    stacked = Learner("stack", rules.learning, model=lambda: new_model("stack", rules))
    stacked.take(
        [TrainingEvent(0, n, one.user_id, START + n, (one,), erased=False) for n, one in enumerate(stream(300))]
    )
    members = orjson.loads(stacked.version().state)["model"]["members"]
    assert set(members["additive"]["model"]) == set(document)
    assert "rehearsal" in stacked.state()["model"]["members"]["additive"]["model"]
    twin = Learner("stack", rules.learning, model=lambda: new_model("stack", rules))
    twin.restore(stacked.state())
    assert twin.version() == stacked.version()


def test_a_version_learnt_on_other_knots_is_refused_with_a_sentence() -> None:
    """Neither scored nor learnt on: its numbers would stand for something else."""
    learner = taught("additive")
    sentence = "report_count_24h had other knots when this was learnt: score it with the forewarn that learnt it"
    record = learner.version()
    document = orjson.loads(record.state)
    document["model"]["knots"][NUMBERS.index("report_count_24h")] += 1
    with pytest.raises(ValueError, match=sentence):
        freeze(record.model_copy(update={"state": orjson.dumps(document).decode()}))
    state = learner._model.dump()
    state["knots"][NUMBERS.index("report_count_24h")] += 1
    with pytest.raises(ValueError, match=sentence):
        Additive().load(state)


def test_calibration_finds_slope_and_intercept_and_follows_when_they_change() -> None:
    """Scores of a balanced world in one of few positives; then that world has five times as many."""
    rng, calibration = random.Random(4), Calibration()
    for slope, intercept in ((0.7, -4.0), (0.7, -2.4)):
        for _ in range(60_000):
            score = rng.gauss(0.0, 1.5)
            calibration.learn(score, rng.random() < 1 / (1 + exp(-slope * score - intercept)), 1.0)
        assert [calibration.slope, calibration.intercept] == pytest.approx([slope, intercept], abs=0.15)


def test_calibration_takes_back() -> None:
    """A wrong positive learnt and taken back leaves the log-odds nearer to where they were."""
    rng, calibration = random.Random(4), Calibration()
    for _ in range(500):
        calibration.learn(rng.gauss(0.0, 1.0), rng.random() < 0.1, 1.0)
    at_first = calibration(1.0)
    calibration.learn(1.0, True, 4.0)
    moved = calibration(1.0)
    calibration.learn(1.0, True, -4.0)
    assert moved > at_first
    assert abs(calibration(1.0) - at_first) < 0.3 * (moved - at_first)
    twin = Calibration()
    twin.load(orjson.loads(orjson.dumps(calibration.dump())))
    assert twin.dump() == calibration.dump()


def test_what_was_never_seen_goes_on_as_it_was_next_to_it() -> None:
    """A count beyond all that were learnt is no reason to say nothing."""
    rng = random.Random(2)
    examples = []
    for _ in range(4_000):
        reports = rng.randrange(4)
        vector = vector_of(absent=nan, report_count_24h=reports)
        examples.append(example_of(vector, label=rng.random() < 0.02 + 0.1 * (reports == 3)))
    model = learn(Additive(), *examples)
    said = [model.score_one(given(vector_of(absent=nan, report_count_24h=n)), examples[0]) for n in (0, 3, 30)]
    assert said[2] > said[0] + 0.5 * (said[1] - said[0])
