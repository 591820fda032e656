"""Layouts of profile state: the names of its numbers, for every catalogue under which a state may have been dumped.

A state holds numbers in the order of its layout and refers to the layout by its hash. A released layout stays in this
module, so that its states can still be read after features were declared or dropped. A layout that is not in this
module is dumped along with the state.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any

from detectors.base.state import StateVersionError
from detectors.features.layout import Shape

Layout = dict[str, Any]
"""The window columns of each span in `spans`, and the names of `decays`, `keys`, `peaks` and `lasts`."""


def layout_id(layout: Layout) -> str:
    """Return the layout's hash (8 hex digits), by which states refer to it."""
    return blake2b(json.dumps(layout).encode(), digest_size=4).hexdigest()


def shape_of(layout: Layout) -> Shape:
    """Return the array sizes of a state under the layout."""
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


def layout_of(stored: str | Layout) -> Layout:
    """Return the layout of a state, given its hash or the layout dumped with the state.

    Raises:
        StateVersionError: if no released layout has that hash.
    """
    if not isinstance(stored, str):
        return stored
    if stored not in LAYOUTS:
        raise StateVersionError(f"user state has the layout {stored}, which is unknown: a later forewarn wrote it")
    return LAYOUTS[stored]
