"""Explanation of a changed verdict: fired rules and the features that moved the score, with raw counters."""

from __future__ import annotations

from detectors.base.points import DecisionPoint
from detectors.base.vectors import Matrix
from detectors.models.version import FrozenModel
from detectors.rules.catalogue import ActiveRule
from schemas.records.decisions import Reason


def explain(
    point: DecisionPoint,
    scorer: FrozenModel | None,
    fired: list[ActiveRule],
    most: int,
    column: Matrix | None = None,
) -> tuple[Reason, ...]:
    """Return every reason of every fired rule, then at most `most` features of the model's score.

    `scorer` is None if the model gave no score. `column` holds the model's readings of the point, if they are
    available.
    """
    reasons = [reason for active in fired for reason in active.rule.score_one(point).reasons]
    if scorer is not None:
        reasons.extend(scorer.explain(point, most, column))
    return tuple(reasons)
