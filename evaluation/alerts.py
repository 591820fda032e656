"""Warnings from their recipient's view: one per user at a time, a number per day, right or wrong, early or late."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.base.elementary import log
from detectors.base.elementwise import exp
from evaluation.labels import Escalation
from evaluation.runs import Outputs, Values

DAY = 86_400_000


class Lead(NamedTuple):
    """Lead times: the time from the first warning to the escalation.

    Times are in ms; events are the user's decision points in between. `p10` is the 10 % quantile. `at_least` maps spans
    (ms) to the share of warned escalations with at least that lead time.
    """

    median_ms: float | None
    p10_ms: float | None
    median_events: float | None
    p10_events: float | None
    at_least: dict[int, float]


class Warnings(NamedTuple):
    """The results of one way of warning.

    `per_budget` is warnings per 1,000 active users and day. `precision` is the share of matured warnings whose user
    escalated within the horizon. `recall` is the share of escalations with a warning within the horizon before them.
    Both are None if the denominator is zero.
    """

    threshold: float | None
    warnings: int
    per_budget: float | None
    precision: float | None
    recall: float | None
    escalations: int
    lead: Lead


class Follow:
    """A simulation of warnings through a run: after a warning, its user is not warned again for the run's `expiry`.

    `answered` marks the points with a known label. An escalation counts as announced only at least `ahead` ms before
    it.
    """

    SPANS = (300_000, 3_600_000, DAY)

    def __init__(self, run: Outputs, answered: NDArray[np.bool_], ahead: int = 0) -> None:
        self._run, self._answered, self._ahead = run, answered, ahead
        self._order = np.lexsort((run.seq, run.user))
        self._ordered_users = run.user[self._order]
        self.active_days = len(np.unique(np.column_stack([run.user, run.as_of // DAY]), axis=0))

    def budget(self, warnings: int) -> float | None:
        """Return a number of warnings per 1,000 active users and day; None without active days."""
        return warnings / self.active_days * 1_000 if self.active_days else None

    def warned_at(self, score: Values, threshold: float) -> NDArray[np.int64]:
        """Return the rows at which a threshold on a score warns: once per user, and again once the last one lapsed."""
        run = self._run
        rows = self._order[score[self._order] >= threshold]
        users, times = run.user[rows].tolist(), run.as_of[rows].tolist()
        kept, last_user, until = [], -1, -1
        for place, (user, time) in enumerate(zip(users, times, strict=True)):
            if user != last_user or time >= until:
                kept.append(place)
                last_user, until = user, time + run.expiry
        return rows[np.array(kept, dtype=np.int64)]

    def right(self, row: int) -> bool | None:
        """Return whether a warning at this row came in time before an escalation of its user; None without a label."""
        if not self._answered[row]:
            return None
        return any(self.announces(row, one) for one in self._run.escalations.get(int(self._run.user[row]), ()))

    def outcome(self, rows: NDArray[np.int64], threshold: float | None = None) -> Warnings:
        """Return the results of warnings at these rows."""
        run = self._run
        by_user: dict[int, list[int]] = {}
        for row in rows[np.argsort(run.seq[rows], kind="stable")].tolist():
            by_user.setdefault(int(run.user[row]), []).append(row)
        right = matured = 0
        for row in rows.tolist():
            held = self.right(row)
            if held is not None:
                matured += 1
                right += held
        escalations, leads, events = 0, [], []
        for user, upheld in run.escalations.items():
            for escalation in upheld:
                escalations += 1
                first = next((row for row in by_user.get(user, ()) if self.announces(row, escalation)), None)
                if first is not None:
                    leads.append(escalation.as_of - int(run.as_of[first]))
                    events.append(self._between(user, first, escalation))
        return Warnings(
            threshold,
            len(rows),
            self.budget(len(rows)),
            right / matured if matured else None,
            len(leads) / escalations if escalations else None,
            escalations,
            _lead(leads, events, self.SPANS),
        )

    def at_budget(self, score: Values, budget: float) -> Warnings:
        """Return the results of the threshold that warns at most `budget` times per 1,000 active users and day."""
        most = round(budget * self.active_days / 1_000)
        ranked = np.unique(score[~np.isnan(score)])
        low, high = 0, len(ranked)  # the lowest threshold within the budget is at index `high` or below
        while low < high:
            middle = (low + high) // 2
            if len(self.warned_at(score, ranked[middle])) <= most:
                high = middle
            else:
                low = middle + 1
        if high == len(ranked):
            return self.outcome(np.empty(0, dtype=np.int64))
        return self.outcome(self.warned_at(score, ranked[high]), float(ranked[high]))

    def at_precision(self, score: Values, precision: float, tried: int = 80) -> Warnings | None:
        """Return the results with the highest recall among thresholds of at least this precision; None without one.

        `tried` thresholds are tested. The threshold is chosen in hindsight: it shows the limit of a score, not the
        result of a policy.
        """
        ranked = np.sort(score[~np.isnan(score)])
        shares = 1.0 - exp(np.linspace(log(1e-5), 0.0, tried))
        best: Warnings | None = None
        for threshold in np.unique(np.quantile(ranked, shares)) if len(ranked) else ():
            found = self.outcome(self.warned_at(score, threshold), float(threshold))
            if (found.precision or 0.0) >= precision and (best is None or (found.recall or 0) > (best.recall or 0)):
                best = found
        return best

    def _between(self, user: int, row: int, escalation: Escalation) -> int:
        """Return the number of the user's points after the warning and before the escalation."""
        run = self._run
        first, last = (int(np.searchsorted(self._ordered_users, user, side=side)) for side in ("left", "right"))
        own = self._order[first:last]
        return int(np.sum((run.seq[own] > run.seq[row]) & (run.seq[own] < escalation.since)))

    def announces(self, row: int, escalation: Escalation) -> bool:
        """Return whether a warning at this row came in time before the escalation and within the horizon of it."""
        waited = escalation.as_of - int(self._run.as_of[row])
        return int(self._run.seq[row]) < escalation.since and self._ahead <= waited <= self._run.horizon


def _lead(leads: Iterable[int], events: Iterable[int], spans: tuple[int, ...]) -> Lead:
    times, counts = np.array([*leads], dtype=np.float64), np.array([*events], dtype=np.float64)
    if not len(times):
        return Lead(None, None, None, None, {})
    at_least = {span: int((times >= span).sum()) / len(times) for span in spans}
    return Lead(
        float(np.median(times)),
        float(np.quantile(times, 0.1)),
        float(np.median(counts)),
        float(np.quantile(counts, 0.1)),
        at_least,
    )
