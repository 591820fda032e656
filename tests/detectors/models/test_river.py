"""River's classifiers as models: learnt in order, published without state, restored from plain data."""

from __future__ import annotations

import pickle
import random
import sys
from math import isnan, log, nan
from types import ModuleType
from typing import Any

import msgpack
import numpy as np
import orjson
import pytest
from river import base, preprocessing, tree

from detectors.base.state import StateVersionError
from detectors.base.vectors import matrix_from, vector_from
from detectors.features.catalogue import NAMES, NUMBERS
from detectors.learning.learner import Learner
from detectors.models.catalogue import freeze, made_of, new_model
from detectors.models.river.classifier import RiverClassifier
from detectors.models.river.trial import refusals
from detectors.policy.policy import Policy
from detectors.policy.sections import RiverPolicy
from detectors.profiles.results import TrainingEvent
from tests.kit.community import given, lesson_of, point_of, separable
from tests.kit.streams import policy

FOREST = {"n_estimators": 3, "max_nodes": 60}
CLASSES: dict[str, dict[str, Any]] = {
    "naive_bayes.GaussianNB": {},
    "linear_model.LogisticRegression": {},
    "linear_model.PAClassifier": {},
    "linear_model.SoftmaxRegression": {},
    "tree.HoeffdingTreeClassifier": {"grace_period": 20},
    "tree.HoeffdingAdaptiveTreeClassifier": {"grace_period": 20},
    "forest.AMFClassifier": FOREST,
    "forest.ARFClassifier": {"n_models": 2, "grace_period": 20},
    "ensemble.BaggingClassifier": {"model": {"river": "naive_bayes.GaussianNB"}, "n_models": 2},
}
"""Classes of several families, with parameters that keep the tests short."""
PUBLISHED = ["learnt", "parameters", "river", "river_version", "scale", "stopped"]


def rules(river: str, parameters: dict[str, Any] | None = None, **more: Any) -> Policy:
    """A policy with a River model called `theirs` as challenger."""
    learning = {"challengers": ["theirs"], "min_positives": 5}
    return policy(learning=learning, models={"theirs": {"river": river, "parameters": parameters or {}, **more}})


def learner_of(river: str, parameters: dict[str, Any] | None = None, **more: Any) -> Learner:
    """An untaught learner of a River model."""
    made = rules(river, parameters, **more)
    return Learner("theirs", made.learning_of("theirs"), model=lambda: new_model("theirs", made))


def lessons(number: int, seed: int = 3, first: int = 0) -> list[TrainingEvent]:
    """Training events with one example each, which one feature separates."""
    rng = random.Random(seed)
    return [lesson_of(first + place, *separable(rng, place)) for place in range(number)]


def scores_of(learner: Learner, seed: int = 8, points: int = 60) -> bytes:
    """What a version made now says of seeded points."""
    vectors = [separable(random.Random(seed + number), number)[0] for number in range(points)]
    return freeze(learner.version(), learner.trained()).probabilities(matrix_from(vectors)).tobytes()


@pytest.mark.parametrize("river", CLASSES)
def test_a_restored_model_goes_on_to_the_same_scores(river: str) -> None:
    """From plain bytes, as a recovery store holds them, and through further learning, to the last bit."""
    learner, twin = learner_of(river, CLASSES[river]), learner_of(river, CLASSES[river])
    learner.take(lessons(150))
    state = msgpack.packb(learner.state())
    twin.restore(msgpack.unpackb(state, strict_map_key=False))
    assert scores_of(twin) == scores_of(learner)
    for one in (learner, twin):
        one.take(lessons(80, seed=5, first=150))
    assert scores_of(twin) == scores_of(learner)
    assert twin.version() == learner.version()


@pytest.mark.parametrize("river", CLASSES)
def test_a_model_learns_the_same_in_whatever_batches(river: str) -> None:
    """The versions and their scores are those of one event at a time."""
    whole, single = learner_of(river, CLASSES[river]), learner_of(river, CLASSES[river])
    whole.take(lessons(120))
    for lesson in lessons(120):
        single.take([lesson])
    assert single.version() == whole.version()
    assert scores_of(single) == scores_of(whole)


@pytest.mark.parametrize("river", CLASSES)
def test_a_version_scores_as_it_did_when_it_was_published(river: str) -> None:
    """What the model learns afterwards does not reach it, and scoring changes nothing."""
    learner = learner_of(river, CLASSES[river])
    learner.take(lessons(100))
    version, trained = learner.version(), learner.trained()
    vectors = matrix_from([separable(random.Random(number), number)[0] for number in range(40)])
    first = freeze(version, trained).probabilities(vectors)
    learner.take(lessons(50, seed=4, first=100))
    again = freeze(version, trained).probabilities(vectors[::-1])[::-1]
    assert again.tobytes() == first.tobytes()
    assert np.isfinite(first).any()
    assert ((first >= 0) & (first <= 1))[np.isfinite(first)].all()


def test_it_is_the_pipeline_that_river_would_run() -> None:
    """A scaler and a classifier, told the features that are there, the label and the weight, one after the other."""
    made = rules("tree.HoeffdingTreeClassifier", {"grace_period": 20}, scale=True)
    learner = Learner("theirs", made.learning_of("theirs"), model=lambda: new_model("theirs", made))
    scaler, classifier = preprocessing.StandardScaler(), tree.HoeffdingTreeClassifier(grace_period=20)
    for lesson in lessons(200):
        learner.take([lesson])
        row = given(lesson.examples[0].vector)
        features = {name: row[NAMES.index(name)] for name in NUMBERS if not isnan(row[NAMES.index(name)])}
        scaler.learn_one(features)
        weight = made.learning.positive_weight if lesson.examples[0].label else 1.0
        classifier.learn_one(scaler.transform_one(features), lesson.examples[0].label, w=weight)
    found = freeze(learner.version(), learner.trained())
    for number in range(30):
        vector = separable(random.Random(number), number)[0]
        row = given(vector)
        features = {name: row[NAMES.index(name)] for name in NUMBERS if not isnan(row[NAMES.index(name)])}
        share = min(max(classifier.predict_proba_one(scaler.transform_one(features))[True], 1e-12), 1 - 1e-12)
        expected = min(share / (1 - share) / made.learning.positive_weight, 1.0)
        assert found.probabilities(matrix_from([vector]))[0] == pytest.approx(expected, rel=1e-9)


def test_a_published_version_says_what_was_trained_and_holds_no_state() -> None:
    """Class, parameters, counts and a hash of what was learnt; other examples make another hash."""
    learner, other = learner_of("naive_bayes.GaussianNB"), learner_of("naive_bayes.GaussianNB")
    learner.take(lessons(100))
    other.take(lessons(100, seed=4))
    version = learner.version()
    state = orjson.loads(version.state)["model"]
    assert sorted(state) == PUBLISHED
    assert (state["river"], state["parameters"], version.family) == ("naive_bayes.GaussianNB", {}, "river")
    assert len(version.state) < 500
    assert orjson.loads(other.version().state)["model"]["learnt"] != state["learnt"]
    with pytest.raises(ValueError, match=r"says what was trained and holds no model"):
        freeze(version)


def test_reasons_are_what_the_score_loses_without_each_feature() -> None:
    """In log-odds, for the features that are there."""
    learner = learner_of("linear_model.LogisticRegression", scale=True)
    learner.take(lessons(150))
    frozen = freeze(learner.version(), learner.trained())
    vector = separable(random.Random(2), 2)[0]
    found = frozen.decompose(vector, "somebody")
    assert found is not None
    assert found.start + sum(found.contributions.values()) == pytest.approx(found.log_odds, abs=1e-9)
    reasons = frozen.explain(point_of(vector), 5)
    assert len(reasons) == 5
    for reason in reasons:
        place = NAMES.index(reason.feature)
        assert (reason.detector, reason.value) == ("theirs", vector[place])
        without = vector_from(nan if at == place else value for at, value in enumerate(vector))
        whole, rest = frozen.probabilities(matrix_from([vector, without]))  # odds divided by the same weight
        assert max(whole, rest) < 1.0
        assert reason.contribution == pytest.approx(log(whole / rest), rel=1e-6)
    assert frozen.exemplars(point_of(vector), 3) == ()


def test_weights_reach_a_class_that_takes_them_and_are_repetitions_for_another() -> None:
    """A class weight is for the former only; what is taken back stays learnt."""
    weighing, counting = (new_model("theirs", rules(river)) for river in (*CLASSES,)[3:5][::-1])
    assert (weighing.class_weight(5.0), counting.class_weight(5.0)) == (5.0, 1.0)
    (lesson,) = lessons(1)
    example = lesson.examples[0]
    thrice, once = (new_model("theirs", rules("naive_bayes.GaussianNB")) for _ in range(2))
    thrice.learn_one(given(example.vector), example._replace(weight=3.2))
    for _ in range(3):
        once.learn_one(given(example.vector), example)
    assert thrice.dump()["data"] == once.dump()["data"]
    thrice.learn_one(given(example.vector), example._replace(weight=-3.2))
    assert thrice.dump()["data"] == once.dump()["data"]


def test_a_model_that_has_grown_too_large_learns_no_further_and_says_so() -> None:
    """From its next version on, whatever the batches; it keeps scoring, and remembers that after a restart."""
    learner = learner_of("forest.AMFClassifier", max_bytes=20_000)
    learner.take(lessons(150))
    version = learner.version()
    assert "more than max_bytes" in learner.stopped
    assert orjson.loads(version.state)["model"]["stopped"] == learner.stopped
    before = scores_of(learner)
    learner.take(lessons(50, seed=4, first=150))
    assert scores_of(learner) == before
    twin = learner_of("forest.AMFClassifier", max_bytes=20_000)
    twin.restore(learner.state())
    assert twin.stopped == learner.stopped


def test_a_published_model_can_be_sent_to_another_process() -> None:
    """As the engine sends it between the processes of a cluster."""
    learner = learner_of("naive_bayes.GaussianNB")
    learner.take(lessons(50))
    version, trained = learner.version(), learner.trained()
    vectors = matrix_from([separable(random.Random(number), number)[0] for number in range(20)])
    sent = pickle.loads(pickle.dumps(trained))  # noqa: S301 - its own bytes
    assert (
        freeze(version, sent).probabilities(vectors).tobytes()
        == freeze(version, trained).probabilities(vectors).tobytes()
    )


def test_the_state_of_another_river_is_refused_in_a_sentence() -> None:
    """Its classes may have other attributes."""
    model = RiverClassifier(RiverPolicy(river="naive_bayes.GaussianNB"))
    with pytest.raises(StateVersionError, match=r"was written with River 0.1.0, and this is River"):
        model.load({**model.dump(), "river_version": "0.1.0"})


class Odd(base.Classifier):
    """A class of River's that does one thing wrong."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.seen = 0
        self.held: Any = (number for number in ()) if fault == "generator" else None

    def learn_one(self, x: dict[str, float], y: bool) -> None:  # noqa: ARG002
        """Count the examples."""
        if self.fault == "learning" and len(x) < len(NUMBERS):
            raise KeyError("a feature")
        self.seen += 1

    def predict_proba_one(self, x: dict[str, float]) -> dict[bool, float]:  # noqa: ARG002
        """Give a share of 0.25."""
        if self.fault == "silent":
            raise NotImplementedError
        self.seen += self.fault == "counting"
        return {} if self.fault == "nothing" else {True: 0.25 + self.seen / 1e6, False: 0.75}

    def __deepcopy__(self, _memo: Any) -> Odd:
        twin = Odd(self.fault)
        twin.seen = self.seen
        return twin


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> None:
    """`river.odd.Odd`, as if it came with River."""
    module = ModuleType("river.odd")
    monkeypatch.setattr(Odd, "__module__", "river.odd")
    module.Odd = Odd  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "river.odd", module)


REFUSED = {
    "": (None, None),
    "learning": ("cannot learn forewarn's examples (River failed (KeyError))", "cannot learn"),
    "silent": ("gives no probabilities (NotImplementedError)", "gives no probabilities"),
    "nothing": ("gives no probabilities", "gives no probabilities"),
    "counting": ("changes when it scores", "changes when it scores"),
    "generator": (None, "cannot be restored after a restart, because it holds cannot pickle 'generator' object"),
}


@pytest.mark.usefixtures("odd")
@pytest.mark.parametrize("fault", REFUSED)
def test_a_class_that_cannot_run_is_refused_in_a_sentence(fault: str) -> None:
    """In a replay and live; one that cannot be restored is refused live only."""
    made = rules("odd.Odd", {"fault": fault})
    for live, expected in zip((False, True), REFUSED[fault], strict=True):
        found = refusals(made, live=live)
        assert len(found) == (expected is not None)
        if expected is not None:
            assert found[0].startswith(f"models.theirs: river.odd.Odd {expected}")
            assert found[0].endswith(".")


@pytest.mark.usefixtures("odd")
def test_a_model_that_cannot_be_restored_is_copied_for_each_version() -> None:
    """What it learns afterwards does not reach a version."""
    learner = learner_of("odd.Odd", {"fault": "generator"})
    learner.take(lessons(50))
    version, trained = learner.version(), learner.trained()
    before = scores_of(learner)
    learner.take(lessons(20, first=50))
    vectors = [separable(random.Random(8 + number), number)[0] for number in range(60)]
    assert freeze(version, trained).probabilities(matrix_from(vectors)).tobytes() == before != scores_of(learner)


def test_a_class_that_keeps_examples_of_users_is_refused_live() -> None:
    """An erasure could not find a user among its vectors."""
    window = {"engine": {"river": "neighbors.LazySearch", "parameters": {"window_size": 50}}}
    assert refusals(rules("neighbors.KNNClassifier", window), live=False) == []
    (sentence,) = refusals(rules("neighbors.KNNClassifier", window), live=True)
    assert "keeps examples of users, from which an erasure could not remove anybody" in sentence


def test_a_river_champion_is_refused_live() -> None:
    """And may decide in a replay."""
    learning = {"champion": "theirs", "challengers": ["bayes"]}
    made = policy(learning=learning, models={"theirs": {"river": "naive_bayes.GaussianNB"}})
    assert refusals(made, live=False) == []
    (sentence,) = refusals(made, live=True)
    assert sentence.startswith("theirs runs in River, and no River model decides in a live run")


def test_a_store_is_told_what_a_river_model_is_made_of() -> None:
    """Another class or other parameters under the same name would go on from a state that is not theirs."""
    made = rules("forest.AMFClassifier", FOREST, publish_every="1h")
    assert made_of(made) == {"theirs": {"river": "forest.AMFClassifier", "parameters": FOREST, "scale": False}}


def test_a_policy_without_river_models_keeps_its_version() -> None:
    """So that no risk event of before gets another id; one with such a model has another."""
    assert "models" in rules("naive_bayes.GaussianNB").model_dump()
    plain = policy(learning={"challengers": ["bayes"]})
    assert plain.version == policy(learning={"challengers": ["bayes"]}, models={}).version
    river = policy(learning={"challengers": ["bayes"]}, models={"theirs": {"river": "naive_bayes.GaussianNB"}})
    assert river.version != plain.version
    assert river.learning_of("bayes") is river.learning
    assert river.learning_of("theirs").keep_versions == 8
