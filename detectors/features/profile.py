"""One user's bounded, versioned state: the aggregates of their signals, their strikes, and what they said last."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from math import exp2, nan, sqrt
from typing import Any, get_args

from detectors.contract import Vector
from detectors.features.declare import Happening
from detectors.features.plan import Plan
from detectors.features.signals import Signal
from detectors.features.strikes import Entry, Ledger
from detectors.features.tokens import EARLIER, FIRST, GAP_LIMITS
from detectors.features.window import LastSeen, Peaks, Rows, row_at, trim

NO_SESSION = [0, -1, 0, 0]
"""Of a user's sessions: events in this one, when it began (ms), how many there were, and events in the first."""
_COUNT, _BEGAN, _NUMBER, _IN_FIRST = map(get_args(Happening).index, ("count", "since", "number", "first"))
SEEN_CAP = 64
"""A repeated event id is recognised among this many of the user's latest events."""
PAUSE = 30 * 60_000
"""After a pause longer than this (ms) another session begins."""
BURST_GAP = 10_000
"""Messages no further apart than this (ms) come in one burst."""
_KEY = 8
"""Bytes an event id's hash takes in `seen`."""


class Profile:
    """Windowed and decayed aggregates of one user's signals.

    The clock is the largest event time the user has shown; totals and decays in `sums` hold as of it. Rows and cells
    are made when a signal first touches them, so a casual user costs little. Everything that is touched by every event
    lies in a few flat lists: with many users, following pointers costs more than the arithmetic.
    """

    __slots__ = (
        "cells",
        "channel",
        "clock",
        "current",
        "events",
        "first",
        "here",
        "lasts",
        "ledger",
        "plan",
        "rows",
        "run",
        "seen",
        "session",
        "spoke",
        "sums",
        "texts",
        "tiles",
        "trail",
    )

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.clock = -1
        self.first = -1
        self.events = 0
        self.sums = plan.zeros.copy()
        self.rows: list[Rows | None] = plan.none.copy()
        self.tiles = plan.no_tiles  # the clock's tile in each span
        self.current: list[list[float] | None] = plan.none.copy()  # its row
        self.cells: list[Any] = [None] * len(plan.cells)
        self.lasts = [-1] * len(plan.lasts)
        self.ledger = Ledger()
        self.seen = bytearray()
        self.texts: list[int] = []
        self.trail = 0  # the latest tokens
        self.channel: float = -1  # the key of the latest message's
        self.here: tuple[float, ...] = ()  # what that channel was like, where that is known
        self.session = NO_SESSION.copy()
        self.spoke = -1  # the largest time of a message
        self.run = 0  # messages of the burst it came in

    def is_duplicate(self, key: int) -> bool:
        """Whether the event of this id hash is among the latest `SEEN_CAP`; remembers it if not."""
        seen, data = self.seen, key.to_bytes(_KEY, "big")
        at = seen.find(data)
        while at >= 0:
            if not at % _KEY:
                return True
            at = seen.find(data, at + 1)
        seen += data
        if len(seen) > SEEN_CAP * _KEY:
            del seen[:_KEY]
        return False

    def unsee(self, key: int) -> None:
        """Forget the id hash remembered last, if it is this one: its event could not be counted, and may come again."""
        if self.seen.endswith(key.to_bytes(_KEY, "big")):
            del self.seen[-_KEY:]

    def advance(self, time: int) -> list[float]:
        """Move the clock to an event at `time`; the scratch list its vector is made in, since-features read.

        A since-feature looks at what was before the triggering event, so it is read before the event is counted.
        """
        plan, lasts = self.plan, self.lasts
        if self.first < 0 or time < self.first:
            self.first = time
        now, session = self.clock, self.session
        gap = 0
        if time > now:
            if time - now > PAUSE or now < 0:
                session[_COUNT], session[_BEGAN] = 0, time
                session[_NUMBER] += 1
            gap = FIRST if now < 0 else bisect_left(GAP_LIMITS, time - now)
            self._move(time)
            self.clock = now = time
        session[_COUNT] += 1
        if session[_NUMBER] == 1:
            session[_IN_FIRST] += 1
        self.trail = (self.trail & EARLIER) << 8 | gap  # whoever knows what happened adds that
        self.events += 1
        scratch = plan.absent.copy()
        for index, slot in plan.since_reads:
            last = lasts[index]
            if last >= 0:
                scratch[slot] = (now - last) / 1000
        if self.ledger.entries:
            self.read_sanction_since(scratch)
        return scratch

    def _move(self, now: int) -> None:
        """Bring all sums from the clock to `now`: tiles that windows leave behind drop out, decays decay."""
        sums, plan = self.sums, self.plan
        tiles = [now // hop for hop in plan.hops]
        if tiles != self.tiles:
            for number, tile in enumerate(tiles):
                if tile != self.tiles[number]:
                    self.current[number] = None
                    rows = self.rows[number]
                    if rows and next(iter(rows)) < (tail := tile - plan.spans[number].hops):
                        trim(rows, tail, plan.spans[number], sums)
            self.tiles = tiles
        age = self.clock - now
        for at, half_life in plan.decay_sums:
            if sums[at]:
                sums[at] *= exp2(age / half_life)

    def read_sanction_since(self, scratch: list[float]) -> None:
        """Read the time since the latest upheld sanction; a reversal changes it at once."""
        plan = self.plan
        if plan.sanction_since_slot >= 0 and self.ledger.entries:
            last = self.ledger.last()
            scratch[plan.sanction_since_slot - plan.sums] = nan if last is None else (self.clock - last) / 1000

    def add(self, signals: list[Signal], time: int) -> None:
        """Count signals at an event time not later than the clock."""
        now, sums, current, plan = self.clock, self.sums, self.current, self.plan
        behind = time < now
        if behind:
            current = plan.none.copy()
            covered = [time // span.hop >= now // span.hop - span.hops for span in plan.spans]
        for signal, amount in signals:
            columns, decays, updates, last = plan.counted[signal]
            if behind:
                columns = [column for column in columns if covered[column.span]]
            for span, column, total, power in columns:
                row = current[span]
                if row is None:
                    row = current[span] = self._row(span, time)
                much = 1 if not power else amount if power == 1 else amount * amount
                row[column] += much
                sums[total] += much
            for at, half_life in decays:
                sums[at] += amount if time == now else amount * exp2((time - now) / half_life)
            for update in updates:
                update(self.cells, amount, time, now)
            if last >= 0 and time > self.lasts[last]:
                self.lasts[last] = time

    def pace(self, signals: list[Signal], time: int) -> None:
        """Add to a message's signals what its time says: how long after the one before, and its place in a burst."""
        spoke = self.spoke
        if time < spoke:
            return  # an out-of-order message has no place between others
        self.spoke = time
        if spoke < 0:
            self.run = 1
            return
        gap = time - spoke
        signals.append(("gap", gap // 1000))
        if gap > BURST_GAP:
            self.run = 1
        else:
            self.run += 1
            signals.append(("burst", self.run))

    def _row(self, number: int, time: int) -> list[float]:
        """The row that an event at `time` is counted in."""
        rows, span = self.rows[number], self.plan.spans[number]
        if rows is None:
            rows = self.rows[number] = {}
        return row_at(rows, time // span.hop, len(span.columns))

    def vector(self, scratch: list[float]) -> Vector:
        """The declared features as of the clock, in declared order; NaN where absent."""
        now, plan = self.clock, self.plan
        scratch[:0] = self.sums
        cells = self.cells
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
        for slot, mask in plan.trail_reads:
            scratch[slot] = self.trail & mask
        session = self.session
        for slot, happening in plan.session_reads:
            scratch[slot] = (now - session[_BEGAN]) / 1000 if happening == _BEGAN else session[happening]
        if self.here:
            for slot, surrounding in plan.here_reads:
                scratch[slot] = self.here[surrounding]
        for slot, top, bottom, factor in plan.quotients:
            if scratch[bottom]:
                scratch[slot] = factor * scratch[top] / scratch[bottom]
        for slot, count, total, squares in plan.spreads:
            if scratch[count] > 1 and scratch[total]:
                varied = scratch[squares] * scratch[count] - scratch[total] * scratch[total]
                scratch[slot] = sqrt(max(varied, 0)) / abs(scratch[total])
        for slot, short, long in plan.differences:
            scratch[slot] = scratch[short] - scratch[long]
        return array("d", plan.pack(*plan.pick(scratch)))

    def state(self) -> dict[str, Any]:
        """Everything as plain data, by name, so that declarations may change between dump and load."""
        plan = self.plan
        names = [f"{column}_{span.name}" for span in plan.spans for column in span.columns] + list(plan.decays)
        return {
            "clock": self.clock,
            "first": self.first,
            "events": self.events,
            "sums": {name: value for name, value in zip(names, self.sums, strict=True) if value},
            "rows": {span.name: (span.columns, rows) for span, rows in zip(plan.spans, self.rows, strict=True) if rows},
            "cells": {
                name: cell.times if isinstance(cell, LastSeen) else cell.tiles
                for name, cell in zip(plan.cells, self.cells, strict=True)
                if cell is not None
            },
            "lasts": {name: last for name, last in zip(plan.lasts, self.lasts, strict=True) if last >= 0},
            "ledger": [list(entry) for entry in self.ledger.entries],
            "seen": bytes(self.seen),
            "texts": self.texts,
            "trail": self.trail,
            "channel": self.channel,
            "here": self.here,
            "session": self.session,
            "spoke": (self.spoke, self.run),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any], plan: Plan) -> Profile:
        """A profile from its state. What is no longer declared is dropped, what is newly declared starts empty."""
        profile = cls(plan)
        profile.clock, profile.first, profile.events = state["clock"], state["first"], state["events"]
        sums, rows, cells, lasts = state["sums"], state["rows"], state["cells"], state["lasts"]
        names = [f"{column}_{span.name}" for span in plan.spans for column in span.columns] + list(plan.decays)
        profile.sums = [sums.get(name, zero) for name, zero in zip(names, plan.zeros, strict=True)]
        for number, span in enumerate(plan.spans):
            if span.name in rows:
                stored, kept = rows[span.name]
                if tuple(stored) != span.columns:
                    places = [stored.index(column) if column in stored else -1 for column in span.columns]
                    kept = {tile: [0 if at < 0 else row[at] for at in places] for tile, row in kept.items()}
                profile.rows[number] = kept
        profile.cells = [_cell(name, cells[name]) if name in cells else None for name in plan.cells]
        profile.lasts = [lasts.get(name, -1) for name in plan.lasts]
        profile.ledger = Ledger([Entry(*entry) for entry in state["ledger"]])
        profile.seen = bytearray(state["seen"])
        profile.texts = list(state["texts"])
        profile.trail, profile.channel = state["trail"], state["channel"]
        profile.here, profile.session = tuple(state["here"]), list(state["session"])
        profile.spoke, profile.run = state["spoke"]
        return profile


def _cell(name: str, data: dict[int, Any]) -> LastSeen | Peaks:
    return LastSeen(dict(data)) if name.endswith("_distinct") else Peaks(dict(data))
