"""Decisions made again from a replay's files are those of the replay."""

from __future__ import annotations

from math import nan

import numpy as np

from dataflows.testing import FlowDriver, hand_made_model, small_policy
from detectors.base.vectors import matrix_from
from detectors.scoring.tiers import Decider
from evaluation.decisions import decide_again
from schemas.records.decisions import Tier
from tests.kit.community import vector_of

HOUR = 3_600_000


def test_tiers_of_a_flow_are_decided_again() -> None:
    """With hysteresis, cooldown, expiry and a rule."""
    policy = small_policy(rules={"report_burst": {"tier": "high", "limit": 3}}, warnings={"expiry": "6h"})
    driver = FlowDriver(policy)
    for number in range(30):
        driver.advance("3h")
        driver.chat("ann")
        for one in range(number % 5):
            driver.report("ann", f"witness-{one}")
    served = driver.run(model=hand_made_model(0.1, {"report_count_24h": 1.0})).served
    thresholds = Decider(policy.tiers, policy.warnings, policy.promises).thresholds(None)
    made = decide_again(
        policy,
        [one.point.as_of for one in served],
        [nan if one.probability is None else one.probability for one in served],
        matrix_from([one.point.vector for one in served]),
        lambda _number: thresholds,
    )
    assert [one.after for one in made] == [one.tier for one in served]
    assert {Tier.NONE, Tier.WATCH, Tier.HIGH} == {one.after for one in made}
    assert any(one.kept_by_rule for one in made)
    assert any(one.raised and one.enters_by_score for one in made)


def test_a_decision_says_whether_score_or_rule_asked_for_it() -> None:
    """A tier that only a rule can raise to is entered and left by no score."""
    policy = small_policy(rules={"velocity": {"tier": "elevated", "limit": 10}})
    thresholds = Decider(policy.tiers, policy.warnings, policy.promises).thresholds(None)
    matrix = matrix_from([vector_of(message_count_5m=50.0), vector_of(), vector_of()])
    by_rule, held, lapsed = decide_again(policy, [0, HOUR, 48 * HOUR], [nan, 0.1, 0.1], matrix, lambda _: thresholds)
    assert (by_rule.before, by_rule.after, by_rule.by_rule, by_rule.enters_by_score) == (
        Tier.NONE,
        Tier.ELEVATED,
        True,
        False,
    )
    assert by_rule.enter(Tier.ELEVATED) == by_rule.leave(Tier.ELEVATED) == np.inf
    assert (held.after, held.kept_by_rule, held.by_rule) == (Tier.ELEVATED, True, False)
    assert (lapsed.before, lapsed.after) == (Tier.NONE, Tier.NONE)
    assert (lapsed.enter(Tier.HIGH), lapsed.leave(Tier.HIGH)) == (0.6, 0.5)
