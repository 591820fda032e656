"""Baselines: trivial scores that a model has to beat. A result that a baseline reaches is no merit of the model.

All are computed from the features as served, so they use no more information than the model. A decaying count only
falls between two events. Its gain at a point is therefore the count of events there, which gives counts since a user's
first event.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.base.elementwise import exp2
from evaluation.runs import Outputs, Values

HALF_LIFE = 7 * 86_400_000
"""Half-life of the features `*_decay_7d` (ms)."""


def baselines(run: Outputs) -> dict[str, Values]:
    """Return the score of each baseline for every point; higher means more likely to escalate."""
    order = np.lexsort((run.seq, run.user))
    back = np.argsort(order)
    user, as_of = run.user[order], run.as_of[order]
    feature = {name: np.nan_to_num(values[order]) for name, values in run.features.items()}
    first = np.diff(user, prepend=-1) != 0
    events = _counted(np.ones(len(user)), first)
    reports, sanctions = (_gained(feature[f"{what}_decay_7d"], as_of, first) for what in ("report", "sanction"))
    violations = _counted(reports + sanctions, first)
    recently = feature["report_decay_7d"] + feature["sanction_decay_7d"]
    found = {
        "newness": -feature["first_since"],
        "event count": events,
        "few events": -events,
        "violations so far": violations,
        "past violation rate": violations / events,
        "strike count": feature["strike_count"],
        "last severity": _last_severity(feature["sanction_severity_sum_30d"], sanctions, first),
        "recent violations": recently,
        "recent violation rate": _share(recently, feature["message_decay_7d"] + recently),
    }
    return {name: values[back] for name, values in found.items()}


def _share(part: Values, whole: Values) -> Values:
    """Return the ratio of a decayed sum to another; 0 where the other is 0."""
    share: Values = np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)
    return share


def violated(run: Outputs) -> NDArray[np.bool_]:
    """Return a mask of the points at which a report or a sanction was counted."""
    order = np.lexsort((run.seq, run.user))
    first = np.diff(run.user[order], prepend=-1) != 0
    gained = sum(
        _gained(np.nan_to_num(run.features[f"{what}_decay_7d"][order]), run.as_of[order], first)
        for what in ("report", "sanction")
    )
    found = np.empty(len(run), dtype=np.bool_)
    found[order] = gained > 0
    return found


def _gained(decayed: Values, as_of: NDArray[np.int64], first: NDArray[np.bool_]) -> Values:
    """Return the gain of a decaying sum of ones at each row; negative where a count was reversed."""
    before = np.where(first, 0.0, np.roll(decayed, 1))
    waited = np.where(first, 0, as_of - np.roll(as_of, 1))
    gained: Values = np.round(decayed - before * exp2(-waited / HALF_LIFE))
    return gained


def _counted(gained: Values, first: NDArray[np.bool_]) -> Values:
    """Return running sums that restart with each user."""
    total = np.cumsum(gained)
    before_user = np.where(first, total - gained, 0.0)
    counted: Values = total - before_user[np.flatnonzero(first)][np.cumsum(first) - 1]
    return counted


def _last_severity(summed: Values, sanctions: Values, first: NDArray[np.bool_]) -> Values:
    """Return the severity of the user's last sanction; 0 before the first."""
    grown = np.where(first, summed, summed - np.roll(summed, 1))
    marks = (sanctions > 0) & (grown > 0) | first
    places = np.maximum.accumulate(np.where(marks, np.arange(len(summed)), 0))
    severity: Values = np.where((sanctions > 0) & (grown > 0), grown, 0.0)[places]
    return severity
