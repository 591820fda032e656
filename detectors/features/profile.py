"""One user's bounded, versioned state: the aggregates of their signals, their strikes, and what they said last."""

from __future__ import annotations

from array import array
from math import exp2, nan
from typing import Any

import msgpack

from detectors.contract import Vector
from detectors.features.decay import Decayed
from detectors.features.plan import Plan
from detectors.features.signals import Signal
from detectors.features.strikes import Entry, Ledger
from detectors.features.window import LastSeen, Tiles

STATE_VERSION = 1
"""Version of a dumped profile; a reader knows every version up to its own."""
SEEN_CAP = 64
"""A repeated event id is recognised among this many of the user's latest events."""


class Profile:
    """Windowed and decayed aggregates of one user's signals.

    The clock is the largest event time the user has shown. Cells are made when a signal first touches them, so a
    casual user costs little.
    """

    __slots__ = ("cells", "clock", "events", "first", "ledger", "plan", "seen", "texts")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.clock = -1
        self.first = -1
        self.events = 0
        self.cells: list[Any] = [None] * len(plan.cells)
        self.ledger = Ledger()
        self.seen: dict[int, None] = {}
        self.texts: list[int] = []

    def is_duplicate(self, key: int) -> bool:
        """Whether the event of this id hash is among the latest `SEEN_CAP`; remembers it if not."""
        seen = self.seen
        if key in seen:
            return True
        seen[key] = None
        if len(seen) > SEEN_CAP:
            del seen[next(iter(seen))]
        return False

    def advance(self, time: int, scratch: list[float]) -> None:
        """Move the clock to an event at `time` and read the since-features into `scratch`.

        A since-feature looks at what was before the triggering event, so it is read before the event is counted.
        """
        cells, plan = self.cells, self.plan
        if self.first < 0 or time < self.first:
            self.first = time
        self.clock = max(self.clock, time)
        now = self.clock
        self.events += 1
        for index, slot in plan.since_reads:
            last = cells[index]
            if last is not None:
                scratch[slot] = (now - last) / 1000
        self.read_sanction_since(scratch)

    def read_sanction_since(self, scratch: list[float]) -> None:
        """Read the time since the latest upheld sanction; a reversal changes it at once."""
        slot = self.plan.sanction_since_slot
        if slot >= 0 and self.ledger.entries:
            last = self.ledger.last()
            scratch[slot] = nan if last is None else (self.clock - last) / 1000

    def add(self, signals: list[Signal], time: int) -> None:
        """Count signals at an event time not later than the clock."""
        cells, now, plan = self.cells, self.clock, self.plan
        tiles, decays, updates = plan.tiles, plan.decays, plan.updates
        for signal, amount in signals:
            for index, _, width, hop, limit, counting in tiles[signal]:
                cell = cells[index]
                if cell is None:
                    cell = cells[index] = Tiles()
                tile, much = time // hop, 1 if counting else amount
                if tile in cell.values:  # if it is too old already, the next read drops it and sums again
                    cell.values[tile] += much
                    cell.total += much
                else:
                    cell.add(tile, much, (now - width) // hop, limit)
            for index, _, half_life in decays[signal]:
                cell = cells[index]
                if cell is None:
                    cell = cells[index] = Decayed(time)
                cell.add(amount, time, half_life)
            for update in updates[signal]:
                update(cells, amount, time, now)

    def scratch(self) -> list[float]:
        """A scratch list for one vector: every slot at its absent value."""
        return self.plan.defaults.copy()

    def vector(self, scratch: list[float]) -> Vector:
        """The declared features as of the clock, in declared order; NaN where absent."""
        now, cells, plan = self.clock, self.cells, self.plan
        for index, slot, width, hop, _, _ in plan.tile_reads:
            cell = cells[index]
            if cell is not None:
                tail = (now - width) // hop
                if cell.oldest < tail:
                    cell.trim(tail)
                scratch[slot] = cell.total
        for index, slot, half_life in plan.decay_reads:
            cell = cells[index]
            if cell is not None:
                scratch[slot] = cell.value * exp2((cell.time - now) / half_life)
        for index, windows in plan.distincts:
            cell = cells[index]
            if cell is not None:
                slot, width, hop = windows[0]
                tail = (now - width) // hop * hop
                if cell.oldest < tail:
                    cell.forget(tail)
                scratch[slot] = len(cell.times)
                for slot, width, hop in windows[1:]:
                    scratch[slot] = cell.count((now - width) // hop * hop)
        for index, slot, read in plan.reads:
            cell = cells[index]
            if cell is not None:
                scratch[slot] = read(cell, now)
        if self.ledger.entries:
            for slot, read_ledger in plan.ledger_reads:
                scratch[slot] = read_ledger(self.ledger, now)
        if plan.first_slot >= 0:
            scratch[plan.first_slot] = (now - self.first) / 1000
        for slot, top, bottom, factor in plan.quotients:
            if scratch[bottom]:
                scratch[slot] = factor * scratch[top] / scratch[bottom]
        return array("d", plan.pack(*plan.pick(scratch)))

    def state(self) -> dict[str, Any]:
        """Everything as plain data, cells by name, so that declarations may change between dump and load."""
        cells = {}
        for name, cell in zip(self.plan.cells, self.cells, strict=True):
            if cell is not None:
                cells[name] = _plain(cell)
        return {
            "clock": self.clock,
            "first": self.first,
            "events": self.events,
            "cells": cells,
            "ledger": [list(entry) for entry in self.ledger.entries],
            "seen": list(self.seen),
            "texts": self.texts,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any], plan: Plan) -> Profile:
        """A profile from its state. A cell no longer declared is dropped, a newly declared one starts empty."""
        profile = cls(plan)
        profile.clock, profile.first, profile.events = state["clock"], state["first"], state["events"]
        stored = state["cells"]
        profile.cells = [_cell(name, stored[name]) if name in stored else None for name in plan.cells]
        profile.ledger = Ledger([Entry(*entry) for entry in state["ledger"]])
        profile.seen = dict.fromkeys(state["seen"])
        profile.texts = list(state["texts"])
        return profile


def _plain(cell: Any) -> Any:
    if isinstance(cell, Tiles):
        return [cell.total, cell.values]
    if isinstance(cell, LastSeen):
        return cell.times
    if isinstance(cell, Decayed):
        return [cell.time, cell.value]
    return cell


def _cell(name: str, data: Any) -> Any:
    if name.endswith("_distinct"):
        return LastSeen(dict(data))
    if name.endswith("_last"):
        return data
    if "_decay_" in name:
        return Decayed(*data)
    return Tiles(*data)


def pack(state: dict[str, Any]) -> bytes:
    """State as compact bytes: one version byte, then MessagePack."""
    return bytes([STATE_VERSION]) + msgpack.packb(state)


def unpack(data: bytes) -> dict[str, Any]:
    """The state in bytes that `pack` wrote.

    Raises:
        ValueError: if the bytes are of a version this reader does not know.
    """
    if not data or data[0] != STATE_VERSION:
        found = data[0] if data else "nothing"
        raise ValueError(f"profile state version {found} is unknown: this forewarn reads version {STATE_VERSION}")
    state: dict[str, Any] = msgpack.unpackb(data[1:], strict_map_key=False)
    return state
