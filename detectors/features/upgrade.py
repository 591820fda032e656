"""Reads the states of earlier versions."""

from __future__ import annotations

from array import array
from math import exp2, nan
from typing import Any

from detectors.contract import Vector
from detectors.features.catalogue import NAMES
from detectors.features.declare import HOPS, duration_ms


def upgrade_from_1(state: dict[str, Any]) -> dict[str, Any]:
    """A user's state of version 1, which kept every window and every decay in a cell of its own, as version 2.

    A window's cell was `[total, {tile: amount}]`, a decay's `[time, value]` as of that time.
    """
    sums: dict[str, float] = {}
    cells: dict[str, Any] = {}
    lasts: dict[str, int] = {}
    windows: dict[str, dict[str, dict[int, float]]] = {}
    for name, data in state["cells"].items():
        signal, _, tail = name.rpartition("_")
        if name.endswith("_distinct"):
            cells[name] = data
        elif name.endswith("_last"):
            lasts[signal] = data
        elif signal.endswith("_decay"):
            time, value = data
            sums[name] = value * exp2((time - state["clock"]) / duration_ms(tail))
        elif signal.endswith("_max"):
            cells[name] = data[1]
        else:
            sums[name] = data[0]
            windows.setdefault(tail, {})[signal] = data[1]
    rows = {}
    for span in HOPS:
        columns = windows.get(span, {})
        tiles = sorted({tile for column in columns.values() for tile in column})
        if tiles:
            rows[span] = (list(columns), {tile: [column.get(tile, 0) for column in columns.values()] for tile in tiles})
    seen = b"".join(key.to_bytes(8, "big") for key in state["seen"])
    return {**state, "sums": sums, "rows": rows, "cells": cells, "lasts": lasts, "seen": seen}


def stored_vector(data: bytes) -> Vector:
    """A vector as it was stored; features that were declared behind it since then are absent in it."""
    vector = array("d", data)
    vector.extend([nan] * (len(NAMES) - len(vector)))
    return vector


def upgrade_from_2(state: dict[str, Any]) -> dict[str, Any]:
    """A user's state of version 2, which kept no trail of tokens, as version 3: the trail begins with what comes."""
    facts, pending, *between, learnt = state["history"]
    pending = [(priority, as_of, stored_vector(vector).tobytes()) for priority, as_of, vector in pending]
    learnt = [(stored_vector(vector).tobytes(), weight) for vector, weight in learnt]
    return {**state, "history": [facts, pending, *between, learnt], "trail": 0, "channel": -1}
