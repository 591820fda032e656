"""Figures of parts of the users, if they are large enough."""

from __future__ import annotations

import numpy as np

from evaluation.runs import Flags, Outputs

LEAST_POINTS = 500


LEAST_POSITIVES = 20


DAY = 86_400
"""A day in seconds, the unit of `first_since`."""


Slices = dict[str, Flags]


def by_age(run: Outputs) -> Slices:
    """Return masks of the points of new users, first seen less than a day before, and of all others."""
    first_since = np.nan_to_num(run.features["first_since"])
    return {"new users (under a day)": first_since < DAY, "old users (a day and more)": first_since >= DAY}


def large_enough(positive: Flags) -> bool:
    """Return whether a cell has enough points and positives to be shown."""
    return len(positive) >= LEAST_POINTS and int(positive.sum()) >= LEAST_POSITIVES
