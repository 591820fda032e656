"""What left a flow, in a form that can be compared: a NaN, which equals nothing, is written out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dataflows.testing import DriverResult
from schemas.records.decisions import RiskEvent


def everything(result: DriverResult) -> dict[str, list[str]]:
    """Every stream, item by item, to the last bit; what is there twice, as after a crash, counts once."""
    streams: dict[str, Iterable[Any]] = {
        "risk": result.risk,
        "served": result.served,
        "published": result.published,
        "rejects": result.rejects,
        "late": result.late,
        "outcomes": result.outcomes,
    }
    return {name: list(dict.fromkeys(map(repr, items))) for name, items in streams.items()}


def told(result: DriverResult, users: Iterable[str]) -> list[str]:
    """What was said of the users: points as served and risk events, without where in the log their events stood."""
    wanted = set(users)
    rows = [
        repr((row.point._replace(at=None), row.probability, row.tier, row.model_version, row.shadow))
        for row in result.served
        if row.point.user_id in wanted
    ]
    return rows + [
        repr(event.model_dump(exclude={"trigger"}) if isinstance(event, RiskEvent) else event)
        for event in result.risk
        if event.user_id in wanted
    ]
