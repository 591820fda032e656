"""The Bayes model against River's own `GaussianNB`: whatever is learnt, every number is the same to the last bit."""

from __future__ import annotations

from math import nan
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from river import proba

from detectors.base.points import Example
from detectors.base.vectors import Row, vector_from
from detectors.features.catalogue import NAMES
from detectors.models.naive_bayes.bayes import Bayes
from detectors.models.naive_bayes.export import gaussian_nb_of

VALUES = st.floats(-12.0, 12.0) | st.sampled_from([0.0, -0.0, 1.0, 1e-300, 1e6, -3e9])
FEATURES = st.dictionaries(st.sampled_from(NAMES[:6]), VALUES)
EXAMPLES = st.tuples(FEATURES, st.booleans(), st.sampled_from([1.0, 1.0, 1.0, 3.0, 2.5, -1.0, -3.0]))
NOTHING = vector_from([0.0])


def row(features: dict[str, float]) -> Row:
    """What the model is given."""
    return [features.get(name, nan) for name in NAMES]


def example(label: bool, weight: float) -> Example:
    return Example("ann", 0, NOTHING, label, weight)


def rivers(model: Any) -> dict[str, Any]:
    """All that River's model knows, as the model is dumped."""
    names = sorted({name for gaussians in model.gaussians.values() for name in gaussians})
    state: dict[str, Any] = {"features": names}
    for label, key in ((False, "negative"), (True, "positive")):
        gaussians = [model.gaussians[label][name] for name in names]
        state[f"{key}_count"] = float(model.class_counts[label])
        state[f"{key}_counts"] = [gaussian.n_samples for gaussian in gaussians]
        state[f"{key}_means"] = [gaussian.mu for gaussian in gaussians]
        state[f"{key}_squares"] = [gaussian._var._S for gaussian in gaussians]
    return state


def teach(model: Any, features: dict[str, float], label: bool, weight: float) -> None:
    """As River's parts are taught by weight; it reverts what is taken back, to nothing where no more is known."""
    model.class_counts[label] = max(model.class_counts[label] + weight, 0.0)
    for name, value in features.items():
        gaussian = model.gaussians[label][name]
        if weight >= 0:
            gaussian.update(value, weight)
        elif gaussian.n_samples > -weight:
            gaussian.revert(value, -weight)
        else:
            model.gaussians[label][name] = proba.Gaussian()


@given(examples=st.lists(EXAMPLES, max_size=40), kept=st.integers(0, 40), handed=st.integers(0, 40))
def test_every_number_is_rivers_after_every_example(
    examples: list[tuple[dict[str, float], bool, float]], kept: int, handed: int
) -> None:
    """Features that come late, that are absent, that are taken back; from a dump on, and where River goes on."""
    model: Any = Bayes()
    river: Any = gaussian_nb_of(model)
    for number, (features, label, weight) in enumerate(examples):
        if number == kept:
            model, dump = Bayes(), model.dump()
            model.load(dump)
        if number == handed:
            river = gaussian_nb_of(model)
        model.learn_one(row(features), example(label, weight))
        teach(river, features, label, weight)
        dump = {key: value for key, value in model.dump().items() if not key.endswith("_fourths")}
        assert repr(dump) == repr(rivers(river))
