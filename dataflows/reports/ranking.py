"""Who is most at risk: the strongest warnings, and the users whose timelines are worth drawing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dataflows.reports.read import Points, Risk, read_risk
from schemas.records.decisions import RiskEvent


def strongest_warnings(run_dir: Path, n: int) -> list[RiskEvent]:
    """The `n` strongest warnings of a replay, one per user: by tier, then by probability, then the earliest.

    Erased users are not among them.

    Raises:
        ValueError: in one sentence, if `risk-events.jsonl` cannot be read.
    """
    return strongest(read_risk(run_dir), n)


def strongest(risk: Risk, n: int) -> list[RiskEvent]:
    """The `n` strongest warnings among risk events; one that lowers a tier is not a warning."""
    best: dict[str, RiskEvent] = {}
    for event in risk.named:
        if event.tier.rank == 0 or event.tier.rank < event.previous_tier.rank:
            continue
        rival = best.get(event.user_id)
        if rival is None or _strength(event) < _strength(rival):
            best[event.user_id] = event
    return sorted(best.values(), key=_strength)[:n]


def _strength(event: RiskEvent) -> tuple[int, float, int, str, str]:
    """Sorts the strongest first; a rule's warning may have no probability, and then yields to one that has."""
    probability = -1.0 if event.probability is None else event.probability
    return (-event.tier.rank, -probability, event.as_of, event.user_id, event.risk_event_id)


def highest_scored(points: Points, risk: Risk, n: int) -> list[str]:
    """The `n` users with the highest score at any decision point, ties by user id; users never scored are left out."""
    rows = points.named(risk.erased) & ~np.isnan(points.score)
    highest = np.full(len(points.users), -1.0)
    np.maximum.at(highest, points.user[rows], points.score[rows])
    scored = np.flatnonzero(highest >= 0)
    if not len(scored):
        return []
    # users tied with the n-th compete by id, so the choice does not hang on their order in the file
    limit = np.sort(highest[scored])[::-1][min(n, len(scored)) - 1]
    rivals = [int(code) for code in np.flatnonzero(highest >= limit)]
    rivals.sort(key=lambda code: (-highest[code], points.users[code]))
    return [points.users[code] for code in rivals[:n]]
