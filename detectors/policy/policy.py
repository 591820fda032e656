"""The policy: what to warn of, when, and how hard to look. Configuration, validated, hashed; never model state."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from hashlib import blake2b
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, model_validator

from detectors.features.catalogue import NAMES
from detectors.features.declare import HOPS, duration_ms
from detectors.policy.values import Duration, PositiveDuration, Unit, written
from schemas.records import Label, Tier

TAKEN = ("as_of", "challengers", "champion", "event_id", "newness", "pinned", "seq", "user_id")
"""What stands beside models' names in the outputs of a replay, and so cannot be one."""
STACK = "stack"
"""The model that is made of others."""
MODEL_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")
"""What a variant may be called: its name becomes that of a file and of a column."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Clause(_Section):
    """`count` moderation events of a kind make an escalation; within a time, or ever."""

    event: Literal["sanction", "report", "any"]
    min_severity: Annotated[int, Field(ge=1, le=5)] = 1
    count: Annotated[int, Field(ge=1, le=32)] = 1
    within: PositiveDuration | None = None


class TargetPolicy(_Section):
    """What *escalates* means, and the horizon it is predicted for.

    A user who has escalated leaves the at-risk set for `reset_after` (for ever if absent). With `recurring`, the user
    stays in it, and every further qualifying event escalates again.
    """

    name: Label = "escalates"
    horizon: PositiveDuration
    when: Annotated[tuple[Clause, ...], Field(min_length=1)]
    reset_after: PositiveDuration | None = None
    recurring: bool = False


class ChannelPolicy(_Section):
    """What is known of channels: the history of the `remembered` ones latest heard of, in each partition.

    Without it no channel has a history, and the features that need one are absent.
    """

    remembered: Annotated[int, Field(ge=1, le=100_000)] | None = None


class LearningPolicy(_Section):
    """How the models learn.

    `sample` is the share of decision points learnt as negatives; `positive_weight` what a positive weighs against
    one; both are undone in the published probability. A version is published when event time enters a new interval
    of `publish_every`. A model says *insufficient history* until it has learnt `min_positives` positives and as many
    negatives, and for users with fewer than `min_events` events.
    """

    champion: Label = "logistic"
    challengers: tuple[Label, ...] = ("bayes",)
    publish_every: PositiveDuration = 600_000
    sample: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    positive_weight: Annotated[float, Field(gt=0.0, le=1000.0)] = 5.0
    learning_rate: Annotated[float, Field(gt=0.0, le=10.0)] = 0.05
    l2: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    min_positives: Annotated[int, Field(ge=1)] = 10
    min_events: Annotated[int, Field(ge=1)] = 1
    pending: Annotated[int, Field(ge=1, le=64)] = 8
    keep_versions: Annotated[int, Field(ge=1, le=256)] = 32
    exemplars: Annotated[int, Field(ge=16, le=256)] = 64
    exemplar_age: PositiveDuration = 2_592_000_000
    neighbours: Annotated[int, Field(ge=1, le=16)] = 5


Members = Annotated[tuple[Label, ...], Field(min_length=2)]


class StackPolicy(_Section):
    """The models that `stack` weighs."""

    members: Members = ("logistic", "bayes")


class VariantPolicy(_Section):
    """A model under a name of its own that never reads the features whose names match a shell pattern of `ignore`.

    A variant of `stack` may have other `members`.
    """

    model: Label
    ignore: tuple[str, ...] = ()
    members: Members | None = None

    def ignores(self, feature: str) -> bool:
        """Whether it never reads the feature."""
        return any(fnmatchcase(feature, pattern) for pattern in self.ignore)


class TierPolicy(_Section):
    """When a tier is entered and left: at two probabilities, or by a promise.

    It is entered at `enter` and left below `leave`; or it is entered where the model's track record shows that so many
    of the warnings, its `precision`, are right, and left below half the odds of that.
    """

    enter: Unit | None = None
    leave: Unit | None = None
    precision: Annotated[float, Field(gt=0.0, lt=1.0, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if self.precision is not None:
            if self.enter is not None or self.leave is not None:
                raise ValueError("a tier has enter and leave, or the precision it promises: give one or the other")
        elif self.enter is None or self.leave is None:
            raise ValueError("a tier needs both enter and leave, or the precision it promises")
        elif self.leave > self.enter:
            raise ValueError(
                f"leave {self.leave} lies above enter {self.enter}: a tier is left below where it is entered"
            )
        return self

    @property
    def numbers(self) -> tuple[float, ...]:
        """The thresholds `enter` and `leave`; nothing where there is a promise instead."""
        return () if self.enter is None or self.leave is None else (self.enter, self.leave)


class WarningPolicy(_Section):
    """How warnings behave: they lapse after `expiry`, and a tier is not entered again within `cooldown`.

    `budget` is how many users may be newly warned of by their scores in an hour.
    """

    expiry: PositiveDuration = 86_400_000
    cooldown: Duration = 3_600_000
    budget: Annotated[int, Field(ge=1)] | None = None
    reasons: Annotated[int, Field(ge=1, le=16)] = 4


class PromisePolicy(_Section):
    """How promises of precision are held: with which confidence, and how long until evidence has half its weight."""

    confidence: Annotated[float, Field(ge=0.5, lt=1.0)] = 0.95
    memory: PositiveDuration = 2_592_000_000


class RulePolicy(_Section):
    """A rule: on or off, the tier it raises to when it fires, and its limit (each rule says of what)."""

    enabled: bool = True
    tier: Literal[Tier.WATCH, Tier.ELEVATED, Tier.HIGH] = Tier.WATCH
    limit: Annotated[float, Field(gt=0)] | None = None


class Policy(_Section):
    """A whole policy file."""

    name: Label
    allowed_lateness: Duration = 3_600_000
    strike_expiry: PositiveDuration = 7_776_000_000
    profile_ttl: PositiveDuration = 31_536_000_000
    target: TargetPolicy
    channels: ChannelPolicy = ChannelPolicy()
    learning: LearningPolicy = LearningPolicy()
    variants: dict[str, VariantPolicy] = {}
    stack: StackPolicy = StackPolicy()
    tiers: dict[Literal[Tier.WATCH, Tier.ELEVATED, Tier.HIGH], TierPolicy]
    promises: PromisePolicy = PromisePolicy()
    warnings: WarningPolicy = WarningPolicy()
    rules: dict[str, RulePolicy] = {}

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
        """The models that a model of this policy weighs; none, unless it is `stack` or a variant of it."""
        if name == STACK:
            return self.stack.members
        variant = self.variants.get(name)
        return () if variant is None or variant.model != STACK else variant.members or self.stack.members

    @property
    def tracked(self) -> bool:
        """Whether anything is decided by a model's track record."""
        promised = any(tier.precision is not None for tier in self.tiers.values())
        return promised or self.warnings.budget is not None

    @property
    def lowest_threshold(self) -> float:
        """The lowest probability at which a track record matters: a promise may be kept by a score that says less."""
        return min(low for tier in self.tiers.values() for low in (*tier.numbers[:1], (tier.precision or 4.0) / 4))

    @property
    def version(self) -> str:
        """Content hash of the policy, whatever order it was written in: 16 hex digits."""
        content = orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
        return blake2b(content, digest_size=8).hexdigest()


def parse_policy(data: dict[str, Any], known_rules: Collection[str], models: Mapping[str, Collection[str]]) -> Policy:
    """The policy in a parsed TOML document; `models` are those there are, each with the features it reads.

    Raises:
        ValueError: (pydantic's ValidationError is one) if a value is wrong, or a rule or model does not exist.
    """
    policy = Policy.model_validate(data)
    _known("rule", policy.rules, known_rules)
    for name, variant in policy.variants.items():
        _check_variant(name, variant, known_rules, models)
    for name in (STACK, *policy.variants):
        _check_members(policy, name, models)
    _known("model", [policy.learning.champion, *policy.learning.challengers], {*models, *policy.variants})
    if policy.learning.champion in policy.learning.challengers:
        raise ValueError(f"model {policy.learning.champion!r} is champion and challenger: name it once")
    return policy


def _check_variant(name: str, variant: VariantPolicy, rules: Collection[str], models: Collection[str]) -> None:
    if name in models or name in rules:
        raise ValueError(f"variants.{name} is named like a model or a rule: give it a name of its own")
    if name in TAKEN or not MODEL_NAME.fullmatch(name):
        raise ValueError(
            f"variants.{name} cannot be called that: use letters, digits and _, and none of {', '.join(TAKEN)}"
        )
    _known("model", [variant.model], models, f"variants.{name}: ")
    if variant.members is not None and variant.model != STACK:
        raise ValueError(f"variants.{name}: {variant.model} has no members: leave them out, or make it a {STACK}")
    if not variant.ignore and variant.members is None:
        raise ValueError(f"variants.{name} is {variant.model} itself: say what it is to ignore")
    for pattern in variant.ignore:
        if not any(fnmatchcase(feature, pattern) for feature in NAMES):
            raise ValueError(f"variants.{name}: {pattern!r} matches no feature: docs/concepts.md names them all")


def _known(kind: str, asked: Iterable[str], known: Collection[str], where: str = "") -> None:
    if unknown := sorted(set(asked) - set(known)):
        raise ValueError(f"{where}unknown {kind} {unknown[0]!r}: choose from {', '.join(sorted(known))}")


def _check_members(policy: Policy, name: str, models: Mapping[str, Collection[str]]) -> None:
    variant, members = policy.variants.get(name), policy.members(name)
    where = name if variant is None else f"variants.{name}"
    stacks = {STACK, *(other for other in policy.variants if policy.members(other))}
    if twice := sorted({member for member in members if members.count(member) > 1}):
        raise ValueError(f"{where} names its member {twice[0]!r} twice: name it once")
    _known("member", members, {*models, *policy.variants} - stacks, f"{where}: ")
    for part in members or (variant.model if variant else name,):
        left_out = [one for one in (variant, policy.variants.get(part)) if one]
        reads = models[left_out[-1].model if part in policy.variants else part]
        if all(any(one.ignores(feature) for one in left_out) for feature in reads):
            raise ValueError(f"{where} leaves {part} nothing to read: ignore less")
