"""Why a verdict changed: the rules that fired and the features that moved the score, with raw counters."""

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
    """At most `most` features of the model's score, after every reason of every fired rule.

    `scorer` is None where the model had no say, `column` what it read of the point, where that is at hand.
    """
    reasons = [reason for active in fired for reason in active.rule.score_one(point).reasons]
    if scorer is not None:
        reasons.extend(scorer.explain(point, most, column))
    return tuple(reasons)
