"""The logistic model against River's own pipeline: whatever is learnt, every number is the same to the last bit."""

from __future__ import annotations

from math import nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.contract import Example, Row, vector_from
from detectors.features.catalogue import NAMES
from detectors.models.logistic import Logistic


def in_order(features: dict[str, float]) -> dict[str, float]:
    """Features in the order of the catalogue, as River is given them."""
    return {name: features[name] for name in NAMES if name in features}


def row(features: dict[str, float]) -> Row:
    """What the model is given."""
    return [features.get(name, nan) for name in NAMES]


VALUES = st.floats(-12.0, 12.0) | st.sampled_from([0.0, -0.0, 1.0, 1e-300, 1e6, -3e9])
FEATURES = st.dictionaries(st.sampled_from(NAMES[:6]), VALUES).map(in_order)
EXAMPLES = st.tuples(FEATURES, st.booleans(), st.sampled_from([1.0, 1.0, 0.25, 7.5, 400.0, -1.0, -7.5]))
NOTHING = vector_from([0.0])


def rivers(pipeline: Any) -> dict[str, Any]:
    """All that River's pipeline knows, as the model is dumped."""
    scaler, regression = pipeline["StandardScaler"], pipeline["LogisticRegression"]
    names, weights = sorted(scaler.means), regression.weights
    return {
        "features": names,
        "counts": [scaler.counts[name] for name in names],
        "means": [scaler.means[name] for name in names],
        "variances": [scaler.vars[name] for name in names],
        "weights": [weights.get(name, 0.0) for name in names],
        "gradients": [regression.optimizer.g2[name] for name in names],
        "intercept": regression.intercept,
        "steps": regression.optimizer.n_iterations,
    }


def teach(pipeline: Any, features: dict[str, float], label: bool, weight: float) -> None:
    """As River is taught; what is taken back is not shown to the scaler again."""
    if weight < 0:
        scaled = pipeline["StandardScaler"].transform_one(features)
        pipeline["LogisticRegression"].learn_one(scaled, label, w=weight)
    else:
        pipeline.learn_one(features, label, w=weight)


def example(label: bool, weight: float) -> Example:
    return Example("ann", 0, NOTHING, label, weight)


@pytest.mark.parametrize("l2", [0.0, 0.01])
@given(examples=st.lists(EXAMPLES, max_size=40), kept=st.integers(0, 40))
def test_every_number_is_rivers_after_every_example(
    l2: float, examples: list[tuple[dict[str, float], bool, float]], kept: int
) -> None:
    """Features that come late, that are absent, that do not vary; and after going on from a dump."""
    model = Logistic(0.05, l2)
    pipeline = model.pipeline()
    for number, (features, label, weight) in enumerate(examples):
        if number == kept:
            model, dump = Logistic(0.05, l2), model.dump()
            model.load(dump)
        model.learn_one(row(features), example(label, weight))
        teach(pipeline, features, label, weight)
        assert repr(model.dump()) == repr(rivers(pipeline))


def test_rivers_pipeline_goes_on_as_the_model_does() -> None:
    """What is taken to River learns there what the model would have learnt here."""
    model = Logistic(0.1)
    lessons = [({NAMES[0]: float(n % 7), NAMES[1]: float(n % 3)}, n % 7 > 4) for n in range(60)]
    for features, label in lessons[:30]:
        model.learn_one(row(features), example(label, 1.0))
    pipeline = model.pipeline()
    for features, label in lessons[30:]:
        model.learn_one(row(features), example(label, 1.0))
        teach(pipeline, features, label, 1.0)
    assert repr(model.dump()) == repr(rivers(pipeline))
    for features, _ in lessons:
        logit = pipeline["LogisticRegression"]._raw_dot_one(pipeline["StandardScaler"].transform_one(features))
        assert model.score_one(row(features), example(label=True, weight=1.0)) == pytest.approx(logit, rel=1e-12)
