"""What the numbers in a profile's state are called, for every catalogue that a state may have been dumped under.

A state holds numbers in the order of its layout and names only that. A layout, once released, stays here, so that a
state of it can be read when features have been declared or dropped since. One that is not here is dumped along with the
state.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any

from detectors.base.state import StateVersionError
from detectors.features.layout import Shape

Layout = dict[str, Any]
"""The columns of the windows of each `span`, and the names of `decays`, `keys`, `peaks` and `lasts`."""


def layout_id(layout: Layout) -> str:
    """The layout's hash, by which states name it."""
    return blake2b(json.dumps(layout).encode(), digest_size=4).hexdigest()


def shape_of(layout: Layout) -> Shape:
    """How many numbers of each kind a state of the layout has."""
    cells = (len(layout[kind]) for kind in ("decays", "keys", "peaks", "lasts"))
    return Shape(layout["spans"], *cells)


RELEASED: tuple[Layout, ...] = (
    {
        "spans": {
            "5m": ["message_count"],
            "1h": ["message_count", "length_sum", "length_count", "repeat_count", "toxicity_sum", "toxicity_count"],
            "24h": [
                *("message_count", "length_sum", "length_count", "repeat_count", "report_count"),
                *("excess_sum", "excess_count", "quick_answer_count"),
            ],
            "7d": ["report_count", "exposure_count"],
            "30d": ["reversal_count"],
        },
        "decays": ["message_decay_10m", "message_decay_7d", "toxicity_decay_7d", "report_decay_7d"],
        "keys": ["channel", "recipient", "reporter"],
        "peaks": ["toxicity_max_24h"],
        "lasts": ["message", "report", "exposure"],
    },
)
LAYOUTS = {layout_id(layout): layout for layout in RELEASED}


def layout_of(told: str | Layout) -> Layout:
    """The layout that a state says it is of, by name or by bringing it along.

    Raises:
        StateVersionError: if there is none of that name.
    """
    if not isinstance(told, str):
        return told
    if told not in LAYOUTS:
        raise StateVersionError(f"user state has the layout {told}, which is unknown: a later forewarn wrote it")
    return LAYOUTS[told]
