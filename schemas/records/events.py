"""Input events: chat messages and moderation events."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import FailFast, Field, model_validator

from schemas.records.base import LONGEST_TEXT, MOST_RECIPIENTS, MOST_SCORES, Id, Label, Probability, Record, TimeMs


class ScorerResult(Record):
    """An external scorer's result for a message. Scorer and version are stored, because scorers get replaced."""

    scorer: Label
    version: Label
    value: Probability


class ChatMessage(Record):
    """A message by a user. The subject is the author."""

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
    """A report about the subject; `reporter_id` is None if the platform does not state the reporter."""

    reporter_id: Id | None = None
    category: Label | None = None
    channel: Label | None = None
    message_id: Id | None = None


class Sanction(Record):
    """An action of the platform against the subject. It is upheld until a reversal names this event's id."""

    action: Literal["warning", "mute", "kick", "suspension", "ban", "other"]
    severity: Annotated[int, Field(strict=True, ge=1, le=5)]
    policy: Label
    source: Literal["human", "automated", "unknown"] = "unknown"


class Reversal(Record):
    """The reversal of the sanction with this event id."""

    sanction_id: Id
    reason: Label | None = None


class Exposure(Record):
    """An intervention shown to the subject (or, as control, none), with the probability of that choice."""

    intervention: Label
    arm: Label
    probability: Probability


class ModerationEvent(Record):
    """A moderation action or finding about the subject; exactly the detail named by `kind` is present."""

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
