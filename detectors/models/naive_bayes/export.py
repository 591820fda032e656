"""Export of Gaussian naive Bayes to River. River is imported here only, because it takes long to import."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from river import naive_bayes, proba

from detectors.models.naive_bayes.bayes import KEYS, Bayes


def gaussian_nb_of(model: Bayes) -> naive_bayes.GaussianNB:
    """Return an equivalent model of River's, which would continue to learn identically."""
    make: Callable[[], naive_bayes.GaussianNB] = naive_bayes.GaussianNB  # River annotates only part of its classes
    from_moments: Callable[..., Any] = proba.Gaussian._from_state  # noqa: SLF001 - River's own constructor from moments
    exported, state = make(), model.dump()
    for label, key in KEYS.items():
        if state[f"{key}_count"]:
            exported.class_counts[label] = state[f"{key}_count"]
        moments = (state[f"{key}_counts"], state[f"{key}_means"], state[f"{key}_squares"])
        for name, count, mean, squares in zip(state["features"], *moments, strict=True):
            gaussian = exported.gaussians[label][name] = from_moments(count, mean, 0.0, ddof=1)
            gaussian._var._S = squares  # noqa: SLF001 - a variance would lose bits
    return exported
