"""Counterfactual scores: what a model would have said of a point with one fact changed and all others as they were."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import isnan, nan
from typing import Literal, NamedTuple

from detectors.base.vectors import Vector, matrix_from, vector_from
from detectors.features.catalogue import CODES, NAMES
from detectors.models.version import FrozenModel

Substitute = Literal["unknown", "zero", "typical"]
"""Replacement for a feature's value: none, zero, or its median in the run."""


class Change(NamedTuple):
    """Features that are all given a substitute, the value they get (None for unknown), and the probability then."""

    features: tuple[str, ...]
    substitute: Substitute
    value: float | None
    probability: float


def changes(
    model: FrozenModel,
    vector: Vector,
    user: str,
    typical: Mapping[str, float],
    together: Collection[tuple[str, ...]] = (),
) -> tuple[list[Change], list[Change]]:
    """Return the scores after each single change, and after the features in each of `together` became unknown.

    Only features with a value are changed. A time since an event does not become zero, which would mean that the event
    happened just then, and a code becomes neither zero nor typical. A change after which the model gives no score is
    left out.
    """
    present = [name for name, value in zip(NAMES, vector, strict=True) if not isnan(value)]
    wanted: list[tuple[tuple[str, ...], Substitute, float]] = []
    for name in present:
        value = vector[NAMES.index(name)]
        wanted.append(((name,), "unknown", nan))
        if name in CODES:
            continue
        if value and not name.endswith("_since"):
            wanted.append(((name,), "zero", 0.0))
        if typical.get(name, value) != value and not (typical[name] == 0.0 and not name.endswith("_since")):
            wanted.append(((name,), "typical", typical[name]))
    single = len(wanted)
    groups = [tuple(name for name in group if name in present) for group in together]
    wanted += [(group, "unknown", nan) for group in groups if group]
    if not wanted:
        return [], []
    vectors = []
    for features, _, value in wanted:
        values = vector.tolist()
        for name in features:
            values[NAMES.index(name)] = value
        vectors.append(vector_from(values))
    scores = model.probabilities(matrix_from(vectors), [user] * len(vectors)).tolist()
    made = [
        None if isnan(score) else Change(features, substitute, None if isnan(value) else value, score)
        for (features, substitute, value), score in zip(wanted, scores, strict=True)
    ]
    return [one for one in made[:single] if one is not None], [one for one in made[single:] if one is not None]
