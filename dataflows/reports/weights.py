"""The weights of a linear model on standardised features, read from a version's state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import orjson

from dataflows.reports.read import Values, Version

LINEAR = "logistic_regression"
"""The model family whose weights are the change in log-odds for one standard deviation more of a feature."""
MOST_VERSIONS = 160
"""More versions than this are thinned before they are drawn, because a picture has no room for more points."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Feature names and their weights, in the model's order."""

    names: list[str]
    values: Values

    def by_size(self) -> list[int]:
        """Return indices from the heaviest to the lightest weight of either sign, ties by name."""
        return sorted(range(len(self.names)), key=lambda index: (-abs(self.values[index]), self.names[index]))


def read_weights(version: Version) -> Weights | None:
    """Return the weights of a linear model's version; None for another family or a state without valid weights."""
    if version.family != LINEAR:
        return None
    try:
        document = orjson.loads(version.state)
        state = document.get("model", document)  # the learner stores the model's own state beside its settings
        weights = Weights([str(name) for name in state["features"]], np.array(state["weights"], dtype=np.float64))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    fits = weights.values.shape == (len(weights.names),) and bool(np.isfinite(weights.values).all())
    return weights if fits else None


def drawn_versions(versions: list[Version]) -> list[Version]:
    """Return the versions that have learnt something, thinned evenly; the first and the last are always kept."""
    learnt = [version for version in versions if version.learned_until is not None]
    if len(learnt) <= MOST_VERSIONS:
        return learnt
    kept = np.unique(np.linspace(0, len(learnt) - 1, MOST_VERSIONS).round().astype(np.int64))
    return [learnt[index] for index in kept]
