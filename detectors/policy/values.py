"""Value types of policies: durations and shares."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer

from detectors.features.declare import duration_ms


def _duration(value: object) -> object:
    if isinstance(value, bool | float):
        raise ValueError(f"{value} is not a duration: write a whole number and a unit, such as 90s, 5m, 24h or 7d")  # noqa: TRY004 - pydantic reports a ValueError
    return duration_ms(value) if isinstance(value, str) else value


Duration = Annotated[int, BeforeValidator(_duration), Field(ge=0), PlainSerializer(lambda ms: ms)]
"""Milliseconds, written as 90s, 5m, 24h or 7d."""
PositiveDuration = Annotated[Duration, Field(gt=0)]
Unit = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]


def written(ms: int) -> str:
    """Return a duration (ms) as policies write it, in the largest unit that is exact.

    >>> written(duration_ms("90d")), written(5_400_000)
    ('90d', '90m')
    """
    units = [(unit, duration_ms(f"1{unit}")) for unit in ("d", "h", "m", "s", "ms")]
    return next(f"{ms // size}{unit}" for unit, size in units if ms % size == 0)
