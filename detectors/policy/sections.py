"""The sections of a policy."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from detectors.policy.values import Duration, PositiveDuration, Unit
from schemas.records.base import Label
from schemas.records.decisions import Tier

STACK = "stack"
"""The model that is made of others."""


class Section(BaseModel):
    """A part of the policy: immutable, and refused where it holds a key that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Clause(Section):
    """`count` moderation events of a kind make an escalation; within a time, or ever."""

    event: Literal["sanction", "report", "any"]
    min_severity: Annotated[int, Field(ge=1, le=5)] = 1
    count: Annotated[int, Field(ge=1, le=32)] = 1
    within: PositiveDuration | None = None


class TargetPolicy(Section):
    """What *escalates* means, and the horizon it is predicted for.

    A user who has escalated leaves the at-risk set for `reset_after` (for ever if absent). With `recurring`, the user
    stays in it, and every further qualifying event escalates again.
    """

    name: Label = "escalates"
    horizon: PositiveDuration
    when: Annotated[tuple[Clause, ...], Field(min_length=1)]
    reset_after: PositiveDuration | None = None
    recurring: bool = False


class ChannelPolicy(Section):
    """What is known of channels: the history of the `remembered` ones latest heard of, in each partition.

    Without it no channel has a history, and the features that need one are absent.
    """

    remembered: Annotated[int, Field(ge=1, le=100_000)] | None = None


class LearningPolicy(Section):
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


class StackPolicy(Section):
    """The models that `stack` weighs."""

    members: Members = ("logistic", "bayes")


class VariantPolicy(Section):
    """A model under a name of its own that never reads the features whose names match a shell pattern of `ignore`.

    A variant of `stack` may have other `members`.
    """

    model: Label
    ignore: tuple[str, ...] = ()
    members: Members | None = None

    def ignores(self, feature: str) -> bool:
        """Whether it never reads the feature."""
        return any(fnmatchcase(feature, pattern) for pattern in self.ignore)


class TierPolicy(Section):
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


class WarningPolicy(Section):
    """How warnings behave: they lapse after `expiry`, and a tier is not entered again within `cooldown`.

    `budget` is how many users may be newly warned of by their scores in an hour.
    """

    expiry: PositiveDuration = 86_400_000
    cooldown: Duration = 3_600_000
    budget: Annotated[int, Field(ge=1)] | None = None
    reasons: Annotated[int, Field(ge=1, le=16)] = 4


class PromisePolicy(Section):
    """How promises of precision are held: with which confidence, and how long until evidence has half its weight."""

    confidence: Annotated[float, Field(ge=0.5, lt=1.0)] = 0.95
    memory: PositiveDuration = 2_592_000_000


class RulePolicy(Section):
    """A rule: on or off, the tier it raises to when it fires, and its limit (each rule says of what)."""

    enabled: bool = True
    tier: Literal[Tier.WATCH, Tier.ELEVATED, Tier.HIGH] = Tier.WATCH
    limit: Annotated[float, Field(gt=0)] | None = None
