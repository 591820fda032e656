"""The logistic model against River's own pipeline: whatever is learnt, every number is the same.

It is so to the last bit where River takes roots and exponentials that every processor computes alike, as the model
does. With those of the C library, which River takes, it is so to nine places.
"""

from __future__ import annotations

from math import nan, sqrt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import optim, preprocessing

from detectors.base.elementary import exp
from detectors.base.points import Example
from detectors.base.vectors import Row, vector_from
from detectors.features.catalogue import NAMES
from detectors.models.linear.export import pipeline_of
from detectors.models.linear.logistic import Logistic


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


def standardised(pipeline: Any, features: dict[str, float]) -> dict[str, float]:
    """What River's regression is given."""
    scaled: dict[str, float] = pipeline["Bounded"].transform_one(pipeline["StandardScaler"].transform_one(features))
    return scaled


class RootScaler(preprocessing.StandardScaler):  # type: ignore[misc]  # River's scaler has no types
    """River's, with `sqrt` for a power of 1/2."""

    def transform_one(self, x: dict[str, float]) -> dict[str, float]:
        means, variances = self.means, self.vars
        return {i: (xi - means[i]) / sqrt(variances[i]) if variances[i] else 0.0 for i, xi in x.items()}


class RootAdaGrad(optim.AdaGrad):
    """River's, with `sqrt` for a power of 1/2, and a product for one of 2."""

    def _step_with_dict(self, w: Any, g: Any) -> Any:
        for i, gi in g.items():
            self.g2[i] += gi * gi
            w[i] -= self.learning_rate / sqrt(self.g2[i] + self.eps) * gi
        return w


class RootScaling(optim.schedulers.InverseScaling):
    """River's, with `sqrt` for a power of 1/2."""

    def get(self, t: int) -> float:
        return self.learning_rate / sqrt(t + 1)


class FixedLog(optim.losses.Log):
    """River's, with the exponential that every processor computes alike."""

    def gradient(self, y_true: Any, y_pred: Any) -> Any:
        y_true = 1 if y_true else -1
        margin = y_pred * y_true
        if margin > 18.0:
            return exp(-margin) * -y_true
        if margin < -18.0:
            return -y_true
        return -y_true / (exp(margin) + 1.0)


def fixed(pipeline: Any) -> Any:
    """River's pipeline with steps that every processor computes alike, and all that it has learnt."""
    regression = pipeline["LogisticRegression"]
    pipeline["StandardScaler"].__class__ = RootScaler
    regression.optimizer.__class__ = RootAdaGrad
    regression.intercept_lr.__class__ = RootScaling
    regression.loss = FixedLog()
    return pipeline


def teach(pipeline: Any, features: dict[str, float], label: bool, weight: float) -> None:
    """As River is taught; what is taken back is not shown to the scaler again."""
    if weight < 0:
        pipeline["LogisticRegression"].learn_one(standardised(pipeline, features), label, w=weight)
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
    pipeline = fixed(pipeline_of(model))
    rivers_own = pipeline_of(model)
    for number, (features, label, weight) in enumerate(examples):
        if number == kept:
            model, dump = Logistic(0.05, l2), model.dump()
            model.load(dump)
        model.learn_one(row(features), example(label, weight))
        teach(pipeline, features, label, weight)
        teach(rivers_own, features, label, weight)
        assert repr(model.dump()) == repr(rivers(pipeline))
        ours, theirs = model.dump(), rivers(rivers_own)
        assert ours["features"] == theirs["features"]
        for key in set(ours) - {"features"}:
            assert ours[key] == pytest.approx(theirs[key], rel=1e-9, abs=1e-12), key


def test_rivers_pipeline_goes_on_as_the_model_does() -> None:
    """What is taken to River learns there what the model would have learnt here."""
    model = Logistic(0.1)
    lessons = [({NAMES[0]: float(n % 7), NAMES[1]: float(n % 3)}, n % 7 > 4) for n in range(60)]
    for features, label in lessons[:30]:
        model.learn_one(row(features), example(label, 1.0))
    pipeline = fixed(pipeline_of(model))
    for features, label in lessons[30:]:
        model.learn_one(row(features), example(label, 1.0))
        teach(pipeline, features, label, 1.0)
    assert repr(model.dump()) == repr(rivers(pipeline))
    for features, _ in lessons:
        logit = pipeline["LogisticRegression"]._raw_dot_one(standardised(pipeline, features))
        assert model.score_one(row(features), example(label=True, weight=1.0)) == pytest.approx(logit, rel=1e-12)
