"""What a simulation may be told: its size, its seed, and how often each thing happens."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.records.base import MAX_TIME

Rate = Annotated[float, Field(ge=0.0, le=1.0)]


class SimulationConfig(BaseModel):
    """A simulated platform; the same values give the same bytes.

    `events` is the least number of events; `days` the span they fall into from `start`. Shares are of users, rates per
    occasion. Results on a simulation prove nothing about accuracy: the detector meets only what was put in.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    events: Annotated[int, Field(ge=1)] = 200_000
    users: Annotated[int, Field(ge=20)] = 2_000
    days: Annotated[float, Field(gt=0.0, le=3_650.0)] = 30.0
    seed: Annotated[int, Field(ge=0)] = 1
    start: datetime = datetime(2024, 1, 1, tzinfo=UTC)

    drifting: Rate = 0.08
    """Share of users who go from casual to occasional to chronic violations."""
    reforming: Rate = 0.04
    """Share of users who drift likewise and, once sanctioned or taught, mostly stop."""
    contacting: Rate = 0.01
    """Share of users who at some time start to write to many strangers."""

    reported: Rate = 0.25
    """How often a violation is reported."""
    falsely_reported: Rate = 0.001
    """How often a harmless message is reported."""
    brigades_per_week: Annotated[float, Field(ge=0.0, le=1_000.0)] = 2.0
    """How often a crowd reports somebody who did nothing."""
    sanctioned: Rate = 0.3
    """How often a violation leads to a sanction, after a delay."""
    overturned: Rate = 0.08
    """How often a sanction for a violation is reversed later."""
    exposed: Rate = 0.5
    """How often a violation leads to an educational notice, or as control to none."""
    treated: Rate = 0.5
    """The probability of the notice rather than the control."""
    erased: Rate = 0.003
    """Share of users who ask to be forgotten."""

    late: Rate = 0.002
    """How often an event arrives minutes to hours late."""
    disordered: Rate = 0.01
    """How often an event arrives some seconds late."""
    duplicated: Rate = 0.003
    """How often an event arrives twice."""

    @model_validator(mode="after")
    def _within_time(self) -> Self:
        if self.start_ms < 0 or self.start_ms + self.span_ms > MAX_TIME:
            raise ValueError("a log begins after 1970 and ends before the year 10000")
        return self

    @property
    def start_ms(self) -> int:
        """The start in milliseconds since the epoch; UTC where it names no zone."""
        start = self.start if self.start.tzinfo else self.start.replace(tzinfo=UTC)
        return round(start.timestamp() * 1000)

    @property
    def span_ms(self) -> int:
        """The span in milliseconds, at least one."""
        return max(1, round(self.days * 86_400_000))
