"""Curves of a score: its earliness, its recovery after good conduct, and its stability."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluation.alerts import DAY, Follow
from evaluation.baselines import violated
from evaluation.intervals import Figure, compare_scores
from evaluation.labels import Labels
from evaluation.runs import Flags, Outputs, Values

FIRST_EVENTS = (1, 2, 3, 5, 10)
CLEAN_EVENTS = (1, 3, 10, 30)
CLEAN_DAYS = (1, 3, 7)


class Early(NamedTuple):
    """Performance of a score on a user's first `events` events.

    `roc_auc` is over users with at least that many events. `recall` is the share of all escalations warned of by then.
    """

    events: int
    users: int
    positives: int
    roc_auc: Figure
    recall: float | None


def numbered(run: Outputs) -> NDArray[np.int64]:
    """Return each point's number among its user's points, from 1."""
    order = np.lexsort((run.seq, run.user))
    starts = np.flatnonzero(np.diff(run.user[order], prepend=-1))
    number = np.empty(len(run), dtype=np.int64)
    number[order] = np.arange(len(run)) - np.repeat(starts, np.diff([*starts, len(run)])) + 1
    return number


def earliness(
    run: Outputs, score: Values, labels: Labels, usable: Flags, follow: Follow, threshold: float | None
) -> list[Early]:
    """Return the curve over a user's first events; `threshold` is the score at which a warning is given."""
    number = numbered(run)
    found = []
    for events in FIRST_EVENTS:
        rows = np.flatnonzero(usable & (number == events))
        auc = compare_scores(labels.positive[rows], run.user[rows], {"score": score[rows]}).roc_auc["score"]
        recall = None
        if threshold is not None:
            early = np.where(number <= events, score, -np.inf)
            recall = follow.outcome(follow.warned_at(early, threshold)).recall
        found.append(Early(events, len(rows), int(labels.positive[rows].sum()), auc, recall))
    return found


def recovery(run: Outputs, score: Values) -> dict[str, dict[str, float | int | None]]:
    """Return how far a score falls after good conduct: the median share left of its value at a violation.

    A violation is a point at which a report or sanction was counted; conduct is good until the next one. Shares are
    given by events and by days since the violation, each with the number of stretches that lasted so long.
    """
    order = np.lexsort((run.seq, run.user))
    user, as_of, value, bad = run.user[order], run.as_of[order], score[order], violated(run)[order]
    spans = [*(f"{n} events" for n in CLEAN_EVENTS), *(f"{n} days" for n in CLEAN_DAYS)]
    left: dict[str, list[float]] = {span: [] for span in spans}
    starts = np.flatnonzero(bad & (value > 0))
    ends = np.minimum(_next(bad, starts), _next(np.diff(user, prepend=-1) != 0, starts))
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        for events in CLEAN_EVENTS:
            if start + events < end:
                left[f"{events} events"].append(float(value[start + events] / value[start]))
        for days in CLEAN_DAYS:
            row = start + int(np.searchsorted(as_of[start:end], as_of[start] + days * DAY))
            if row < end:
                left[f"{days} days"].append(float(value[row] / value[start]))
    return {
        after: {"stretches": len(shares), "left": float(np.median(shares)) if shares else None}
        for after, shares in left.items()
    }


def _next(marks: Flags, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each row the next marked row after it, or the number of rows if there is none."""
    marked = np.append(np.flatnonzero(marks), len(marks))
    after: NDArray[np.int64] = marked[np.searchsorted(marked, rows, side="right")]
    return after


def stability(run: Outputs, active_days: int) -> dict[str, Any]:
    """Return how often tiers change: per user with a change, and per 1,000 active users and day."""
    changes = run.tier_changes[run.tier_changes > 0]
    return {
        "users_with_changes": len(changes),
        "median_per_user": float(np.median(changes)) if len(changes) else None,
        "p90_per_user": float(np.quantile(changes, 0.9)) if len(changes) else None,
        "per_1000_active_user_days": float(changes.sum() / active_days * 1_000) if active_days else None,
    }
