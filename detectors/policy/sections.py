"""The sections of a policy."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from detectors.policy.values import Duration, PositiveDuration, Unit
from schemas.records.base import Label
from schemas.records.decisions import Tier

STACK = "stack"
"""The name of the model that combines others."""
RIVER_VERSIONS = 8
"""Most versions of a River model that a lane keeps: each holds a whole trained object."""


class Section(BaseModel):
    """A part of the policy: immutable, and invalid if it has an unknown key."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Clause(Section):
    """A condition for an escalation: `count` moderation events of a kind, within a time or without time limit."""

    event: Literal["sanction", "report", "any"]
    min_severity: Annotated[int, Field(ge=1, le=5)] = 1
    count: Annotated[int, Field(ge=1, le=32)] = 1
    within: PositiveDuration | None = None


class TargetPolicy(Section):
    """The definition of *escalates*, and the horizon of the prediction.

    A user who has escalated leaves the at-risk set for `reset_after` (for ever if absent). With `recurring`, the user
    stays in it, and every further qualifying event is another escalation.
    """

    name: Label = "escalates"
    horizon: PositiveDuration
    when: Annotated[tuple[Clause, ...], Field(min_length=1)]
    reset_after: PositiveDuration | None = None
    recurring: bool = False


class ChannelPolicy(Section):
    """The history of channels: it is kept for the `remembered` most recently active channels of each partition.

    If `remembered` is absent, no channel has a history, and the features that need one are absent.
    """

    remembered: Annotated[int, Field(ge=1, le=100_000)] | None = None


class LearningPolicy(Section):
    """The settings of learning.

    `sample` is the share of decision points learnt as negatives; `positive_weight` is the weight of a positive relative
    to a negative. The published probability is corrected for both. A version is published when event time enters a new
    interval of `publish_every`. A model returns *insufficient history* until it has learnt `min_positives` positives
    and as many negatives, and for users with fewer than `min_events` events.
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


class StackPolicy(Section):
    """The models that `stack` combines."""

    members: Members = ("logistic", "bayes")


class VariantPolicy(Section):
    """A model under another name that never reads the features whose names match a shell pattern in `ignore`.

    A variant of `stack` may have its own `members`.
    """

    model: Label
    ignore: tuple[str, ...] = ()
    members: Members | None = None

    def ignores(self, feature: str) -> bool:
        """Return whether the variant never reads the feature."""
        return any(fnmatchcase(feature, pattern) for pattern in self.ignore)


class RiverPolicy(Section):
    """A classifier of River's as a model: its class below `river`, and its parameters.

    With `scale`, features are standardised first. `publish_every` replaces that of `[learning]`. Once a version has
    more than `max_bytes`, the model learns no further.
    """

    river: Label
    parameters: dict[str, Any] = {}
    scale: bool = False
    publish_every: PositiveDuration | None = None
    max_bytes: Annotated[int, Field(ge=1024)] = 1_048_576


class TierPolicy(Section):
    """The conditions for entering and leaving a tier: two probabilities, or a precision guarantee.

    With two probabilities, the tier is entered at `enter` and left below `leave`. With a guarantee, it is entered at
    the probability from which the model's threshold statistics show that the share `precision` of the warnings is
    right, and left below half the odds of that probability.
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
        """Return the thresholds `enter` and `leave`; empty if the tier has a precision guarantee instead."""
        return () if self.enter is None or self.leave is None else (self.enter, self.leave)


class WarningPolicy(Section):
    """The settings of warnings: they expire after `expiry`, and a tier is not entered again within `cooldown`.

    `budget` is the maximum number of users per hour who are newly warned of by their scores.
    """

    expiry: PositiveDuration = 86_400_000
    cooldown: Duration = 3_600_000
    budget: Annotated[int, Field(ge=1)] | None = None
    reasons: Annotated[int, Field(ge=1, le=16)] = 4


class PromisePolicy(Section):
    """The settings of precision guarantees: their confidence, and the half-life of their evidence (`memory`)."""

    confidence: Annotated[float, Field(ge=0.5, lt=1.0)] = 0.95
    memory: PositiveDuration = 2_592_000_000


class RulePolicy(Section):
    """A rule: on or off, the tier it raises to when it fires, and its limit, in the unit that the rule defines."""

    enabled: bool = True
    tier: Literal[Tier.WATCH, Tier.ELEVATED, Tier.HIGH] = Tier.WATCH
    limit: Annotated[float, Field(gt=0)] | None = None


def tracked(tiers: Mapping[Any, TierPolicy], warnings: WarningPolicy) -> bool:
    """Return whether any decision depends on a model's threshold statistics: a precision guarantee or a budget."""
    return warnings.budget is not None or any(tier.precision is not None for tier in tiers.values())
