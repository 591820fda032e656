"""Configuration of a simulation: its size, its seed, and the rates of its events."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.records.base import MAX_TIME

Rate = Annotated[float, Field(ge=0.0, le=1.0)]


class SimulationConfig(BaseModel):
    """Configuration of a simulated platform; the same values give the same bytes.

    `events` is the least number of events, and `days` the span from `start` that contains them. Shares are of users,
    and rates are probabilities per occasion. Results on a simulation prove nothing about accuracy, because the detector
    finds only what the simulation contains.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    events: Annotated[int, Field(ge=1)] = 200_000
    users: Annotated[int, Field(ge=20)] = 2_000
    days: Annotated[float, Field(gt=0.0, le=3_650.0)] = 30.0
    seed: Annotated[int, Field(ge=0)] = 1
    start: datetime = datetime(2024, 1, 1, tzinfo=UTC)

    drifting: Rate = 0.08
    """Share of users who drift from casual to occasional to chronic violations."""
    reforming: Rate = 0.04
    """Share of users who drift in the same way but mostly stop after a sanction or an educational notice."""
    contacting: Rate = 0.01
    """Share of users who start, at some time, to write to many strangers."""

    reported: Rate = 0.25
    """Rate at which violations are reported."""
    falsely_reported: Rate = 0.001
    """Rate at which harmless messages are reported."""
    brigades_per_week: Annotated[float, Field(ge=0.0, le=1_000.0)] = 2.0
    """Mean number of brigades a week: a crowd reports a user who did nothing."""
    sanctioned: Rate = 0.3
    """Rate at which violations lead to a sanction, after a delay."""
    overturned: Rate = 0.08
    """Rate at which sanctions for violations are reversed later."""
    exposed: Rate = 0.5
    """Rate at which violations lead to an exposure: an educational notice, or none in the control arm."""
    treated: Rate = 0.5
    """Probability of the notice rather than the control arm."""
    erased: Rate = 0.003
    """Share of users who request erasure."""

    late: Rate = 0.002
    """Rate at which events arrive minutes to hours late."""
    disordered: Rate = 0.01
    """Rate at which events arrive some seconds late."""
    duplicated: Rate = 0.003
    """Rate at which events arrive twice."""

    @model_validator(mode="after")
    def _within_time(self) -> Self:
        if self.start_ms < 0 or self.start_ms + self.span_ms > MAX_TIME:
            raise ValueError("a log begins after 1970 and ends before the year 10000")
        return self

    @property
    def start_ms(self) -> int:
        """Return the start in milliseconds since 1970; a start without a zone is UTC."""
        start = self.start if self.start.tzinfo else self.start.replace(tzinfo=UTC)
        return round(start.timestamp() * 1000)

    @property
    def span_ms(self) -> int:
        """Return the span in milliseconds, at least 1."""
        return max(1, round(self.days * 86_400_000))
