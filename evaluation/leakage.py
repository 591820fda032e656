"""Leakage checks: a feature that separates positives from negatives by itself probably contains the label."""

from __future__ import annotations

import numpy as np

from evaluation.metrics import roc_auc
from evaluation.runs import Flags, Values

TOO_GOOD = 0.99
"""ROC-AUC, in either direction, that a single feature does not reach without leakage."""
LEAST_POSITIVES = 20


def suspects(features: dict[str, Values], positive: Flags) -> list[str]:
    """Return the features that rank too well by themselves, by their value or by their absence.

    With fewer than 20 positives any feature may rank well by chance, so none is returned.
    """
    if positive.sum() < LEAST_POSITIVES:
        return []
    found = []
    for name, values in features.items():
        absent = np.isnan(values)
        readings = (np.where(absent, np.nanmin(values, initial=0.0) - 1.0, values), absent.astype(np.float64))
        rankings = [roc_auc(positive, reading) for reading in readings]
        if any(ranking is not None and max(ranking, 1 - ranking) >= TOO_GOOD for ranking in rankings):
            found.append(name)
    return found
