"""One user's bounded, versioned state: the aggregates of their signals, their strikes, and what they said last."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from math import exp2, nan, sqrt
from typing import final, get_args

from detectors.contract import Vector
from detectors.features.declare import Happening
from detectors.features.plan import Plan
from detectors.features.signals import Key, Signal
from detectors.features.strikes import Ledger
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


@final
class Profile:
    """Windowed and decayed aggregates of one user's signals.

    The clock is the largest event time the user has shown; totals and decays in `sums` hold as of it. Rows and cells
    are made when a signal first touches them, so a casual user costs little. Everything that is touched by every event
    lies in a few flat lists: with many users, following pointers costs more than the arithmetic.
    """

    __slots__ = (
        "channel",
        "clock",
        "current",
        "events",
        "first",
        "here",
        "keys",
        "lasts",
        "ledger",
        "peaks",
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
        self.rows: list[Rows | None] = plan.no_rows.copy()
        self.tiles = plan.no_tiles.copy()  # the clock's tile in each span
        self.current: list[list[float] | None] = plan.no_row.copy()  # its row
        self.keys: list[LastSeen | None] = plan.no_keys.copy()
        self.peaks: list[Peaks | None] = plan.no_peaks.copy()
        self.lasts = [-1] * len(plan.lasts)
        self.ledger = Ledger()
        self.seen = bytearray()
        self.texts: list[int] = []
        self.trail = 0  # the latest tokens
        self.channel = -1  # the key of the latest message's
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
        sums, plan, tiles = self.sums, self.plan, self.tiles
        for number, hop in enumerate(plan.hops):
            tile = now // hop
            if tile != tiles[number]:
                tiles[number] = tile
                self.current[number] = None
                rows = self.rows[number]
                if rows:
                    tail = tile - plan.spans[number].hops
                    if next(iter(rows)) < tail:
                        trim(rows, tail, plan.spans[number], sums)
        age = float(self.clock - now)
        for at, half_life in plan.decay_sums:
            if sums[at]:
                sums[at] *= exp2(age / half_life)

    def read_sanction_since(self, scratch: list[float]) -> None:
        """Read the time since the latest upheld sanction; a reversal changes it at once."""
        plan = self.plan
        if plan.sanction_since_slot >= 0 and self.ledger.entries:
            last = self.ledger.last()
            scratch[plan.sanction_since_slot - plan.sums] = nan if last is None else (self.clock - last) / 1000

    def add(self, signals: list[Signal], keys: list[Key], time: int) -> None:
        """Count signals and keys at an event time not later than the clock."""
        now, sums, current, plan = self.clock, self.sums, self.current, self.plan
        if plan.occurrences:
            signals = signals + [(signal, 1.0) for signal, _ in keys if signal in plan.occurrences]
        behind = time < now
        covered: list[bool] = []
        if behind:
            current = plan.no_row.copy()
            covered = [time // span.hop >= now // span.hop - span.hops for span in plan.spans]
        for signal, amount in signals:
            counted = plan.counted[signal]
            for span, column, total, power in counted.columns:
                if behind and not covered[span]:
                    continue
                row = current[span]
                if row is None:
                    row = current[span] = self._row(span, time)
                much = 1.0 if not power else amount if power == 1 else amount * amount
                row[column] += much
                sums[total] += much
            for at, half_life in counted.decays:
                sums[at] += amount if time == now else amount * exp2((time - now) / half_life)
            for cell, _slot, width, hop, limit in counted.peaks:
                peaks = self.peaks[cell]
                if peaks is None:
                    peaks = self.peaks[cell] = Peaks()
                peaks.add(time // hop, amount, (now - width) // hop, limit)
            last = counted.last
            if last >= 0 and time > self.lasts[last]:
                self.lasts[last] = time
        for signal, key in keys:
            at = plan.keyed.get(signal, -1)
            if at >= 0:
                seen = self.keys[at]
                if seen is None:
                    seen = self.keys[at] = LastSeen()
                seen.add(key, time)

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
        signals.append(("gap", float(gap // 1000)))
        if gap > BURST_GAP:
            self.run = 1
        else:
            self.run += 1
            signals.append(("burst", float(self.run)))

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
        for index, windows in plan.distincts:
            keys = self.keys[index]
            if keys is not None:
                _, width, hop = windows[0]  # the longest
                if keys.oldest < (now - width) // hop * hop:
                    keys.forget((now - width) // hop * hop)
                for slot, width, hop in windows:
                    scratch[slot] = float(keys.count((now - width) // hop * hop))
        for index, slot, width, hop, _limit in plan.peaks:
            peaks = self.peaks[index]
            if peaks is not None:
                peaks.trim((now - width) // hop)
                scratch[slot] = max(peaks.tiles.values(), default=nan)
        if self.ledger.entries:
            for slot, read_ledger in plan.ledger_reads:
                scratch[slot] = read_ledger(self.ledger, now)
        if plan.first_slot >= 0:
            scratch[plan.first_slot] = (now - self.first) / 1000
        for slot, mask in plan.trail_reads:
            scratch[slot] = float(self.trail & mask)
        session = self.session
        for slot, happening in plan.session_reads:
            scratch[slot] = (now - session[_BEGAN]) / 1000 if happening == _BEGAN else float(session[happening])
        if self.here:
            for slot, surrounding in plan.here_reads:
                scratch[slot] = self.here[surrounding]
        for slot, top, bottom, factor in plan.quotients:
            if scratch[bottom]:
                scratch[slot] = factor * scratch[top] / scratch[bottom]
        for slot, count, total, squares in plan.spreads:
            if scratch[count] > 1 and scratch[total]:
                varied = scratch[squares] * scratch[count] - scratch[total] * scratch[total]
                scratch[slot] = sqrt(max(varied, 0.0)) / abs(scratch[total])
        for slot, short, long in plan.differences:
            scratch[slot] = scratch[short] - scratch[long]
        return array("d", plan.pack(*plan.pick(scratch)))
