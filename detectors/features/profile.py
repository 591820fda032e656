"""One user's bounded, versioned state: the aggregates of their signals, their sanctions and their recent tokens."""

from __future__ import annotations

from math import nan
from typing import Final, final

from librt.vecs import append, pop, vec
from mypy_extensions import i64

from detectors.base.elementary import FADED, exp2
from detectors.features.plan import Plan
from detectors.features.signals import Key, Signal
from detectors.features.strikes import Ledger
from detectors.features.tokens import EARLIER, FIRST, gap_band
from detectors.features.window import (
    raise_peak,
    row_at,
    see_key,
    trim,
)

SEEN_CAP = 64
"""Duplicates are detected among this many of the user's latest event ids."""
_SEEN_CAP: Final[i64] = 64
_FORGOTTEN: Final[i64] = -1  # hashes are never negative
PAUSE = 30 * 60_000
"""A pause longer than this (ms) starts a new session."""
_PAUSE: Final[i64] = 1_800_000
BURST_GAP = 10_000
"""Consecutive messages at most this far apart (ms) belong to one burst."""
_BURST_GAP: Final[i64] = 10_000
_UNCOVERED: Final[i64] = -2


@final
class Profile:
    """Windowed and decayed aggregates of one user's signals.

    The clock is the user's largest event time (ms); totals and decays in `sums` are as of the clock. Rows and cells are
    created when a signal first updates them, so a user with few events takes little memory. All data is in a few packed
    arrays, because with many users following pointers costs more than the arithmetic.
    """

    __slots__ = (
        "began",
        "channel",
        "clock",
        "events",
        "first",
        "here",
        "in_first",
        "in_session",
        "keys",
        "lasts",
        "ledger",
        "next",
        "peaks",
        "plan",
        "recent_tokens",
        "rows",
        "run",
        "seen",
        "session",
        "spoke",
        "sums",
        "texts",
    )

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.clock: i64 = -1
        self.first: i64 = -1
        self.events: i64 = 0
        self.sums: vec[float] = plan.zeros[:]
        shape = plan.shape
        self.rows: vec[vec[float]] = shape.rows[:]  # by span
        self.keys: vec[vec[i64]] = shape.keys[:]  # by cell of a distinct count
        self.peaks: vec[vec[float]] = shape.peaks[:]  # by cell of a maximum
        self.lasts: vec[i64] = shape.lasts[:]
        self.ledger: Ledger | None = None
        self.seen: vec[i64] = vec[i64]()  # hashes of the latest event ids; once full, a ring with the oldest at `next`
        self.next: i64 = 0
        self.texts: list[int] = []
        self.recent_tokens: i64 = 0  # the recent tokens
        self.channel: i64 = -1  # key of the latest message's channel
        self.here: tuple[float, ...] = ()  # the latest `Context`; empty without one
        self.in_session: i64 = 0  # events in the current session
        self.began: i64 = -1  # start of the current session (ms)
        self.session: i64 = 0  # number of sessions so far
        self.in_first: i64 = 0  # events in the first session
        self.spoke: i64 = -1  # the largest event time of a message (ms)
        self.run: i64 = 0  # messages so far in the burst of that message

    def is_duplicate(self, key: i64) -> bool:
        """Return whether the hash of an event id is among the latest `SEEN_CAP`; store it if not."""
        seen = self.seen
        for other in seen:
            if other == key:
                return True
        if i64(len(seen)) < _SEEN_CAP:
            self.seen = append(seen, key)
        else:
            at = self.next
            seen[at] = key
            self.next = at + 1 if at + 1 < _SEEN_CAP else 0
        return False

    def unsee(self, key: i64) -> None:
        """Remove the latest hash if it is this one: its event could not be counted, and may be sent again."""
        seen = self.seen
        end = i64(len(seen))
        if not end:
            return
        if end < _SEEN_CAP:
            if seen[end - 1] == key:
                self.seen, _ = pop(seen)
            return
        at = (self.next or _SEEN_CAP) - 1
        if seen[at] == key:
            seen[at] = _FORGOTTEN
            self.next = at

    def advance(self, time: i64) -> vec[float]:
        """Advance the clock to an event at `time` (ms), and return the scratch array for its vector.

        The since-features are already read into it: they cover the time before the triggering event, so they are read
        before the event is counted.
        """
        plan, now = self.plan, self.clock
        if self.first < 0 or time < self.first:
            self.first = time
        gap: i64 = 0
        if time > now:
            if now < 0 or time - now > _PAUSE:
                self.in_session, self.began = 0, time
                self.session += 1
            gap = FIRST if now < 0 else gap_band(time - now)
            self._move(time)
            self.clock = now = time
        self.in_session += 1
        if self.session == 1:
            self.in_first += 1
        self.recent_tokens = (self.recent_tokens & EARLIER) << 8 | gap  # the caller adds the kind
        self.events += 1
        scratch = plan.blank[:]
        reads, lasts = plan.since_reads, self.lasts
        at, end = i64(0), i64(len(reads))
        while at < end:
            last = lasts[reads[at]]
            if last >= 0:
                scratch[reads[at + 1]] = float(now - last) / 1000.0
            at += 2
        if self.ledger is not None:
            self.read_sanction_since(scratch)
        return scratch

    def _move(self, now: i64) -> None:
        """Bring all sums from the clock to `now`: drop the tiles that leave their windows, decay the decayed sums."""
        plan, sums, clock = self.plan, self.sums, self.clock
        hops, lengths, kept = plan.hops, plan.lengths, self.rows
        for number in range(i64(len(hops))):
            rows = kept[number]
            if len(rows):
                tail = float(now // hops[number] - lengths[number])
                if rows[0] < tail:
                    width = plan.shape.widths[number]
                    kept[number] = trim(rows, tail, plan.bases[number], width, plan.fractions[number], sums)
        age, factor, decays = float(clock - now), 1.0, plan.decay_sums
        known: i64 = 0
        at, end = i64(0), i64(len(decays))
        while at < end:
            place, half_life = decays[at], decays[at + 1]
            if sums[place]:
                if half_life != known:
                    known = half_life
                    factor = exp2(age / float(half_life))
                amount = sums[place] * factor
                sums[place] = amount if amount >= FADED or amount <= -FADED else 0.0
            at += 2

    def sanctions(self) -> Ledger:
        """Return the ledger; create it for the first sanction or reversal."""
        ledger = self.ledger
        if ledger is None:
            ledger = self.ledger = Ledger()
        return ledger

    def read_sanction_since(self, scratch: vec[float]) -> None:
        """Read the time since the latest upheld sanction (s) into the scratch array; a reversal changes it at once."""
        slot, ledger = self.plan.sanction_since_slot, self.ledger
        if slot >= 0 and ledger is not None:
            last = ledger.last()
            scratch[slot] = nan if last is None else float(self.clock - i64(last)) / 1000.0

    def add(self, signals: list[Signal], keys: list[Key], time: i64) -> None:
        """Count signals and keys at an event time (ms) not later than the clock."""
        now, sums, plan, lasts = self.clock, self.sums, self.plan, self.lasts
        hops, kept = plan.hops, self.rows
        if plan.occurrences:
            signals = signals + [(signal, 1.0) for signal, _ in keys if signal in plan.occurrences]
        places = plan.no_places[:]  # by span, the index at which the event's row begins
        if time < now:
            for span in range(i64(len(hops))):
                if time // hops[span] < now // hops[span] - plan.lengths[span]:
                    places[span] = _UNCOVERED
        for signal, amount in signals:
            counted = plan.counted[signal]
            columns = counted.columns
            at, end = i64(0), i64(len(columns))
            while at < end:
                span = columns[at]
                place = places[span]
                if place == -1:
                    width = plan.shape.widths[span]
                    rows, place = row_at(kept[span], float(time // hops[span]), width)
                    kept[span] = rows
                    places[span] = place
                if place >= 0:
                    power = columns[at + 3]
                    much = 1.0 if power == 0 else amount if power == 1 else amount * amount
                    row = kept[span]
                    row[place + 1 + columns[at + 1]] += much
                    sums[columns[at + 2]] += much
                at += 4
            decays = counted.decays
            at, end = i64(0), i64(len(decays))
            while at < end:
                if time == now:
                    sums[decays[at]] += amount
                else:
                    sums[decays[at]] += amount * exp2(float(time - now) / float(decays[at + 1]))
                at += 2
            peaks = counted.peaks
            at, end = i64(0), i64(len(peaks))
            while at < end:
                cell, hop = peaks[at], peaks[at + 2]
                tile, tail = float(time // hop), float((now - peaks[at + 1]) // hop)
                self.peaks[cell] = raise_peak(self.peaks[cell], tile, amount, tail, peaks[at + 3])
                at += 4
            last = counted.last
            if last >= 0 and time > lasts[last]:
                lasts[last] = time
        keyed = plan.keyed
        for signal, key in keys:
            if signal in keyed:
                cell = keyed[signal]
                self.keys[cell] = see_key(self.keys[cell], key, time)

    def pace(self, signals: list[Signal], time: i64) -> None:
        """Append the signals that derive from a message's time: the gap to the one before, its number in the burst."""
        spoke = self.spoke
        if time < spoke:
            return  # an out-of-order message has no gap and no burst
        self.spoke = time
        if spoke < 0:
            self.run = 1
            return
        gap = time - spoke
        signals.append(("gap", float(gap // 1000)))
        if gap > _BURST_GAP:
            self.run = 1
        else:
            self.run += 1
            signals.append(("burst", float(self.run)))
