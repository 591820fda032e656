"""Were promises kept: the precision promised for a tier, and the budget of warnings, over the whole of a run."""

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
"""A promise can be measured in a window of so many warnings that this number of them should be right at least."""
SURPRISE = 0.05
"""A window refutes a promise that was kept with at most this probability."""
HOUR = 3_600_000


def promises(run: Outputs, follow: Follow) -> dict[str, Any]:
    """For each promised tier how the promise fared, and how many users an hour were newly warned of.

    Only warnings by score are looked at, since a rule promises nothing. A user counts for a tier when a warning takes
    them from below it to it or above. Windows are consecutive: as many matured warnings as make `EXPECTED` right ones
    if the promise is just kept. A window keeps the promise if at least so many were right, and refutes it if so few
    would be a surprise.
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
    """Return how likely at most `right` of `size` are right where each is with a chance, exactly."""
    hits, all_in = chance.as_integer_ratio()
    ways = sum(comb(size, n) * hits**n * (all_in - hits) ** (size - n) for n in range(right + 1))
    return Fraction(ways, all_in**size)


def _within(run: Outputs, budget: int, held_back: int) -> dict[str, Any]:
    """Hours of the log in which more users were newly warned of than the budget allows; `most` in any of them."""
    hours = [w.as_of // HOUR for w in run.warnings if not w.by_rule and w.previous is Tier.NONE]
    _, counts = np.unique(np.array(hours, dtype=np.int64), return_counts=True)
    in_order = np.argsort(run.seq, kind="stable")
    first, last = period_of(run.user[in_order], run.as_of[in_order]) or (0, 0)
    return {
        "budget": budget,
        "hours": last // HOUR - first // HOUR + 1,
        "hours_above": int((counts > budget).sum()),
        "most": int(counts.max(initial=0)),
        "held_back": held_back,
    }
