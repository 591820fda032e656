"""Compilation of declared features into the arrays of a profile and the tables that vectors are read by.

It runs once, outside the per-event loop, and returns tables and closures so that this loop does little work.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import nan
from typing import Any, final, get_args

from librt.vecs import append, vec
from mypy_extensions import i64

from detectors.features.check import check
from detectors.features.context import Context
from detectors.features.declare import (
    HOPS,
    ChannelFeature,
    Decay,
    Feature,
    Happening,
    Ratio,
    Session,
    Shift,
    Since,
    StrikeCount,
    TokenNgram,
    Trend,
    Window,
    duration_ms,
)
from detectors.features.layout import FRACTIONS, POWERS, Counted, LedgerRead, Shape, table, tail_of
from detectors.features.layouts import layout_id, shape_of
from detectors.features.signals import DISTINCT_SIGNALS, LEDGER_SIGNALS, PACED, SIGNALS
from detectors.features.window import Span


@final
class Plan:
    """The arrays of a profile, and the tables by which a vector is read from them.

    A profile has `sums` (the totals of all windows in the order of `spans`, then the `decays`), the rows of its spans,
    the tiles of `peaked`, the keys of distinct counts (`keyed`) and `lasts` (latest event times by signal). A vector is
    computed in a scratch array: the sums, then the values that are read from elsewhere or derived, each in its slot.
    `order` has the slots of the declared features. Entries of the tables that are read for every event consist of:

    - `distincts`, by cell: slot, width (ms) and hop (ms) of each window, the longest first
    - `peaks`: cell, slot, width (ms), hop (ms)
    - `since_reads`: index in `lasts`, slot
    - `token_reads`: slot, mask
    - `session_reads`: slot, index in `Happening`
    - `here_reads`: slot, index of the field of `Context`
    - `quotients`: slot, slot of the numerator, slot of the denominator; `factors` has a factor for each quotient
    - `spreads`: slot, slots of the count, the sum and the sum of squares
    - `differences`: slot, slots of the short and the long mean
    - `decay_sums`: index in the sums, half-life (ms)
    """

    def __init__(self, features: tuple[Feature, ...], strike_expiry: int) -> None:
        self.names = tuple(feature.name for feature in features)
        self.counted = {signal: Counted() for signal in SIGNALS}
        self.lasts: list[str] = []
        self.keyed: dict[str, int] = {}
        self._windows: list[list[tuple[int, int, int]]] = []
        self.peaked: list[str] = []
        self.ledger_reads: list[tuple[int, LedgerRead]] = []
        self.peaks: vec[i64] = vec[i64]()
        self.since_reads: vec[i64] = vec[i64]()
        self.token_reads: vec[i64] = vec[i64]()
        self.session_reads: vec[i64] = vec[i64]()
        self.here_reads: vec[i64] = vec[i64]()
        self.quotients: vec[i64] = vec[i64]()
        self.factors: vec[float] = vec[float]()
        self.spreads: vec[i64] = vec[i64]()
        self.differences: vec[i64] = vec[i64]()
        self.first_slot: i64 = -1
        self.sanction_since_slot: i64 = -1
        self.paced = any(getattr(feature, "signal", "") in PACED for feature in features)
        self._slots: dict[str, int] = {}
        self.spans = self._lay_out(features)
        self.hops: vec[i64] = table(*(span.hop for span in self.spans))
        self.lengths: vec[i64] = table(*(span.hops for span in self.spans))
        self.bases: vec[i64] = table(*(span.base for span in self.spans))
        self.fractions: vec[vec[i64]] = vec[vec[i64]]([table(*span.fractions) for span in self.spans])
        totals = len(self._slots)
        decays = [f for f in features if isinstance(f, Decay) and f.signal not in LEDGER_SIGNALS]
        self.decays = tuple(feature.name for feature in decays)
        self.decay_sums: vec[i64] = vec[i64]()
        for at, feature in enumerate(decays, totals):
            half_life = duration_ms(feature.half_life)
            self.decay_sums = append(append(self.decay_sums, at), half_life)
            self.counted[feature.signal].in_decay(at, half_life)
            self._slots[feature.name] = at
        self.sums = len(self._slots)
        self._absent: list[float] = []
        self.order: vec[i64] = table(*[self._place(feature, strike_expiry) for feature in features])
        self.distincts: vec[vec[i64]] = vec[vec[i64]](
            [table(*(number for window in windows for number in window)) for windows in self._windows]
        )
        self.occurrences = [signal for signal in sorted(DISTINCT_SIGNALS) if self.counted[signal]]
        self.layout: dict[str, Any] = {
            "spans": {span.name: list(span.columns) for span in self.spans},
            "decays": list(self.decays),
            "keys": list(self.keyed),
            "peaks": self.peaked,
            "lasts": self.lasts,
        }
        self.layout_id = layout_id(self.layout)
        self.shape: Shape = shape_of(self.layout)
        # the initial arrays of a new profile and of a new vector
        self.zeros: vec[float] = vec[float]([0.0] * self.sums)
        self.no_places: vec[i64] = vec[i64]([-1 for _ in self.spans])
        self.blank: vec[float] = vec[float]([0.0] * self.sums + self._absent)

    def _lay_out(self, features: tuple[Feature, ...]) -> tuple[Span, ...]:
        """Return the spans that have summed windows; the columns of a span are adjacent in the sums."""
        needed = [column for feature in features for column in _summed(feature)]
        spans: list[Span] = []
        for name in HOPS:
            columns = list(dict.fromkeys((signal, aggregate) for signal, aggregate, span in needed if span == name))
            if not columns:
                continue
            base, width, hop = len(self._slots), duration_ms(name), duration_ms(HOPS[name])
            for column, (signal, aggregate) in enumerate(columns):
                self.counted[signal].in_column(len(spans), column, base + column, POWERS[aggregate])
                self._slots[f"{signal}_{aggregate}_{name}"] = base + column
            fractions = [
                c for c, (signal, aggregate) in enumerate(columns) if aggregate != "count" and signal in FRACTIONS
            ]
            labels = tuple(f"{signal}_{aggregate}" for signal, aggregate in columns)
            spans.append(Span(name, hop, width // hop, base, labels, tuple(fractions)))
        return tuple(spans)

    def _slot(self, name: str, absent: float) -> int:
        """Return the scratch slot called `name`, after the sums; create it if needed, with its value when absent."""
        if name not in self._slots:
            self._slots[name] = self.sums + len(self._absent)
            self._absent.append(absent)
        return self._slots[name]

    def _window(self, signal: str, aggregate: str, span: str) -> int:
        """Return the slot of a stored window aggregate: a sum of tiles, a ledger read, a maximum, a distinct count."""
        name = f"{signal}_{aggregate}_{span}"
        if name in self._slots:
            return self._slots[name]
        slot = self._slot(name, nan if aggregate == "max" else 0.0)
        tail = tail_of(span)
        if signal == "sanction_severity" and aggregate == "sum":
            self.ledger_reads.append((slot, lambda ledger, now: ledger.severity(tail(now))))
        elif signal in LEDGER_SIGNALS:
            self.ledger_reads.append((slot, lambda ledger, now: ledger.count(tail(now))))
        elif aggregate == "distinct":
            if signal not in self.keyed:
                self.keyed[signal] = len(self._windows)
                self._windows.append([])
            windows = self._windows[self.keyed[signal]]
            windows.append((slot, duration_ms(span), duration_ms(HOPS[span])))
            windows.sort(key=lambda window: -window[1])
        else:
            width, hop = duration_ms(span), duration_ms(HOPS[span])
            self.peaks = append(append(append(append(self.peaks, len(self.peaked)), slot), width), hop)
            self.counted[signal].in_peak(len(self.peaked), width, hop, 2 * (width // hop + 2))
            self.peaked.append(name)
        return slot

    def _quotient(self, name: str, top: int, bottom: int, factor: float = 1.0) -> int:
        """Return the slot of `factor * top / bottom`, which is absent if the bottom is zero."""
        slot = self._slot(name, nan)
        self.quotients = append(append(append(self.quotients, slot), top), bottom)
        self.factors = append(self.factors, factor)
        return slot

    def _mean(self, signal: str, span: str) -> int:
        """Return the slot of a window's mean; create it once."""
        name = f"{signal}_mean_{span}"
        if name in self._slots:
            return self._slots[name]
        return self._quotient(name, self._window(signal, "sum", span), self._window(signal, "count", span))

    def _place(self, feature: Feature, strike_expiry: int) -> int:
        """Return the slot of one declared feature."""
        name, window = feature.name, self._window
        match feature:
            case Window(signal, "mean", span):
                return self._mean(signal, span)
            case Window(signal, "spread", span):
                slot = self._slot(name, nan)
                sums = [window(signal, aggregate, span) for aggregate in POWERS]
                self.spreads = append(append(append(append(self.spreads, slot), sums[0]), sums[1]), sums[2])
                return slot
            case Window(signal, aggregate, span):
                return window(signal, aggregate, span)
            case Ratio(signal, span, per):
                return self._quotient(name, window(signal, "count", span), window(per, "count", span))
            case Trend(signal, short, long):
                factor = duration_ms(long) / duration_ms(short)
                return self._quotient(name, window(signal, "count", short), window(signal, "count", long), factor)
            case Shift(signal, short, long):
                slot = self._slot(name, nan)
                near, far = self._mean(signal, short), self._mean(signal, long)
                self.differences = append(append(append(self.differences, slot), near), far)
                return slot
            case Session(happening):
                slot = self._slot(name, nan)
                self.session_reads = append(append(self.session_reads, slot), get_args(Happening).index(happening))
                return slot
            case ChannelFeature(surrounding):
                slot = self._slot(name, nan)
                self.here_reads = append(append(self.here_reads, slot), Context._fields.index(surrounding))
                return slot
            case Decay(signal, half_life_text):
                if signal not in LEDGER_SIGNALS:
                    return self._slots[name]
                slot, half_life = self._slot(name, 0.0), duration_ms(half_life_text)
                self.ledger_reads.append((slot, lambda ledger, now: ledger.decay(now, half_life)))
                return slot
            case Since("first"):
                slot = self._slot(name, nan)
                self.first_slot = slot
                return slot
            case Since("sanction"):
                slot = self._slot(name, nan)
                self.sanction_since_slot = slot
                return slot
            case Since(signal):
                slot = self._slot(name, nan)
                self.counted[signal].last = len(self.lasts)
                self.since_reads = append(append(self.since_reads, len(self.lasts)), slot)
                self.lasts.append(signal)
                return slot
            case TokenNgram(length):
                slot = self._slot(name, nan)
                self.token_reads = append(append(self.token_reads, slot), (1 << 8 * length) - 1)
                return slot
            case StrikeCount():
                slot = self._slot(name, 0.0)
                self.ledger_reads.append((slot, lambda ledger, now: ledger.count(now - strike_expiry)))
                return slot


def _summed(feature: Feature) -> list[tuple[str, str, str]]:
    """Return the sums of tiles that a feature needs, as (signal, aggregate, span)."""
    match feature:
        case Window(signal, "mean", span):
            found = [(signal, "sum", span), (signal, "count", span)]
        case Window(signal, "count" | "sum" as aggregate, span):
            found = [(signal, str(aggregate), span)]
        case Ratio(signal, span, per):
            found = [(signal, "count", span), (per, "count", span)]
        case Window(signal, "spread", span):
            found = [(signal, aggregate, span) for aggregate in POWERS]
        case Trend(signal, short, long):
            found = [(signal, "count", short), (signal, "count", long)]
        case Shift(signal, short, long):
            found = [(signal, aggregate, span) for span in (short, long) for aggregate in ("sum", "count")]
        case _:
            found = []
    return [column for column in found if column[0] not in LEDGER_SIGNALS]


def compile_plan(features: Iterable[Feature], strike_expiry: int) -> Plan:
    """Return the plan of a feature catalogue; `strike_expiry` is how long (ms) a sanction counts as a strike.

    Raises:
        ValueError: if two features share a name, or `check` rejects a declaration.
    """
    features = tuple(features)
    names = [feature.name for feature in features]
    for feature in features:
        if names.count(feature.name) > 1:
            raise ValueError(f"feature {feature.name} is declared twice: remove one")
        check(feature)
    return Plan(features, strike_expiry)
