"""From scores to verdicts: tiers entered and left with hysteresis, cooldown and expiry, and the reasons why.

A verdict changes only at a decision point. A warning lapses by itself at its expiry, so no timer is needed: whoever
subscribes knows until when it holds. An absent score (insufficient history, or no version old enough) never lowers a
tier and never raises one; rules still can.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from math import inf
from typing import NamedTuple

from detectors.models.track_record import Track
from detectors.models.version import FrozenModel
from detectors.policy.policy import Policy
from schemas.records.decisions import Tier


class WarningState(NamedTuple):
    """Where a user stands: the tier, until when it holds, and which tier was last entered when (ms).

    `floor` is the tier a rule asked for: it holds until the expiry, because what a rule saw has happened.
    """

    tier: Tier
    expires_at: int
    entered_at: int
    entered: Tier
    floor: Tier


CLEAR = WarningState(Tier.NONE, 0, -1, Tier.NONE, Tier.NONE)
"""Where everybody stands who was never warned of."""


class Thresholds(NamedTuple):
    """Where tiers are entered and left, rising; and where they would be entered if there were no budget.

    Somebody who is in no tier and has a probability below `clear_below` stays so. `holds` says by rank from where on
    a score keeps somebody in a tier, and from where on it lifts them out.
    """

    tiers: tuple[tuple[Tier, float, float], ...]
    unbudgeted: tuple[float, ...]
    clear_below: float
    holds: tuple[tuple[float, float], ...]


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
        left = {tier.rank: leave for tier, _, leave in tiers}
        holds = tuple(
            (left.get(rank, inf), min((enter for tier, enter, _ in tiers if tier.rank > rank), default=inf))
            for rank in range(len(Tier))
        )
        return Thresholds(tuple(tiers), tuple(unbudgeted), unbudgeted[0], holds)

    def moved(
        self,
        rows: range,
        users: Sequence[str],
        as_of: Sequence[int],
        probabilities: Sequence[float],
        standings: Mapping[str, WarningState],
        thresholds: Thresholds,
        besides: Collection[int],
        tiers: list[Tier],
    ) -> Iterator[int]:
        """The rows at which a standing may change, or the budget hold somebody back, and those in `besides`.

        At every other row, with nothing but a score to go by, `decide` would leave everything as it is: what tier that
        is, is written into `tiers`. Standings are looked up when their row's turn comes. A probability may be NaN.
        """
        clear_below, holds = thresholds.clear_below, thresholds.holds
        for row in rows:
            if row in besides:
                yield row
                continue
            standing, probability = standings.get(users[row]), probabilities[row]
            if standing is None or as_of[row] >= standing.expires_at:
                if probability >= clear_below:
                    yield row
                continue
            tier, _, _, _, floor = standing
            at_least, below = holds[tier.rank]
            if probability < below and (probability >= at_least if floor is Tier.NONE else floor is tier):
                tiers[row] = tier
            else:
                yield row

    def decide(
        self, standing: WarningState, as_of: int, probability: float | None, raised_to: Tier, thresholds: Thresholds
    ) -> WarningState:
        """Where the user stands after a decision point.

        `raised_to` is the highest tier a fired rule asks for. What is to be published is a change of the tier in
        force; the standing that comes back is the one given if nothing at all has changed.
        """
        lapsed = as_of >= standing.expires_at
        current = Tier.NONE if lapsed else standing.tier
        floor = raised_to if lapsed or raised_to.rank >= standing.floor.rank else standing.floor
        asked = _asked(current, probability, thresholds)
        asked = asked if asked.rank >= floor.rank else floor
        if asked.rank < current.rank:
            expires_at = as_of + self._expiry if asked.rank else 0
            return standing._replace(tier=asked, expires_at=expires_at, floor=floor)
        if asked.rank > current.rank and not self._cools(standing, as_of, asked):
            return WarningState(asked, as_of + self._expiry, as_of, asked, floor)
        return standing if lapsed or floor is standing.floor else standing._replace(floor=floor)

    def settled(self, standing: WarningState, now: int) -> bool:
        """Whether nothing of this standing matters any more, so that it can be forgotten."""
        return now >= standing.expires_at and now >= standing.entered_at + self._cooldown

    def held_back(self, standing: WarningState, as_of: int, probability: float | None, thresholds: Thresholds) -> bool:
        """Whether it is the budget that keeps somebody who stands in no tier from being warned of."""
        if probability is None or as_of < standing.expires_at:
            return False
        asked = Tier.NONE
        for (tier, _, _), enter in zip(thresholds.tiers, thresholds.unbudgeted, strict=True):
            if probability >= enter:
                asked = tier
        return asked is not Tier.NONE and not self._cools(standing, as_of, asked)

    def _cools(self, standing: WarningState, as_of: int, asked: Tier) -> bool:
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
