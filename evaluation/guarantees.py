"""Precision guarantees: the precision guaranteed for a tier, and the budget of warnings, checked over a whole run."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, comb
from typing import Any

import numpy as np

from evaluation.alerts import Follow
from evaluation.labels import period_of
from evaluation.runs import Outputs
from schemas.records.decisions import Tier

EXPECTED = 30
"""Right warnings in a window if a guarantee is just kept. The window's size is this number divided by the guarantee,
rounded up."""
SURPRISE = 0.05
"""A window refutes a guarantee if its result has at most this probability under a guarantee that is kept."""
HOUR = 3_600_000


def guarantees(run: Outputs, follow: Follow) -> dict[str, Any]:
    """Return for each guaranteed tier how its guarantee held, and how many users per hour were newly warned.

    Only warnings by score count, since a rule guarantees nothing. A user counts for a tier when a warning takes them
    from below it to it or above. Windows are consecutive. Each has as many matured warnings as hold `EXPECTED` right
    ones if the guarantee is just kept. A window keeps the guarantee if its precision is at least the guaranteed one. It
    refutes the guarantee if a result at most as good has a probability of at most `SURPRISE`.
    """
    policy = run.summary["policy"]
    return {
        "tiers": {tier: _kept(run, follow, Tier(tier), asked) for tier, asked in policy["promised"].items()},
        "budget": None if policy["budget"] is None else _within(run, policy["budget"], run.summary["held_back"]),
    }


def _kept(run: Outputs, follow: Follow, tier: Tier, promised: float) -> dict[str, Any]:
    reached = [w for w in run.warnings if not w.by_rule and w.previous.rank < tier.rank <= Tier(w.tier).rank]
    matured = [right for w in reached if (right := follow.right(w.row)) is not None]
    size = ceil(EXPECTED / promised)
    windows = [sum(matured[start : start + size]) for start in range(0, len(matured) - size + 1, size)]
    return {
        "promised": promised,
        "warnings": len(reached),
        "matured": len(matured),
        "precision": sum(matured) / len(matured) if matured else None,
        "window": size,
        "windows": [right / size for right in windows],
        "kept": sum(right >= promised * size for right in windows),
        "refuted": sum(_at_most(right, size, promised) <= SURPRISE for right in windows),
    }


def _at_most(right: int, size: int, chance: float) -> Fraction:
    """Return the exact probability that at most `right` of `size` are right, each with probability `chance`."""
    hits, all_in = chance.as_integer_ratio()
    ways = sum(comb(size, n) * hits**n * (all_in - hits) ** (size - n) for n in range(right + 1))
    return Fraction(ways, all_in**size)


def _within(run: Outputs, budget: int, held_back: int) -> dict[str, Any]:
    """Count the hours of the log with more newly warned users than the budget; `most` is the maximum of an hour."""
    hours = [w.as_of // HOUR for w in run.warnings if not w.by_rule and w.previous is Tier.NONE]
    in_order = np.argsort(run.seq, kind="stable")
    first, last = period_of(run.user[in_order], run.as_of[in_order]) or (0, 0)
    inside = [hour for hour in hours if first // HOUR <= hour <= last // HOUR]  # the others are of wrong clocks
    _, counts = np.unique(np.array(inside, dtype=np.int64), return_counts=True)
    return {
        "budget": budget,
        "hours": last // HOUR - first // HOUR + 1,
        "hours_above": int((counts > budget).sum()),
        "most": int(counts.max(initial=0)),
        "held_back": held_back,
    }
