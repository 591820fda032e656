"""Output records: risk events, tombstones, feature rows and model versions."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from schemas.records.base import Finite, Id, Label, Probability, Record, TimeMs


class Tier(StrEnum):
    """How alarmed we are, in rising order."""

    NONE = "none"
    WATCH = "watch"
    ELEVATED = "elevated"
    HIGH = "high"

    rank: int
    """0 for none up to 3 for high."""

    def __init__(self, _value: str) -> None:
        self.rank = len(type(self).__members__)


class Reason(Record):
    """Why: a detector, the feature it looked at, the raw counter and what it contributed.

    `contribution` is in log-odds for a model and None for a rule; `value` is the raw counter, None when absent.
    """

    detector: Label
    feature: Label
    value: Finite | None
    contribution: Finite | None


class Exemplar(Record):
    """Somebody who escalated, and whom the user is like.

    `exemplar_id` is a hash of the event whose decision point the exemplar is, `distance` is in standard deviations of
    a feature, and `known_at` the event time at which the escalation was known.
    """

    exemplar_id: Label
    distance: Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
    known_at: TimeMs


class Trigger(Record):
    """The event that made the verdict change, and its coordinates."""

    event_id: Id
    topic: Label
    partition: Annotated[int, Field(ge=0)]
    offset: Annotated[int, Field(ge=0)]


class RiskEvent(Record):
    """The published change of a user's verdict; a warning lapses by itself at `expires_at`.

    `model_note` says how the score came about: `ok`; `ahead` when a pinned model had learnt from events at or after
    `as_of`; `no_version` when no kept version was old enough; `insufficient_history` when the model would not say.
    """

    risk_event_id: Id
    user_id: Id
    as_of: TimeMs
    tier: Tier
    previous_tier: Tier
    probability: Probability | None
    target: Label
    horizon_ms: Annotated[int, Field(gt=0)]
    expires_at: Annotated[int, Field(ge=0)]
    reasons: tuple[Reason, ...]
    exemplars: tuple[Exemplar, ...] = ()
    model: Label
    model_version: str
    learned_until: int | None
    model_note: Literal["ok", "ahead", "no_version", "insufficient_history"]
    policy: Label
    policy_version: Label
    trigger: Trigger


class Tombstone(Record):
    """A user was erased: published as the user's key with no value, so that compaction forgets them."""

    user_id: Id
    as_of: TimeMs


class FeatureRow(Record):
    """A decision point as served. A feature that is None was absent, which is not zero."""

    user_id: Id
    as_of: TimeMs
    event_id: Id
    score: Probability | None
    insufficient_history: bool
    tier: Tier
    model_version: str
    features: dict[str, Finite | None]


class ModelVersion(Record):
    """One version of an online model as data. `version` is the content hash of everything but itself.

    `state` is the model's own JSON document; `learned_until` the largest event time it has learnt from (None before
    it learnt anything).
    """

    name: Label
    family: Label
    version: str
    learned_until: int | None
    examples: Annotated[int, Field(ge=0)]
    positives: Annotated[int, Field(ge=0)]
    features: tuple[str, ...]
    state: str
