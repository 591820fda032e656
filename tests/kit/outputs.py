"""Outputs made by hand, and those of a simulated log, for the tests of the evaluation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from evaluation.labels import Escalation
from evaluation.runs import Outputs, Warned
from schemas.records.decisions import Tier

HOUR = 3_600_000
DAY = 24 * HOUR


def outputs(
    points: list[tuple[int, float, float]],
    escalations: dict[int, list[tuple[float, int]]],
    *,
    warned: list[int] | None = None,
    horizon: int = DAY,
    expiry: int = DAY,
    features: dict[str, Any] | None = None,
) -> Outputs:
    """Points as (user, hour, score) at every other place of the log; escalations by user as (hour, place).

    `warned` are the rows at which a warning was published.
    """
    users = max((user for user, _, _ in points), default=-1) + 1
    as_of = np.array([round(hour * HOUR) for _, hour, _ in points], dtype=np.int64)
    score = np.array([score for _, _, score in points])
    return Outputs(
        name="made by hand",
        summary={
            "policy": {
                "name": "hand",
                "version": "1",
                "target": "escalates",
                "horizon_ms": horizon,
                "expiry_ms": expiry,
                "promised": {},
                "budget": None,
            },
            "held_back": 0,
            "models": {"champion": "model", "challengers": [], "pinned": False},
        },
        users=[f"user-{number}" for number in range(users)],
        user=np.array([user for user, _, _ in points], dtype=np.int64),
        as_of=as_of,
        seq=np.arange(len(points), dtype=np.int64) * 2,
        event_id=[f"event-{number}" for number in range(len(points))],
        champion="model",
        scores={"model": score},
        features={name: np.array(values, dtype=np.float64) for name, values in (features or {}).items()},
        escalations={
            user: [Escalation(round(hour * HOUR), seq) for hour, seq in suffered]
            for user, suffered in escalations.items()
        },
        warnings=[
            Warned(row, points[row][0], int(as_of[row]), "watch", Tier.NONE, False, points[row][2], ("x",))
            for row in warned or []
        ],
        tier_changes=np.zeros(users, dtype=np.int64),
    )


def shuffled(run: Outputs, seed: int) -> Outputs:
    """The same run with each user's escalations given to another user, at places that user can have them."""
    rng = np.random.default_rng(seed)
    users = len(run.users)
    given = rng.choice(users, size=len(run.escalations), replace=False)
    moved = dict(zip(given.tolist(), run.escalations.values(), strict=True))
    return replace(run, escalations=moved)
