"""Users most at risk: the strongest warnings, and the users whose timelines are drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dataflows.reports.read import Points, Risk, read_risk
from schemas.records.decisions import RiskEvent


def strongest_warnings(run_dir: Path, n: int) -> list[RiskEvent]:
    """Return the `n` strongest warnings of a replay, one per user: by tier, then by probability, then the earliest.

    Warnings from before their user's erasure are excluded.

    Raises:
        ValueError: if `risk-events.jsonl` is invalid; the text is one sentence.
    """
    return strongest(read_risk(run_dir), n)


def strongest(risk: Risk, n: int) -> list[RiskEvent]:
    """Return the `n` strongest warnings among risk events; an event that lowers a tier is not a warning."""
    best: dict[str, RiskEvent] = {}
    for event in risk.named:
        if event.tier.rank == 0 or event.tier.rank < event.previous_tier.rank:
            continue
        rival = best.get(event.user_id)
        if rival is None or _strength(event) < _strength(rival):
            best[event.user_id] = event
    return sorted(best.values(), key=_strength)[:n]


def _strength(event: RiskEvent) -> tuple[int, float, int, str, str]:
    """Return a sort key, strongest first; a rule's warning without a probability comes last in its tier."""
    probability = -1.0 if event.probability is None else event.probability
    return (-event.tier.rank, -probability, event.as_of, event.user_id, event.risk_event_id)


def highest_scored(points: Points, risk: Risk, n: int) -> list[str]:
    """Return the `n` users with the highest score at any decision point, ties by user id.

    Users without a score are left out.
    """
    rows = points.named(risk.erased) & ~np.isnan(points.score)
    highest = np.full(len(points.users), -1.0)
    np.maximum.at(highest, points.user[rows], points.score[rows])
    scored = np.flatnonzero(highest >= 0)
    if not len(scored):
        return []
    # ties with the n-th are decided by user id, so that the choice does not depend on the order in the file
    limit = np.sort(highest[scored])[::-1][min(n, len(scored)) - 1]
    rivals = [int(code) for code in np.flatnonzero(highest >= limit)]
    rivals.sort(key=lambda code: (-highest[code], points.users[code]))
    return [points.users[code] for code in rivals[:n]]
