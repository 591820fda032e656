"""Reads the states of earlier versions."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from math import exp2, nan
from typing import Any
from zlib import compress, decompress

from detectors.contract import Vector
from detectors.features.catalogue import NUMBERS
from detectors.features.declare import HOPS, duration_ms
from detectors.features.packed import pack_vector


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


BEFORE_CODES, BEFORE_CHANNELS = 32, 33
"""Lengths of earlier vectors: the quantities there were at first, and the same with the code of the latest tokens."""


def stored_vector(data: bytes) -> Vector:
    """A vector as it was stored; features that were declared since then are absent in it."""
    vector = array("d", data)
    code = vector.pop() if len(vector) == BEFORE_CHANNELS else nan
    if len(vector) == BEFORE_CODES:
        vector.extend([nan] * (len(NUMBERS) - BEFORE_CODES))
        vector.append(code)
    return vector


def upgrade_from_2(state: dict[str, Any]) -> dict[str, Any]:
    """A user's state of version 2, which kept no trail of tokens, as version 3: the trail begins with what comes."""
    return {**state, "trail": 0, "channel": -1}


def upgrade_from_3(state: dict[str, Any]) -> dict[str, Any]:
    """A user's state of version 3, which knew no sessions or channels and kept each vector by itself, as version 4.

    The user's first session is over, and the present one began with the latest event.
    """
    facts, pending, *between, learnt = state["history"]
    vectors = [stored_vector(vector) for *_, vector in pending] + [stored_vector(vector) for vector, _ in learnt]
    pending = [about for *about, _ in pending]
    history = [facts, pending, *between, [weight for _, weight in learnt], compress(b"".join(vectors))]
    clock, events = state["clock"], state["events"]
    session = [1, clock, 2, events - 1] if events > 1 else [events, clock, events, events]
    return {**state, "history": history, "here": [], "session": session, "spoke": (-1, 0)}


def upgrade_from_4(state: dict[str, Any]) -> dict[str, Any]:
    """A user's state of version 4, which kept vectors together and compressed, as version 5 keeps them, by name."""
    facts, pending, offered, escalated_at, reset_at, weights, packed = state["history"]
    data, kept = decompress(packed), len(pending) + len(weights)
    size = len(data) // kept if kept else 0
    vectors = [pack_vector(array("d", data[at * size : (at + 1) * size])) for at in range(kept)]
    waiting = [(*about, vector) for about, vector in zip(pending, vectors, strict=False)]
    learnt = list(zip(vectors[len(pending) :], weights, strict=True))
    return {**state, "history": [facts, waiting, offered, escalated_at, reset_at, learnt]}


UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: upgrade_from_1,
    2: upgrade_from_2,
    3: upgrade_from_3,
    4: upgrade_from_4,
}
"""By version what makes of its states those of the next, in order."""
