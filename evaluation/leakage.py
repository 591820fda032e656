"""Features that know too much: one that tells positives from negatives by itself has probably seen the answer."""

from __future__ import annotations

import numpy as np

from evaluation.metrics import roc_auc
from evaluation.runs import Flags, Values

TOO_GOOD = 0.99
"""A single honest feature does not rank this well, in either direction."""
LEAST_POSITIVES = 20


def suspects(features: dict[str, Values], positive: Flags) -> list[str]:
    """The features that alone rank better than a feature can, and those that are absent only where the answer is known.

    With fewer than 20 positives anything may look good, and none is suspected.
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
