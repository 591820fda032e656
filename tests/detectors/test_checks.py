"""The conformance suite: every detector obeys every law, and every law catches a detector that breaks it."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from collections.abc import Callable
from math import isnan, nan
from typing import Any

import numpy as np
import pytest

import detectors
from detectors import checks as laws
from detectors.base.points import DecisionPoint, Example, Score
from detectors.base.vectors import Matrix, Row
from detectors.checks import LAWS, CheckFailed, Make, ModelUnderTest, candidates
from detectors.features.catalogue import NAMES
from detectors.learning.learner import Learner
from detectors.models.naive_bayes.bayes import Bayes
from detectors.models.naive_bayes.export import gaussian_nb_of
from detectors.policy.sections import LearningPolicy
from schemas.records.decisions import Reason

CANDIDATES = candidates()
MODULES = sorted(module.name for module in pkgutil.walk_packages(detectors.__path__, "detectors."))
REPORTS = NAMES.index("report_count_24h")
EXPOSURES = NAMES.index("exposure_count_7d")


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("make", CANDIDATES.values(), ids=CANDIDATES)
def test_every_detector_obeys_every_law(law: Callable[[Make], None], make: Make) -> None:
    """Rules and models of every family."""
    law(make)


class Sound:
    """The simplest detector that learns and is lawful: the share of positives, once it has seen ten examples."""

    name = "sound"

    def __init__(self) -> None:
        self.state: dict[str, Any] = {"seen": 0, "positives": 0}

    def score_one(self, point: DecisionPoint) -> Score:
        value = float(self.score_many(np.array([point.vector]))[0])
        if np.isnan(value):
            return Score(self.name, None)
        return Score(self.name, value, self.reasons(point))

    def reasons(self, point: DecisionPoint) -> tuple[Reason, ...]:
        counter = point.vector[REPORTS]
        if not counter > 0:
            return ()
        return (Reason(detector=self.name, feature=NAMES[REPORTS], value=counter, contribution=None),)

    def score_many(self, matrix: Matrix) -> Matrix:
        if self.state["seen"] < 10:
            return np.full(len(matrix), nan)
        return np.full(len(matrix), self.state["positives"] / self.state["seen"])

    def learn_one(self, example: Example) -> None:
        self.state["seen"] += example.weight
        self.state["positives"] += example.weight * example.label

    def dump(self) -> Any:
        return dict(self.state)

    def load(self, state: Any) -> None:
        self.state = dict(state)


class Counts(Sound):
    """Counts how often it is asked."""

    def score_many(self, matrix: Matrix) -> Matrix:
        self.state["asked"] = self.state.get("asked", 0) + 1
        return super().score_many(matrix)


class Wavers(Sound):
    """Says something else every time, and hides that from its dump."""

    asked = 0

    def score_many(self, matrix: Matrix) -> Matrix:
        self.asked += 1
        return super().score_many(matrix) / self.asked


class Scribbles(Sound):
    """Fills in absent features where they stand."""

    def score_many(self, matrix: Matrix) -> Matrix:
        matrix[np.isnan(matrix)] = 0.0
        return super().score_many(matrix)


class ScribblesOnPoints(Sound):
    """Fills in absent features in the very vector that will be learnt."""

    def score_one(self, point: DecisionPoint) -> Score:
        for column, value in enumerate(point.vector):
            point.vector[column] = 0.0 if isnan(value) else value
        return super().score_one(point)


class ScribblesOnExamples(Sound):
    """Scales an example in place."""

    def learn_one(self, example: Example) -> None:
        super().learn_one(example)
        example.vector[0] = -1.0


class Guesses(Sound):
    """Says a half before it knows anything."""

    def score_many(self, matrix: Matrix) -> Matrix:
        scores = super().score_many(matrix)
        return np.where(np.isnan(scores), 0.5, scores)


class GuessesOnSight(Sound):
    """Says nothing of an empty vector, but a half of any other before it has learnt."""

    def score_many(self, matrix: Matrix) -> Matrix:
        scores = super().score_many(matrix)
        return np.where(np.isnan(scores) & ~np.isnan(matrix).all(axis=1), 0.5, scores)


class Hoards(Sound):
    """Keeps every user and time it has ever seen."""

    def learn_one(self, example: Example) -> None:
        super().learn_one(example)
        self.state[str(example.known_at)] = 0


class Creeps(Sound):
    """Stays small, but keeps a byte of every example."""

    def learn_one(self, example: Example) -> None:
        super().learn_one(example)
        self.state["trail"] = self.state.get("trail", "") + "."


class Forgets(Sound):
    """Does not dump all it knows."""

    def load(self, state: Any) -> None:
        self.state = {"seen": state["seen"], "positives": 0}


class ForgetsInSecret(Sound):
    """Learns faster the more it has seen, and does not dump how much that is."""

    def __init__(self) -> None:
        super().__init__()
        self.fresh = 0

    def learn_one(self, example: Example) -> None:
        super().learn_one(example)
        self.fresh += 1
        self.state["positives"] += self.fresh > 100


class Poisoned(Sound):
    """Adds up a feature without looking whether it is there."""

    def learn_one(self, example: Example) -> None:
        super().learn_one(example)
        self.state["sum"] = self.state.get("sum", 0.0) + example.vector[REPORTS]


class Drowned(Sound):
    """Divides by a feature that may be absent, so that its score is no probability."""

    def score_one(self, point: DecisionPoint) -> Score:
        score = super().score_one(point)
        return score if score.probability is None else score._replace(probability=score.probability * point.vector[0])


class Silenced(Sound):
    """Never scores again once it has seen an empty vector."""

    def learn_one(self, example: Example) -> None:
        super().learn_one(example)
        self.state["hurt"] = self.state.get("hurt", False) or all(map(isnan, example.vector))

    def score_many(self, matrix: Matrix) -> Matrix:
        return np.full(len(matrix), nan) if self.state.get("hurt") else super().score_many(matrix)


class Invents(Sound):
    """Gives a reason nobody declared."""

    def reasons(self, point: DecisionPoint) -> tuple[Reason, ...]:
        return (Reason(detector=self.name, feature="bad_vibes", value=float(point.events), contribution=None),)


class Massages(Sound):
    """Shows the squashed counter instead of the raw one."""

    def reasons(self, point: DecisionPoint) -> tuple[Reason, ...]:
        return tuple(r.model_copy(update={"value": float(np.log1p(r.value))}) for r in super().reasons(point))


class Impersonates(Sound):
    """Gives reasons in another detector's name."""

    def reasons(self, point: DecisionPoint) -> tuple[Reason, ...]:
        return tuple(reason.model_copy(update={"detector": "velocity"}) for reason in super().reasons(point))


class LeansOver(Sound):
    """Scales by what stands in the other rows."""

    def score_many(self, matrix: Matrix) -> Matrix:
        return super().score_many(matrix) * (1 - 1e-15 * (len(matrix) > 1))


class TwoFaced(Sound):
    """Says one thing to one, and another to many."""

    def score_one(self, point: DecisionPoint) -> Score:
        score = super().score_one(point)
        return score if score.probability is None else score._replace(probability=score.probability / 2)


class Weightless(Sound):
    """Counts every example once."""

    def learn_one(self, example: Example) -> None:
        super().learn_one(example._replace(weight=1.0))


class Unforgiving(Sound):
    """Learns what it should take back."""

    def learn_one(self, example: Example) -> None:
        super().learn_one(example._replace(weight=abs(example.weight)))


class Miscounts(Sound):
    """Counts what is taken back as learnt, though it scores right."""

    def learn_one(self, example: Example) -> None:
        super().learn_one(example)
        self.state["examples"] = self.state.get("examples", 0) + 1

    def dump(self) -> Any:
        return {"examples": 0, **self.state}


class Startled(Sound):
    """Takes the first user who is shown something for all that there is to know of such users."""

    def learn_one(self, example: Example) -> None:
        super().learn_one(example)
        if example.vector[EXPOSURES] > 0:
            self.state["shown"] = example.label

    def score_many(self, matrix: Matrix) -> Matrix:
        scores = super().score_many(matrix)
        shown = 0.9 if self.state.get("shown") else 0.01
        return np.where((matrix[:, EXPOSURES] > 0) & ("shown" in self.state), shown, scores)


BROKEN: list[tuple[Callable[[Make], None], type[Sound], str]] = [
    (laws.scoring_leaves_the_state_unchanged, Counts, "changes its state when it scores"),
    (laws.scoring_leaves_the_state_unchanged, Wavers, "scores a point twice differently"),
    (laws.inputs_are_left_as_they_were, Scribbles, "writes on the matrix"),
    (laws.inputs_are_left_as_they_were, ScribblesOnPoints, "writes on the vector"),
    (laws.inputs_are_left_as_they_were, ScribblesOnExamples, "writes on the vector"),
    (laws.cold_start_is_insufficient_history, Guesses, "scores 0.5 where every feature is absent"),
    (laws.cold_start_is_insufficient_history, GuessesOnSight, "scores before it has learnt anything"),
    (laws.memory_is_bounded, Hoards, "after 10,000 examples"),
    (laws.memory_is_bounded, Creeps, "keeps growing"),
    (laws.a_loaded_dump_goes_on_identically, Forgets, "is not what it was"),
    (laws.a_loaded_dump_goes_on_identically, ForgetsInSecret, "scores differently after it was dumped"),
    (laws.absent_features_do_no_lasting_harm, Poisoned, "has learnt nan from absent features"),
    (laws.absent_features_do_no_lasting_harm, Drowned, "which is no probability"),
    (laws.absent_features_do_no_lasting_harm, Silenced, "no longer scores"),
    (laws.reasons_name_declared_features_and_their_raw_counters, Invents, "'bad_vibes' as a reason"),
    (laws.reasons_name_declared_features_and_their_raw_counters, Massages, "and it was served as"),
    (laws.reasons_name_declared_features_and_their_raw_counters, Impersonates, "in the name of velocity"),
    (laws.rows_are_scored_on_their_own, LeansOver, "differently with other rows beside it"),
    (laws.rows_are_scored_on_their_own, TwoFaced, "alone and"),
    (laws.an_example_teaches_as_often_as_it_weighs, Weightless, "with negatives of weight 3"),
    (laws.what_is_taken_back_counts_no_more, Unforgiving, "once examples are taken back"),
    (laws.what_is_taken_back_counts_no_more, Miscounts, "does not count back"),
    (laws.a_new_feature_moves_no_score_far, Startled, "times by one example of a feature that is new"),
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_a_lawful_detector_from_outside_passes_every_law(law: Callable[[Make], None]) -> None:
    """What the broken detectors below are made of breaks nothing by itself."""
    law(Sound)


@pytest.mark.parametrize(("law", "broken", "sentence"), BROKEN, ids=[broken.__name__ for _, broken, _ in BROKEN])
def test_a_broken_detector_breaks_its_law(law: Callable[[Make], None], broken: type[Sound], sentence: str) -> None:
    """Each law sees the fault it is there for, and names the detector in its sentence."""
    with pytest.raises(CheckFailed, match=f"^sound .*{sentence}"):
        law(broken)


def test_every_law_has_a_detector_that_breaks_it() -> None:
    """No law stands that could not fail."""
    assert {law for law, _, _ in BROKEN} == set(LAWS)


class AsItComes(Bayes):
    """River's own model, which takes a NaN for a number, and what it makes of them."""

    def __init__(self) -> None:
        super().__init__()
        self._river: Any = gaussian_nb_of(Bayes())

    def learn_one(self, row: Row, example: Example) -> None:
        self._river.learn_one(dict(zip(NAMES, row, strict=True)), example.label)

    def dump(self) -> dict[str, Any]:
        return {"means": [one.mu for by_name in self._river.gaussians.values() for one in by_name.values()]}


class Unguarded(ModelUnderTest):
    """A model without a guard against absent features."""

    def __init__(self) -> None:
        super().__init__("bayes", LearningPolicy())
        self._learner = Learner("bayes", LearningPolicy(), model=AsItComes)


def test_a_model_without_the_guard_against_nan_is_caught() -> None:
    """One NaN poisons River's model for good, and the law sees it in what was learnt."""
    with pytest.raises(CheckFailed, match=r"^bayes has learnt nan from absent features"):
        laws.absent_features_do_no_lasting_harm(Unguarded)


@pytest.mark.parametrize("name", ["detectors", *MODULES])
def test_the_examples_in_the_docstrings_are_true(name: str) -> None:
    """Every doctest of every module of detectors."""
    results = doctest.testmod(importlib.import_module(name))
    assert results.failed == 0


def test_some_docstrings_do_have_examples() -> None:
    """The doctests above are not an empty promise."""
    found = [doctest.testmod(importlib.import_module(name)).attempted for name in MODULES]
    assert sum(count > 0 for count in found) >= 3
