"""Export of the champion to River. River is imported here only: it costs every command more than all the rest."""

from __future__ import annotations

from typing import Any

from river import base, compose, linear_model, optim, preprocessing
from river.utils import VectorDict

from detectors.models.adagrad import STEEPEST, bounded
from detectors.models.linear.logistic import Logistic


class Bounded(base.Transformer):
    """A River transformer that clips every standardised value to at most `FARTHEST` from zero."""

    def transform_one(self, x: dict[Any, float]) -> dict[Any, float]:
        """Return the features with clipped values."""
        return {name: bounded(value) for name, value in x.items()}


def pipeline_of(model: Logistic) -> compose.Pipeline:
    """Return an equivalent pipeline of River's, which would continue to learn identically."""
    state = model.dump()
    names = state["features"]
    scaler: Any = preprocessing.StandardScaler()
    scaler.counts.update(dict(zip(names, state["counts"], strict=True)))
    scaler.means.update(dict(zip(names, state["means"], strict=True)))
    scaler.vars.update(dict(zip(names, state["variances"], strict=True)))
    regression = linear_model.LogisticRegression(
        optimizer=optim.AdaGrad(model.learning_rate),
        l2=model.l2,
        intercept_lr=optim.schedulers.InverseScaling(model.learning_rate, power=0.5),
        clip_gradient=STEEPEST,
    )
    regression._weights = VectorDict(dict(zip(names, state["weights"], strict=True)))  # noqa: SLF001 - River has no public setter
    regression.optimizer.g2.update(dict(zip(names, state["gradients"], strict=True)))
    regression.intercept = state["intercept"]
    regression.optimizer.n_iterations = state["steps"]
    return compose.Pipeline(scaler, Bounded(), regression)
