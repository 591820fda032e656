"""Variants: a model of another name that never reads some features, whatever it does."""

from __future__ import annotations

import random
from math import nan
from typing import Any

import numpy as np
import orjson
import pytest

from detectors.base.elementwise import symlog
from detectors.base.vectors import Vector, vector_from
from detectors.features.catalogue import NAMES, NUMBERS
from detectors.features.selection import EVERYTHING, QUANTITIES, FeatureSelection
from detectors.learning.learner import Learner
from detectors.models import catalogue
from detectors.models.catalogue import MODELS, freeze, made_of, new_model
from detectors.models.version import FrozenModel
from detectors.policy.policy import Policy
from detectors.policy.sections import VariantPolicy
from schemas.records.decisions import ModelVersion
from tests.kit.community import lesson_of, point_of, random_vector, separable
from tests.kit.streams import policy

IGNORE = ["report*", "strike_count"]
IGNORED = [name for name in NAMES if name.startswith("report") or name == "strike_count"]
NUMERIC = sorted(set(MODELS) - {"sequence"})


def without_reports(model: str) -> Policy:
    """A policy with a variant of a model."""
    learning = {"champion": "quiet", "min_positives": 5}
    return policy(learning=learning, variants={"quiet": {"model": model, "ignore": IGNORE}})


def with_ignored(vector: Vector, value: float) -> Vector:
    """The vector with every ignored feature at a value."""
    return vector_from(value if name in IGNORED else of for name, of in zip(NAMES, vector, strict=True))


def learnt(model: str, name: str = "quiet", ignored: float | None = None) -> Learner:
    """The variant, or the model itself, after examples in which the ignored features are as they are, or at a value."""
    rules, rng = without_reports(model), random.Random(3)
    learner = Learner(name, rules.learning, model=lambda: new_model(name, rules))
    examples = [separable(rng, number) for number in range(120)]
    lessons = [
        lesson_of(number, vector if ignored is None else with_ignored(vector, ignored), label)
        for number, (vector, label) in enumerate(examples)
    ]
    learner.take(lessons)
    return learner


def scored(frozen: FrozenModel, ignored: float) -> tuple[bytes, list[Any]]:
    """What a version says of seeded points with the ignored features at a value: scores, and reasons and exemplars."""
    rng = random.Random(8)
    vectors = [with_ignored(random_vector(rng), ignored) for _ in range(60)]
    told = [(frozen.explain(point_of(one), len(NAMES)), frozen.exemplars(point_of(one), 3)) for one in vectors]
    return frozen.probabilities(np.array(vectors)).tobytes(), told


@pytest.mark.parametrize("model", NUMERIC)
def test_a_variant_learns_and_says_the_same_whatever_it_ignores(model: str) -> None:
    """Not a bit of its version, scores, reasons and nearest exemplars depends on an ignored feature."""
    versions = [learnt(model, ignored=value).version() for value in (0.0, 7.0, nan)]
    assert versions[0].state == versions[1].state == versions[2].state
    frozen = freeze(versions[0])
    assert scored(frozen, 0.0) == scored(frozen, 5e6) == scored(frozen, nan)
    assert scored(freeze(learnt(model, model).version()), 0.0) != scored(freeze(learnt(model, model).version()), 9.0)


@pytest.mark.parametrize("model", NUMERIC)
def test_a_variant_is_the_model_on_vectors_without_what_it_ignores(model: str) -> None:
    """Nothing else is left out."""
    variant, itself = freeze(learnt(model).version()), freeze(learnt(model, model, ignored=nan).version())
    assert scored(variant, nan)[0] == scored(itself, nan)[0]
    assert not np.isnan(np.frombuffer(scored(variant, nan)[0])).any()


def test_a_version_says_what_it_reads_and_scores_alike_wherever_it_is_loaded() -> None:
    """Its state names the features, so that no policy is needed to score with it; a whole model's state does not."""
    version = learnt("bayes").version()
    document = orjson.loads(version.state)
    assert document["reads"] == [name for name in NUMBERS if name not in IGNORED]
    assert "reads" not in orjson.loads(learnt("bayes", "bayes").version().state)
    sent = ModelVersion.model_validate_json(version.model_dump_json())
    catalogue._frozen.cache_clear()
    assert scored(freeze(sent), 1.0) == scored(freeze(version), 2.0)
    assert sent.name == "quiet"


@pytest.mark.parametrize("model", NUMERIC)
def test_a_version_reads_only_what_it_says_whatever_its_state_holds(model: str) -> None:
    """A state that was learnt with a feature does not let it back in."""
    version = learnt(model, model).version()
    document = orjson.loads(version.state) | {"reads": [name for name in NUMBERS if name not in IGNORED]}
    narrowed = freeze(version.model_copy(update={"state": orjson.dumps(document).decode()}))
    assert scored(narrowed, 0.0) == scored(narrowed, 9.0)


def test_readings_keep_the_order_of_the_catalogue_and_the_codes_as_they_are() -> None:
    """Patterns are those of the shell, and letters count as they are written."""
    row = np.arange(1.0, len(NAMES) + 1)[None, :]
    whole = EVERYTHING.read(row)[0]
    assert whole[: len(NUMBERS)].tolist() == symlog(row[0, : len(NUMBERS)]).tolist()
    assert whole[len(NUMBERS) :].tolist() == row[0, len(NUMBERS) :].tolist()
    asked = VariantPolicy(model="logistic", ignore=("message_*", "*_24?", "REPORT*"))
    kept = FeatureSelection([name for name in NAMES if not asked.ignores(name)])
    wanted = [name for name in NAMES if not name.startswith("message_") and not name.endswith("_24h")]
    assert list(kept.names) == wanted
    assert kept.read(row)[0].tolist() == [whole[NAMES.index(name)] for name in wanted]
    assert FeatureSelection(NUMBERS).names == QUANTITIES.names


def test_a_store_is_told_what_the_variants_in_use_are_made_of() -> None:
    """Of models that a policy has no say in there is nothing to tell, nor of variants that nobody named."""
    rules = without_reports("bayes")
    assert made_of(rules) == {"quiet": {"model": "bayes", "ignore": IGNORE}}
    learning = rules.learning.model_copy(update={"champion": "logistic"})
    assert made_of(rules.model_copy(update={"learning": learning})) == {}
