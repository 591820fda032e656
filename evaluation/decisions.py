"""Decisions of a replay made again from its scores: the thresholds, the rules and the warning state at each point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, isnan
from typing import NamedTuple

from detectors.base.vectors import Matrix
from detectors.policy.policy import Policy
from detectors.rules.catalogue import ActiveRule, active_rules
from detectors.scoring.tiers import CLEAR, Decider, Thresholds, WarningState
from schemas.records.decisions import Tier


class Decision(NamedTuple):
    """A policy's decision at one point: the tiers in force before and after it, and the reasons.

    `probability` is the score, None if absent. `fired` are the rules that fire. `held_back` says whether only the
    budget prevents a warning.
    """

    probability: float | None
    before: Tier
    after: Tier
    state: WarningState
    thresholds: Thresholds
    fired: tuple[ActiveRule, ...]
    held_back: bool

    @property
    def raised(self) -> bool:
        """Return whether the point raises the user to a higher tier."""
        return self.after.rank > self.before.rank

    @property
    def enters_by_score(self) -> bool:
        """Return whether the score alone is high enough to enter the tier in force after the point."""
        return self.probability is not None and self.probability >= self.enter(self.after)

    @property
    def by_rule(self) -> bool:
        """Return whether a rule that fires here asks for the tier in force after the point."""
        return any(active.tier.rank >= self.after.rank for active in self.fired)

    @property
    def kept_by_rule(self) -> bool:
        """Return whether a rule holds the user in the tier until the warning expires, whatever the score."""
        return self.after is not Tier.NONE and self.state.floor.rank >= self.after.rank

    def enter(self, tier: Tier) -> float:
        """Return the probability from which a tier is entered; infinite if no score can reach it."""
        return next((enter for of, enter, _ in self.thresholds.tiers if of is tier), inf)

    def leave(self, tier: Tier) -> float:
        """Return the probability below which a tier is left; infinite if only rules raise to it."""
        return next((leave for of, _, leave in self.thresholds.tiers if of is tier), inf)


def decide_again(
    policy: Policy,
    as_of: Sequence[int],
    scores: Sequence[float],
    matrix: Matrix,
    limits: Callable[[int], Thresholds],
) -> list[Decision]:
    """Return the decisions at one user's points, which are in the order of the log and begin without a warning.

    `matrix` holds the points' features as rows, in the order of the catalogue. A score is NaN if absent. `limits`
    returns the thresholds at a point by its number.
    """
    decider = Decider(policy.tiers, policy.warnings, policy.promises)
    rules = active_rules(policy.rules)
    fires = [active.rule.fires_on(matrix).tolist() for active in rules]
    state, made = CLEAR, []
    for row, (time, score) in enumerate(zip(as_of, scores, strict=True)):
        fired = tuple(active for active, rows in zip(rules, fires, strict=True) if rows[row])
        raised_to = max((active.tier for active in fired), key=lambda tier: tier.rank, default=Tier.NONE)
        probability, thresholds = None if isnan(score) else score, limits(row)
        after = decider.decide(state, time, probability, raised_to, thresholds)
        before = state.tier if time < state.expires_at else Tier.NONE
        in_force = before if after is state else after.tier
        held_back = after is state and decider.held_back(state, time, probability, thresholds)
        made.append(Decision(probability, before, in_force, after, thresholds, fired, held_back))
        state = after
    return made
