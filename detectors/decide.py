"""From scores to verdicts: tiers entered and left with hysteresis, cooldown and expiry, and the reasons why.

A verdict changes only at a decision point. A warning lapses by itself at its expiry, so no timer is needed: whoever
subscribes knows until when it holds. An absent score (insufficient history, or no version old enough) never lowers a
tier and never raises one; rules still can.
"""

from __future__ import annotations

from typing import NamedTuple

from detectors.policy import Policy
from schemas.records import Tier


class Standing(NamedTuple):
    """Where a user stands: the tier, until when it holds, and which tier was last entered when (ms).

    `floor` is the tier a rule asked for: it holds until the expiry, because what a rule saw has happened.
    """

    tier: Tier
    expires_at: int
    entered_at: int
    entered: Tier
    floor: Tier


CLEAR = Standing(Tier.NONE, 0, -1, Tier.NONE, Tier.NONE)
"""Where everybody stands who was never warned of."""


class Decider:
    """Applies a policy's tiers. Holds no user's state."""

    def __init__(self, policy: Policy) -> None:
        rising = sorted(policy.tiers.items(), key=lambda item: item[0].rank)
        self._tiers = [(Tier(tier), thresholds.enter, thresholds.leave) for tier, thresholds in rising]
        self._expiry = policy.warnings.expiry
        self._cooldown = policy.warnings.cooldown
        self.quiet_below = min(leave for _, _, leave in self._tiers)

    def decide(self, standing: Standing, as_of: int, probability: float | None, raised_to: Tier) -> Standing:
        """Where the user stands after a decision point.

        `raised_to` is the highest tier a fired rule asks for. What is to be published is a change of the tier in
        force; the standing that comes back is the one given if nothing at all has changed.
        """
        lapsed = as_of >= standing.expires_at
        current = Tier.NONE if lapsed else standing.tier
        floor = raised_to if lapsed else max(raised_to, standing.floor, key=_rank)
        asked = max(self._asked(current, probability), floor, key=_rank)
        if asked.rank < current.rank:
            expires_at = as_of + self._expiry if asked.rank else 0
            return standing._replace(tier=asked, expires_at=expires_at, floor=floor)
        cooling = standing.entered_at >= 0 and as_of < standing.entered_at + self._cooldown
        if asked.rank > current.rank and not (cooling and asked.rank <= standing.entered.rank):
            return Standing(asked, as_of + self._expiry, as_of, asked, floor)
        return standing if lapsed or floor is standing.floor else standing._replace(floor=floor)

    def settled(self, standing: Standing, now: int) -> bool:
        """Whether nothing of this standing matters any more, so that it can be forgotten."""
        return now >= standing.expires_at and now >= standing.entered_at + self._cooldown

    def _asked(self, current: Tier, probability: float | None) -> Tier:
        if probability is None:
            return current
        asked = Tier.NONE
        for tier, enter, leave in self._tiers:
            if probability >= (leave if tier.rank <= current.rank else enter):
                asked = tier
        return asked


def _rank(tier: Tier) -> int:
    return tier.rank
