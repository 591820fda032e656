"""From scores to verdicts: tiers entered and left with hysteresis, cooldown and expiry, and the reasons why.

A verdict changes only at a decision point. A warning lapses by itself at its expiry, so no timer is needed: whoever
subscribes knows until when it holds. An absent score (insufficient history, or no version old enough) never lowers a
tier and never raises one; rules still can.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from detectors.models.version import FrozenModel
from detectors.policy import Policy
from detectors.track import Track
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


class Thresholds(NamedTuple):
    """Where tiers are entered and left, rising; and where they would be entered if there were no budget.

    Somebody who stands clear and has a probability below `quiet_below` stays so.
    """

    tiers: tuple[tuple[Tier, float, float], ...]
    unbudgeted: tuple[float, ...]
    quiet_below: float


MOST_VERSIONS = 512
"""Versions whose thresholds are remembered."""


class Decider:
    """Applies a policy's tiers. Holds no user's state."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._rising = sorted(policy.tiers.items(), key=lambda item: item[0].rank)
        self._expiry = policy.warnings.expiry
        self._cooldown = policy.warnings.cooldown
        self._fixed = None if policy.tracked else self.thresholds(None)
        self._by_version: dict[str, Thresholds] = {}

    def limits(self, model: FrozenModel | None) -> Thresholds:
        """The thresholds on the scores of a version, looked up where it was met before."""
        if self._fixed is not None:
            return self._fixed
        version = "" if model is None else model.version
        found = self._by_version.get(version)
        if found is None:
            if len(self._by_version) > MOST_VERSIONS:
                self._by_version = {}
            found = self._by_version[version] = self.thresholds(None if model is None else model.track)
        return found

    def thresholds(self, track: Track | None) -> Thresholds:
        """The thresholds that the policy gives, and where it asks for more than numbers, the track record.

        A promise that the record cannot show yet enters nobody. A budget raises the lowest tier's threshold until the
        hours the record knows keep to it.
        """
        promises, budget = self._policy.promises, self._policy.warnings.budget
        at_least = 0.0
        if budget is not None:
            within = None if track is None else track.level_within(budget)
            at_least = inf if within is None else within
        tiers, unbudgeted, above = [], [], 0.0
        for tier, policy in self._rising:
            if policy.precision is None:
                enter, leave = policy.numbers
            else:
                shown = None if track is None else track.level_of(policy.precision, promises.confidence)
                enter, leave = inf if shown is None else shown, _half_the_odds(shown or policy.precision)
            above = max(above, enter)
            unbudgeted.append(above)
            tiers.append((Tier(tier), max(above, at_least), leave))
        return Thresholds(tuple(tiers), tuple(unbudgeted), min(min(enter, leave) for _, enter, leave in tiers))

    def decide(
        self, standing: Standing, as_of: int, probability: float | None, raised_to: Tier, thresholds: Thresholds
    ) -> Standing:
        """Where the user stands after a decision point.

        `raised_to` is the highest tier a fired rule asks for. What is to be published is a change of the tier in
        force; the standing that comes back is the one given if nothing at all has changed.
        """
        lapsed = as_of >= standing.expires_at
        current = Tier.NONE if lapsed else standing.tier
        floor = raised_to if lapsed else max(raised_to, standing.floor, key=_rank)
        asked = max(_asked(current, probability, thresholds), floor, key=_rank)
        if asked.rank < current.rank:
            expires_at = as_of + self._expiry if asked.rank else 0
            return standing._replace(tier=asked, expires_at=expires_at, floor=floor)
        if asked.rank > current.rank and not self._cools(standing, as_of, asked):
            return Standing(asked, as_of + self._expiry, as_of, asked, floor)
        return standing if lapsed or floor is standing.floor else standing._replace(floor=floor)

    def settled(self, standing: Standing, now: int) -> bool:
        """Whether nothing of this standing matters any more, so that it can be forgotten."""
        return now >= standing.expires_at and now >= standing.entered_at + self._cooldown

    def held_back(self, standing: Standing, as_of: int, probability: float | None, thresholds: Thresholds) -> bool:
        """Whether it is the budget that keeps somebody who stands in no tier from being warned of."""
        if probability is None or as_of < standing.expires_at:
            return False
        asked = Tier.NONE
        for (tier, _, _), enter in zip(thresholds.tiers, thresholds.unbudgeted, strict=True):
            if probability >= enter:
                asked = tier
        return asked is not Tier.NONE and not self._cools(standing, as_of, asked)

    def _cools(self, standing: Standing, as_of: int, asked: Tier) -> bool:
        cooling = standing.entered_at >= 0 and as_of < standing.entered_at + self._cooldown
        return cooling and asked.rank <= standing.entered.rank


def _asked(current: Tier, probability: float | None, thresholds: Thresholds) -> Tier:
    if probability is None:
        return current
    asked = Tier.NONE
    for tier, enter, leave in thresholds.tiers:
        if probability >= (leave if tier.rank <= current.rank else enter):
            asked = tier
    return asked


def _half_the_odds(probability: float) -> float:
    return probability / (2.0 - probability)


def _rank(tier: Tier) -> int:
    return tier.rank
