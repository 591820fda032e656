"""The strongest baseline: a batch gradient-boosted model, refitted every day of the log on the same features.

It may use all matured points repeatedly, which no online model can. It may not look ahead. Recent tokens are left out:
their codes are not numeric, and too many for a tree to separate one by one.
"""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from detectors.features.catalogue import CODES
from evaluation.labels import Labels
from evaluation.runs import Outputs, Values

DAY = 86_400_000
LEAST = 10
"""Fewest positives, and fewest negatives, with which a model is fitted."""
MOST_NEGATIVES = 100_000
"""Most negatives to fit on, drawn anew each day; ranking needs no more, and a day's fit takes only seconds."""


def boosted(run: Outputs, labels: Labels) -> Values:
    """Return the score of every point by the model of its day; 0 without one."""
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415 - a second to import, needed here only

    matrix = np.column_stack([values for name, values in run.features.items() if name not in CODES])
    scores = np.zeros(len(run))
    day = run.as_of // DAY
    rng = np.random.default_rng(0)
    for today in np.unique(day).tolist():
        known = (labels.known_at < today * DAY) & ~labels.late
        positives, negatives = np.flatnonzero(known & labels.positive), np.flatnonzero(known & ~labels.positive)
        if min(len(positives), len(negatives)) < LEAST:
            continue
        if len(negatives) > MOST_NEGATIVES:
            negatives = np.sort(rng.choice(negatives, MOST_NEGATIVES, replace=False))
        rows = np.sort(np.concatenate([positives, negatives]))
        model = HistGradientBoostingClassifier(
            max_iter=100, learning_rate=0.06, max_leaf_nodes=15, min_samples_leaf=40, random_state=0
        )
        seen = np.array([_varies(matrix[rows, column]) for column in range(matrix.shape[1])])
        due = np.flatnonzero(day == today)
        # one thread: on a busy machine, several threads that wait for each other take many times as long
        with threadpool_limits(limits=1, user_api="openmp"):
            model.fit(matrix[rows][:, seen], labels.positive[rows])
            scores[due] = model.predict_proba(matrix[due][:, seen])[:, 1]
    return scores


def _varies(column: Values) -> bool:
    """Return whether a feature has at least two known values; the library cannot fit a constant one."""
    known = column[~np.isnan(column)]
    return len(known) > 0 and bool(known.min() < known.max())
