"""The same figures for parts of the users, where there are enough of them to say anything."""

from __future__ import annotations

import numpy as np

from evaluation.runs import Flags, Outputs

LEAST_POINTS = 500


LEAST_POSITIVES = 20


DAY = 86_400
"""In seconds, as `first_since` is."""


Slices = dict[str, Flags]


def by_age(run: Outputs) -> Slices:
    """New users, of less than a day, and the others."""
    first_since = np.nan_to_num(run.features["first_since"])
    return {"new users (under a day)": first_since < DAY, "old users (a day and more)": first_since >= DAY}


def large_enough(positive: Flags) -> bool:
    """Whether a cell has enough points and positives to be shown."""
    return len(positive) >= LEAST_POINTS and int(positive.sum()) >= LEAST_POSITIVES
