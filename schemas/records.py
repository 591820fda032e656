"""The records that cross a topic, validated, and the envelopes they travel in between source and decode."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, FailFast, Field, model_validator

MAX_TIME = 253_402_300_799_999
"""The last millisecond of the year 9999: a time beyond it is not a time."""
LONGEST_TEXT = 65_536
MOST_RECIPIENTS = 1_024
MOST_SCORES = 64

Id = Annotated[str, Field(min_length=1, max_length=256)]
Label = Annotated[str, Field(min_length=1, max_length=128)]
TimeMs = Annotated[int, Field(strict=True, ge=0, le=MAX_TIME)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]

CHAT: Literal["chat_message"] = "chat_message"
MODERATION: Literal["moderation_event"] = "moderation_event"
Subject = Literal["chat_message", "moderation_event"]


class Position(NamedTuple):
    """Where a record came from: topic, partition and offset, and its dense count within the source partition.

    `seq` counts every record the source partition has emitted, from 0, without gaps; it is what lets the learner know
    that nothing earlier is still on its way.
    """

    topic: str
    partition: int
    offset: int
    seq: int


class Raw(NamedTuple):
    """One record as a source read it: bytes, or the mapping a log row was turned into.

    `received` is when the record reached the log (ms), the reference its event time is measured against; None where
    the log does not know. `schema_header` is the value of the record's header `__value_schema_id`, by which some
    serialisers name the schema of a bare datum. `redriven` says that a redrive sent the record again, so that it is
    older than its arrival.
    """

    subject: Subject
    value: bytes | Mapping[str, Any] | None
    key: bytes | None
    at: Position
    received: int | None
    schema_header: bytes | None = None
    redriven: bool = False


class Record(BaseModel):
    """Base of every record: immutable, unknown fields ignored so that newer writers can be read."""

    model_config = ConfigDict(frozen=True, extra="ignore", str_strip_whitespace=False)


class ScorerResult(Record):
    """What an external scorer said of a message; which scorer and version, because scorers get replaced."""

    scorer: Label
    version: Label
    value: Probability


class ChatMessage(Record):
    """A user said something. The subject is the author."""

    event_id: Id
    event_time: TimeMs
    user_id: Id
    channel: Label
    text: Annotated[str, Field(max_length=LONGEST_TEXT)] | None = None
    recipients: Annotated[tuple[Id, ...], Field(max_length=MOST_RECIPIENTS), FailFast()] = ()
    locale: Annotated[str, Field(max_length=35)] | None = None
    age_band: Annotated[str, Field(max_length=32)] | None = None
    scores: Annotated[tuple[ScorerResult, ...], Field(max_length=MOST_SCORES), FailFast()] = ()


class Report(Record):
    """Somebody reported the subject; `reporter_id` is None where the platform does not say who."""

    reporter_id: Id | None = None
    category: Label | None = None
    channel: Label | None = None
    message_id: Id | None = None


class Sanction(Record):
    """The platform acted against the subject. Upheld until a reversal names this event's id."""

    action: Literal["warning", "mute", "kick", "suspension", "ban", "other"]
    severity: Annotated[int, Field(strict=True, ge=1, le=5)]
    policy: Label
    source: Literal["human", "automated", "unknown"] = "unknown"


class Reversal(Record):
    """The sanction with this event id was overturned."""

    sanction_id: Id
    reason: Label | None = None


class Exposure(Record):
    """The subject was shown an intervention (or, as control, none), with the probability of that choice."""

    intervention: Label
    arm: Label
    probability: Probability


class ModerationEvent(Record):
    """Something moderation did or learnt about the subject: exactly the detail that `kind` names is present."""

    event_id: Id
    event_time: TimeMs
    user_id: Id
    kind: Literal["report", "sanction", "reversal", "exposure", "erasure"]
    report: Report | None = None
    sanction: Sanction | None = None
    reversal: Reversal | None = None
    exposure: Exposure | None = None

    @model_validator(mode="after")
    def _detail_matches_kind(self) -> Self:
        present = {k for k in ("report", "sanction", "reversal", "exposure") if getattr(self, k) is not None}
        wanted = set() if self.kind == "erasure" else {self.kind}
        if present != wanted:
            raise ValueError(f"a {self.kind} carries exactly the detail {sorted(wanted)}, not {sorted(present)}")
        return self


Event = ChatMessage | ModerationEvent


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


class RejectReason(StrEnum):
    """The closed list of reasons a record does not become an Event."""

    EMPTY_VALUE = "empty_value"
    TOO_LARGE = "too_large"
    UNKNOWN_FRAMING = "unknown_framing"
    TRUNCATED = "truncated"
    UNKNOWN_SCHEMA = "unknown_schema"
    MALFORMED_AVRO = "malformed_avro"
    MALFORMED_JSON = "malformed_json"
    INVALID_UTF8 = "invalid_utf8"
    MISSING_FIELD = "missing_field"
    INVALID_FIELD = "invalid_field"
    NON_FINITE_NUMBER = "non_finite_number"
    NEGATIVE_TIMESTAMP = "negative_timestamp"
    PAST_TIMESTAMP = "past_timestamp"
    FUTURE_TIMESTAMP = "future_timestamp"
    UNMAPPED_ROW = "unmapped_row"
    INTERNAL_ERROR = "internal_error"


class Reject(Record):
    """A record that could not become an Event: original bytes, coordinates, stage and a bounded reason.

    `detail` names the offending field or framing, never a value. `schema_header` is that of the record's `Raw`.
    """

    reason: RejectReason
    stage: Literal["source", "decode", "profile"]
    detail: Annotated[str, Field(max_length=256)]
    subject: Subject
    topic: str
    partition: int
    offset: int
    seq: int
    received: int | None
    key: bytes | None
    value: bytes | None
    schema_header: bytes | None = None
