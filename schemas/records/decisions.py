"""Output records: risk events, tombstones, feature rows and model versions."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from schemas.records.base import Finite, Id, Label, Probability, Record, TimeMs


class Tier(StrEnum):
    """Warning levels, in rising order."""

    NONE = "none"
    WATCH = "watch"
    ELEVATED = "elevated"
    HIGH = "high"

    rank: int
    """0 for none up to 3 for high."""

    def __init__(self, _value: str) -> None:
        self.rank = len(type(self).__members__)


class Reason(Record):
    """One reason of a verdict: the detector, the feature it read, the raw counter and its contribution.

    `contribution` is in log-odds for a model and None for a rule. `value` is the raw counter, None when absent.
    """

    detector: Label
    feature: Label
    value: Finite | None
    contribution: Finite | None


class Exemplar(Record):
    """A user who escalated and whom the warned user resembles.

    `exemplar_id` is a hash of the event at the exemplar's decision point. `distance` is in standard deviations of a
    feature. `known_at` is the event time at which the escalation was known (ms).
    """

    exemplar_id: Label
    distance: Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
    known_at: TimeMs


class Trigger(Record):
    """The event that changed the verdict, and its coordinates."""

    event_id: Id
    topic: Label
    partition: Annotated[int, Field(ge=0)]
    offset: Annotated[int, Field(ge=0)]


class RiskEvent(Record):
    """The published change of a user's verdict; a warning lapses by itself at `expires_at`.

    `model_note` states how the score was obtained: `ok`; `ahead` if a pinned model had learnt from events at or after
    `as_of`; `no_version` if no kept version was old enough; `insufficient_history` if the model gave no score for lack
    of history.
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
    """The erasure of a user: published as the user's key without a value, so that compaction removes their records."""

    user_id: Id
    as_of: TimeMs


class FeatureRow(Record):
    """A decision point as served. A feature that is None was absent, which differs from zero."""

    user_id: Id
    as_of: TimeMs
    event_id: Id
    score: Probability | None
    insufficient_history: bool
    tier: Tier
    model_version: str
    features: dict[str, Finite | None]


class ModelVersion(Record):
    """One version of an online model as data. `version` is the content hash of all other fields.

    `state` is the model's own JSON document. `learned_until` is the largest event time it has learnt from (ms), None
    before its first example.
    """

    name: Label
    family: Label
    version: str
    learned_until: int | None
    examples: Annotated[int, Field(ge=0)]
    positives: Annotated[int, Field(ge=0)]
    features: tuple[str, ...]
    state: str
