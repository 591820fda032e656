"""The policy: target, learning, tiers, warnings and rules. It is validated, hashed configuration; never model state."""

from __future__ import annotations

from hashlib import blake2b
from itertools import pairwise
from typing import Literal, Self

import orjson
from pydantic import Field, model_validator

from detectors.features.declare import HOPS, duration_ms
from detectors.policy.sections import (
    RIVER_VERSIONS,
    STACK,
    ChannelPolicy,
    LearningPolicy,
    PromisePolicy,
    RiverPolicy,
    RulePolicy,
    Section,
    StackPolicy,
    TargetPolicy,
    TierPolicy,
    VariantPolicy,
    WarningPolicy,
    tracked,
)
from detectors.policy.values import Duration, PositiveDuration, written
from schemas.records.base import Label
from schemas.records.decisions import Tier


class Policy(Section):
    """A whole policy file."""

    name: Label
    allowed_lateness: Duration = 3_600_000
    strike_expiry: PositiveDuration = 7_776_000_000
    profile_ttl: PositiveDuration = 31_536_000_000
    target: TargetPolicy
    channels: ChannelPolicy = ChannelPolicy()
    learning: LearningPolicy = LearningPolicy()
    variants: dict[str, VariantPolicy] = Field({})
    models: dict[str, RiverPolicy] = Field({})
    stack: StackPolicy = StackPolicy()
    tiers: dict[Literal[Tier.WATCH, Tier.ELEVATED, Tier.HIGH], TierPolicy]
    promises: PromisePolicy = PromisePolicy()
    warnings: WarningPolicy = WarningPolicy()
    rules: dict[str, RulePolicy] = Field({})

    @model_validator(mode="after")
    def _profiles_outlive_what_they_hold(self) -> Self:
        held: dict[str, int | None] = {f"the {span} window": duration_ms(span) for span in HOPS}
        held["strike_expiry"], held["target.horizon"] = self.strike_expiry, self.target.horizon
        held["target.reset_after"] = self.target.reset_after
        for number, clause in enumerate(self.target.when):
            held[f"target.when.{number}.within"] = clause.within
        longest, name = max((length, name) for name, length in held.items() if length is not None)
        if self.profile_ttl < longest:
            raise ValueError(
                f"profile_ttl {written(self.profile_ttl)} is shorter than {name}, {written(longest)}: "
                f"make it {written(longest)} at least, so that nothing is forgotten that still counts"
            )
        return self

    @model_validator(mode="after")
    def _tiers_rise(self) -> Self:
        if not self.tiers:
            raise ValueError("no tier has thresholds: give [tiers.watch], [tiers.elevated] or [tiers.high]")
        ordered = sorted(self.tiers.items(), key=lambda item: item[0].rank)
        for (low, below), (high, above) in pairwise(ordered):
            if not all(lower <= higher for lower, higher in zip(below.numbers, above.numbers, strict=False)):
                raise ValueError(f"tier {high} has lower thresholds than {low}: thresholds rise with the tier")
            if above.precision is not None and above.precision < (below.precision or 0.0):
                raise ValueError(f"tier {high} promises a lower precision than {low}: promises rise with the tier")
        return self

    def members(self, name: str) -> tuple[str, ...]:
        """Return the models that a model of this policy combines; none unless it is `stack` or a variant of it."""
        if name == STACK:
            return self.stack.members
        variant = self.variants.get(name)
        return () if variant is None or variant.model != STACK else variant.members or self.stack.members

    def learning_of(self, model: str) -> LearningPolicy:
        """Return the settings of learning for a model: those of `[learning]`, changed for a River model."""
        learning, river = self.learning, self.models.get(model)
        if river is None:
            return learning
        kept = min(learning.keep_versions, RIVER_VERSIONS)
        every = river.publish_every or learning.publish_every
        return learning.model_copy(update={"keep_versions": kept, "publish_every": every})

    @property
    def tracked(self) -> bool:
        """Return whether any decision depends on a model's threshold statistics."""
        return tracked(self.tiers, self.warnings)

    @property
    def lowest_threshold(self) -> float:
        """Return the lowest probability for which threshold statistics are needed.

        For a precision guarantee they begin at a quarter of its precision, because it may hold at probabilities below
        that precision.
        """
        return min(low for tier in self.tiers.values() for low in (*tier.numbers[:1], (tier.precision or 4.0) / 4))

    @property
    def version(self) -> str:
        """Return the content hash of the policy, independent of the order of its keys: 16 hex digits."""
        unused = None if self.models else {"models"}  # a policy without one keeps the hash it had before there were any
        content = orjson.dumps(self.model_dump(mode="json", exclude=unused), option=orjson.OPT_SORT_KEYS)
        return blake2b(content, digest_size=8).hexdigest()
