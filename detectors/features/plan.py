"""Compiles declared features into what a profile keeps, and how a vector is read from it.

This is the control path: it runs once, and hands back tables and closures so that the per-event loop stays bare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import nan
from operator import itemgetter
from struct import Struct
from typing import Any, final, get_args

from detectors.channels import Context
from detectors.features.check import check
from detectors.features.declare import (
    HOPS,
    Decay,
    Feature,
    Happening,
    Here,
    Ratio,
    Recent,
    Session,
    Shift,
    Since,
    StrikeCount,
    Trend,
    Window,
    duration_ms,
)
from detectors.features.layout import (
    FRACTIONS,
    POWERS,
    Column,
    Counted,
    DecaySum,
    Distinct,
    LedgerRead,
    Peak,
    tail_of,
)
from detectors.features.layouts import layout_id
from detectors.features.signals import DISTINCT_SIGNALS, LEDGER_SIGNALS, PACED, SIGNALS
from detectors.features.window import LastSeen, Peaks, Rows, Span


@final
class Plan:
    """What a profile keeps and how a vector is read from it.

    A profile keeps `sums` (the totals of all windows by `spans`, then the `decays`), the tiles of `peaks`, the keys of
    distinct counts (`keyed`) and `lasts` (latest event times by signal). A vector is made in a scratch list: the sums,
    then what is read from elsewhere or derived, each at its slot; `pick` and `pack` put the declared features in order.
    """

    def __init__(self, features: tuple[Feature, ...], strike_expiry: int) -> None:
        self.names = tuple(feature.name for feature in features)
        self.counted = {signal: Counted([], [], [], -1) for signal in SIGNALS}
        self.lasts: list[str] = []
        self.distincts: list[Distinct] = []
        self.keyed: dict[str, int] = {}
        self.peaks: list[Peak] = []
        self.peaked: list[str] = []
        self.ledger_reads: list[tuple[int, LedgerRead]] = []
        self.since_reads: list[tuple[int, int]] = []
        self.trail_reads: list[tuple[int, int]] = []
        self.session_reads: list[tuple[int, int]] = []
        self.here_reads: list[tuple[int, int]] = []
        self.quotients: list[tuple[int, int, int, float]] = []
        self.spreads: list[tuple[int, int, int, int]] = []
        self.differences: list[tuple[int, int, int]] = []
        self.first_slot = self.sanction_since_slot = -1
        self.paced = any(getattr(feature, "signal", "") in PACED for feature in features)
        self._slots: dict[str, int] = {}
        self.spans = self._lay_out(features)
        self.hops = [span.hop for span in self.spans]
        self.no_tiles = [-1] * len(self.spans)
        self.no_rows: list[Rows | None] = [None] * len(self.spans)
        self.no_row: list[list[float] | None] = [None] * len(self.spans)
        totals = len(self._slots)
        decays = [f for f in features if isinstance(f, Decay) and f.signal not in LEDGER_SIGNALS]
        self.decays = tuple(feature.name for feature in decays)
        self.decay_sums = [DecaySum(at, duration_ms(f.half_life)) for at, f in enumerate(decays, totals)]
        for feature, kept in zip(decays, self.decay_sums, strict=True):
            self.counted[feature.signal].decays.append(kept)
            self._slots[feature.name] = kept.at
        self.sums = len(self._slots)
        self.zeros = [0.0] * self.sums
        self.absent: list[float] = []
        order = [self._place(feature, strike_expiry) for feature in features]
        self.occurrences = [
            signal for signal in sorted(DISTINCT_SIGNALS) if self.counted[signal] != Counted([], [], [], -1)
        ]
        self.layout: dict[str, Any] = {
            "spans": {span.name: list(span.columns) for span in self.spans},
            "decays": list(self.decays),
            "keys": list(self.keyed),
            "peaks": self.peaked,
            "lasts": self.lasts,
        }
        self.layout_id = layout_id(self.layout)
        self.no_keys: list[LastSeen | None] = [None] * len(self.distincts)
        self.no_peaks: list[Peaks | None] = [None] * len(self.peaks)
        self.pick: Callable[[list[float]], tuple[float, ...]] = (
            itemgetter(*order) if len(order) > 1 else lambda scratch: (scratch[order[0]],)
        )
        self.pack: Callable[..., bytes] = Struct(f"{len(order)}d").pack

    def _lay_out(self, features: tuple[Feature, ...]) -> tuple[Span, ...]:
        """The spans that summed windows are kept for; the columns of each stand next to each other in the sums."""
        needed = [column for feature in features for column in _summed(feature)]
        spans: list[Span] = []
        for name in HOPS:
            columns = list(dict.fromkeys((signal, aggregate) for signal, aggregate, span in needed if span == name))
            if not columns:
                continue
            base, width, hop = len(self._slots), duration_ms(name), duration_ms(HOPS[name])
            for column, (signal, aggregate) in enumerate(columns):
                kept = Column(len(spans), column, base + column, POWERS[aggregate])
                self.counted[signal].columns.append(kept)
                self._slots[f"{signal}_{aggregate}_{name}"] = kept.total
            fractions = [
                c for c, (signal, aggregate) in enumerate(columns) if aggregate != "count" and signal in FRACTIONS
            ]
            labels = tuple(f"{signal}_{aggregate}" for signal, aggregate in columns)
            spans.append(Span(name, hop, width // hop, base, labels, tuple(fractions)))
        return tuple(spans)

    def _slot(self, name: str, absent: float) -> int:
        """The scratch slot called `name` behind the sums, made with its value while absent."""
        if name not in self._slots:
            self._slots[name] = self.sums + len(self.absent)
            self.absent.append(absent)
        return self._slots[name]

    def _window(self, signal: str, aggregate: str, span: str) -> int:
        """The slot of a window aggregate that is kept as such: a sum of tiles, a ledger read, a peak, a distinct."""
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
                self.keyed[signal] = len(self.distincts)
                self.distincts.append(Distinct(len(self.distincts), []))
            windows = self.distincts[self.keyed[signal]].windows
            windows.append((slot, duration_ms(span), duration_ms(HOPS[span])))
            windows.sort(key=lambda window: -window[1])
        else:
            width, hop = duration_ms(span), duration_ms(HOPS[span])
            kept = Peak(len(self.peaks), slot, width, hop, 2 * (width // hop + 2))
            self.peaks.append(kept)
            self.peaked.append(name)
            self.counted[signal].peaks.append(kept)
        return slot

    def _quotient(self, name: str, top: int, bottom: int, factor: float = 1.0) -> int:
        """The slot of `factor * top / bottom`, absent where the bottom is zero."""
        slot = self._slot(name, nan)
        self.quotients.append((slot, top, bottom, factor))
        return slot

    def _mean(self, signal: str, span: str) -> int:
        """The slot of a window's mean, made once."""
        name = f"{signal}_mean_{span}"
        if name in self._slots:
            return self._slots[name]
        return self._quotient(name, self._window(signal, "sum", span), self._window(signal, "count", span))

    def _place(self, feature: Feature, strike_expiry: int) -> int:
        """The slot of one declared feature."""
        name, window = feature.name, self._window
        match feature:
            case Window(signal, "mean", span):
                return self._mean(signal, span)
            case Window(signal, "spread", span):
                slot = self._slot(name, nan)
                sums = [window(signal, aggregate, span) for aggregate in POWERS]
                self.spreads.append((slot, sums[0], sums[1], sums[2]))
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
                self.differences.append((slot, self._mean(signal, short), self._mean(signal, long)))
                return slot
            case Session(happening):
                slot = self._slot(name, nan)
                self.session_reads.append((slot, get_args(Happening).index(happening)))
                return slot
            case Here(surrounding):
                slot = self._slot(name, nan)
                self.here_reads.append((slot, Context._fields.index(surrounding)))
                return slot
            case Decay(signal, half_life_text):
                if signal not in LEDGER_SIGNALS:
                    return self._slots[name]
                slot, half_life = self._slot(name, 0.0), duration_ms(half_life_text)
                self.ledger_reads.append((slot, lambda ledger, now: ledger.decay(now, half_life)))
                return slot
            case Since("first"):
                self.first_slot = self._slot(name, nan)
                return self.first_slot
            case Since("sanction"):
                self.sanction_since_slot = self._slot(name, nan)
                return self.sanction_since_slot
            case Since(signal):
                slot = self._slot(name, nan)
                self.counted[signal] = self.counted[signal]._replace(last=len(self.lasts))
                self.since_reads.append((len(self.lasts), slot - self.sums))
                self.lasts.append(signal)
                return slot
            case Recent(length):
                slot = self._slot(name, nan)
                self.trail_reads.append((slot, (1 << 8 * length) - 1))
                return slot
            case StrikeCount():
                slot = self._slot(name, 0.0)
                self.ledger_reads.append((slot, lambda ledger, now: ledger.count(now - strike_expiry)))
                return slot


def _summed(feature: Feature) -> list[tuple[str, str, str]]:
    """The sums of tiles a feature needs, as (signal, aggregate, span)."""
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
    """The plan of a feature catalogue; `strike_expiry` is how long (ms) a sanction counts as a strike.

    Raises:
        ValueError: if two features share a name, a signal or span is unknown, or an aggregate does not fit its signal.
    """
    features = tuple(features)
    names = [feature.name for feature in features]
    for feature in features:
        if names.count(feature.name) > 1:
            raise ValueError(f"feature {feature.name} is declared twice: remove one")
        check(feature)
    return Plan(features, strike_expiry)
