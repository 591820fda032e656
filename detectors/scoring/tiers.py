"""Decisions from scores: tiers entered and left with hysteresis, cooldown and expiry.

A verdict changes only at a decision point. A warning lapses by itself at its expiry, so no timer is needed: the expiry
is part of the published event. An absent score (insufficient history, or no version old enough) never lowers a tier and
never raises one; rules still can.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from math import inf
from typing import Literal, NamedTuple

from detectors.models.track_record import Track
from detectors.models.version import FrozenModel
from detectors.policy.sections import PromisePolicy, TierPolicy, WarningPolicy, tracked
from schemas.records.decisions import Tier


class WarningState(NamedTuple):
    """A user's warning state: the tier, its expiry (ms), and the tier last entered with the time of entry (ms).

    `floor` is the tier set by a rule: it holds until the expiry, because the behaviour that fired the rule has
    happened.
    """

    tier: Tier
    expires_at: int
    entered_at: int
    entered: Tier
    floor: Tier


CLEAR = WarningState(Tier.NONE, 0, -1, Tier.NONE, Tier.NONE)
"""The warning state of a user who was never warned about."""


class Thresholds(NamedTuple):
    """The tiers with their entry and exit thresholds, in rising order, and the entry thresholds without a budget.

    A user in no tier whose probability is below `clear_below` stays in no tier. `holds` contains, by rank of the tier,
    the score from which a user stays in the tier, and the score from which the user enters a higher one.
    """

    tiers: tuple[tuple[Tier, float, float], ...]
    unbudgeted: tuple[float, ...]
    clear_below: float
    holds: tuple[tuple[float, float], ...]


WarningTier = Literal[Tier.WATCH, Tier.ELEVATED, Tier.HIGH]
"""The tiers that a user can be warned of."""
MOST_VERSIONS = 512
"""Maximum number of versions whose thresholds are cached."""


class Decider:
    """Application of a policy's tiers. It holds no user's state."""

    def __init__(
        self, tiers: Mapping[WarningTier, TierPolicy], warnings: WarningPolicy, promises: PromisePolicy
    ) -> None:
        self._rising = sorted(tiers.items(), key=lambda item: item[0].rank)
        self._expiry, self._cooldown, self._budget = warnings.expiry, warnings.cooldown, warnings.budget
        self._confidence = promises.confidence
        self._fixed = None if tracked(tiers, warnings) else self.thresholds(None)
        self._by_version: dict[str, Thresholds] = {}

    def limits(self, model: FrozenModel | None) -> Thresholds:
        """Return the thresholds for the scores of a version, cached by version."""
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
        """Return the policy's thresholds; precision guarantees and a budget are resolved by the threshold statistics.

        A precision guarantee that the statistics cannot support yet lets nobody enter its tier. A budget raises the
        entry thresholds to the level from which the recorded hours stay within the budget.
        """
        budget, at_least = self._budget, 0.0
        if budget is not None:
            within = None if track is None else track.level_within(budget)
            at_least = inf if within is None else within
        tiers, unbudgeted, above = [], [], 0.0
        for tier, section in self._rising:
            if section.precision is None:
                enter, leave = section.numbers
            else:
                shown = None if track is None else track.level_of(section.precision, self._confidence)
                enter, leave = inf if shown is None else shown, _half_the_odds(shown or section.precision)
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
        """Yield rows that need a full decision; write the unchanged tier of all others to `tiers`.

        A row needs a full decision if its warning state may change, if the budget may suppress a warning, or if it is
        in `besides`. At every other row, only a score applies and `decide` would change nothing. A warning state is
        read when its row is reached. A probability may be NaN.
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
        """Return the user's warning state after a decision point.

        `raised_to` is the highest tier among the fired rules. A change of the tier in force is to be published. If
        nothing at all has changed, the given `standing` itself is returned.
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
        """Return whether a warning state has no further effect, so that it can be dropped."""
        return now >= standing.expires_at and now >= standing.entered_at + self._cooldown

    def held_back(self, standing: WarningState, as_of: int, probability: float | None, thresholds: Thresholds) -> bool:
        """Return whether only the budget prevents a warning about a user who is in no tier."""
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
