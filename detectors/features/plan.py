"""Compiles declared features into the cells a profile keeps, and the functions that update and read them.

This is the control path: it runs once, and hands back closures so that the per-event loop stays bare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import nan
from operator import itemgetter
from struct import Struct
from typing import Any, NamedTuple

from detectors.features.declare import HOPS, Decay, Feature, Ratio, Since, StrikeCount, Trend, Window, duration_ms
from detectors.features.signals import DISTINCT_SIGNALS, LEDGER_SIGNALS, SIGNALS
from detectors.features.strikes import Ledger
from detectors.features.window import LastSeen, Tiles

Update = Callable[[list[Any], float, int, int], None]
"""(cells, amount or key, event time, clock): add one signal to one cell that is neither tiles nor a decay."""
Read = Callable[[Any, int], float]
"""(cell, now): the number a cell stands for."""
LedgerRead = Callable[[Ledger, int], float]


class TileCell(NamedTuple):
    """A summed window's cell: where it is kept, its slot, its span and hop (ms), and how many tiles it may hold.

    The per-event loops in Profile read these fields instead of calling a closure: it is what most signals touch.
    """

    place: int
    slot: int
    width: int
    hop: int
    limit: int
    counting: bool


class DecayCell(NamedTuple):
    """A decay's cell: where it is kept, its slot, and its half-life (ms)."""

    place: int
    slot: int
    half_life: int


class DistinctCell(NamedTuple):
    """A distinct count's cell: where it is kept, and (slot, span, hop) of its windows, the longest first."""

    place: int
    windows: list[tuple[int, int, int]]


def _peak(index: int, span: str) -> tuple[Update, Read]:
    width, hop = duration_ms(span), duration_ms(HOPS[span])
    limit = 2 * (width // hop + 2)

    def update(cells: list[Any], amount: float, time: int, now: int) -> None:
        cell = cells[index]
        if cell is None:
            cell = cells[index] = Tiles()
        cell.peak(time // hop, amount, (now - width) // hop, limit)

    def read(cell: Tiles, now: int) -> float:
        tail = (now - width) // hop
        if cell.oldest < tail:
            cell.trim(tail)
        return max(cell.values.values(), default=nan)

    return update, read


def _distinct(index: int) -> Update:
    def update(cells: list[Any], key: float, time: int, _now: int) -> None:
        cell = cells[index]
        if cell is None:
            cell = cells[index] = LastSeen()
        cell.add(key, time)

    return update


def _last(index: int) -> Update:
    def update(cells: list[Any], _amount: float, time: int, _now: int) -> None:
        cell = cells[index]
        if cell is None or time > cell:
            cells[index] = time

    return update


def tail_of(span: str) -> Callable[[int], int]:
    """The function from `now` to the earliest event time (ms) a window of this span covers then."""
    width, hop = duration_ms(span), duration_ms(HOPS[span])
    return lambda now: (now - width) // hop * hop


@dataclass
class Plan:
    """What a profile keeps and how a vector is read from it.

    `cells` names every cell, the key it is stored under. A vector is made in a scratch list: first what cells, ledger
    and since-clocks read, then what is derived from those, then `pick` puts the declared features in order.
    """

    names: tuple[str, ...]
    cells: list[str] = field(default_factory=list)
    tiles: dict[str, list[TileCell]] = field(default_factory=dict)
    decays: dict[str, list[DecayCell]] = field(default_factory=dict)
    distincts: list[DistinctCell] = field(default_factory=list)
    updates: dict[str, list[Update]] = field(default_factory=dict)
    tile_reads: list[TileCell] = field(default_factory=list)
    decay_reads: list[DecayCell] = field(default_factory=list)
    reads: list[tuple[int, int, Read]] = field(default_factory=list)
    ledger_reads: list[tuple[int, LedgerRead]] = field(default_factory=list)
    since_reads: list[tuple[int, int]] = field(default_factory=list)
    quotients: list[tuple[int, int, int, float]] = field(default_factory=list)
    defaults: list[float] = field(default_factory=list)
    first_slot: int = -1
    sanction_since_slot: int = -1
    pick: Callable[[list[float]], tuple[float, ...]] = tuple
    pack: Callable[..., bytes] = field(default=lambda *_values: b"")
    _slots: dict[str, int] = field(default_factory=dict)

    def slot(self, name: str, default: float) -> int:
        """The scratch slot called `name`, made with its value while absent."""
        if name not in self._slots:
            self._slots[name] = len(self.defaults)
            self.defaults.append(default)
        return self._slots[name]

    def cell(self, name: str) -> int:
        """The index of a new cell."""
        self.cells.append(name)
        return len(self.cells) - 1

    def window(self, signal: str, aggregate: str, span: str) -> int:
        """The slot of a stored window aggregate, with its cell, made on first use."""
        name = f"{signal}_{aggregate}_{span}"
        if name in self._slots:
            return self._slots[name]
        slot = self.slot(name, nan if aggregate == "max" else 0)
        tail = tail_of(span)
        if signal == "sanction_severity" and aggregate == "sum":
            self.ledger_reads.append((slot, lambda ledger, now: ledger.severity(tail(now))))
        elif signal in LEDGER_SIGNALS:
            self.ledger_reads.append((slot, lambda ledger, now: ledger.count(tail(now))))
        elif aggregate == "distinct":
            shared = f"{signal}_distinct"
            if shared not in self.cells:
                place = self.cell(shared)
                self.distincts.append(DistinctCell(place, []))
                self.updates[signal].append(_distinct(place))
            cell = next(cell for cell in self.distincts if cell.place == self.cells.index(shared))
            cell.windows.append((slot, duration_ms(span), duration_ms(HOPS[span])))
            cell.windows.sort(key=lambda window: -window[1])
        elif aggregate == "max":
            index = self.cell(name)
            update, read = _peak(index, span)
            self.updates[signal].append(update)
            self.reads.append((index, slot, read))
        else:
            width, hop = duration_ms(span), duration_ms(HOPS[span])
            limit = 2 * (width // hop + 2)
            self.tiles[signal].append(TileCell(self.cell(name), slot, width, hop, limit, aggregate == "count"))
        return slot

    def quotient(self, name: str, top: int, bottom: int, factor: float = 1.0) -> int:
        """The slot of `factor * top / bottom`, absent where the bottom is zero."""
        slot = self.slot(name, nan)
        self.quotients.append((slot, top, bottom, factor))
        return slot


def _place(plan: Plan, feature: Feature, strike_expiry: int) -> int:
    """Make the slot of one declared feature."""
    match feature:
        case Window(signal, "mean", span):
            total, count = plan.window(signal, "sum", span), plan.window(signal, "count", span)
            return plan.quotient(feature.name, total, count)
        case Window(signal, aggregate, span):
            return plan.window(signal, aggregate, span)
        case Ratio(signal, span, per):
            return plan.quotient(feature.name, plan.window(signal, "count", span), plan.window(per, "count", span))
        case Trend(signal, short, long):
            factor = duration_ms(long) / duration_ms(short)
            slots = plan.window(signal, "count", short), plan.window(signal, "count", long)
            return plan.quotient(feature.name, *slots, factor)
        case Decay(signal, half_life_text):
            slot, half_life = plan.slot(feature.name, 0.0), duration_ms(half_life_text)
            if signal in LEDGER_SIGNALS:
                plan.ledger_reads.append((slot, lambda ledger, now: ledger.decay(now, half_life)))
            else:
                plan.decays[signal].append(DecayCell(plan.cell(feature.name), slot, half_life))
            return slot
        case Since("first"):
            plan.first_slot = plan.slot(feature.name, nan)
            return plan.first_slot
        case Since("sanction"):
            plan.sanction_since_slot = plan.slot(feature.name, nan)
            return plan.sanction_since_slot
        case Since(signal):
            slot, index = plan.slot(feature.name, nan), plan.cell(f"{signal}_last")
            plan.updates[signal].append(_last(index))
            plan.since_reads.append((index, slot))
            return slot
        case StrikeCount():
            slot = plan.slot(feature.name, 0)
            plan.ledger_reads.append((slot, lambda ledger, now: ledger.count(now - strike_expiry)))
            return slot


def _check(feature: Feature) -> None:
    """Refuse a feature that cannot mean what its name says."""
    name, aggregate = feature.name, getattr(feature, "aggregate", "")
    signal = getattr(feature, "signal", "first")
    plain = isinstance(feature, Since | StrikeCount)
    if signal not in SIGNALS and not (plain and signal == "first"):
        raise ValueError(f"feature {name} is over an unknown signal: choose one of {', '.join(SIGNALS)}")
    if (aggregate == "distinct") != (signal in DISTINCT_SIGNALS and not plain):
        raise ValueError(f"feature {name}: distinct counts go with {', '.join(sorted(DISTINCT_SIGNALS))}")
    if signal in LEDGER_SIGNALS and aggregate not in ("", "count", "sum"):
        raise ValueError(f"feature {name}: sanctions are counted or summed, because they can be overturned")
    if signal == "sanction_severity" and aggregate != "sum":
        raise ValueError(f"feature {name}: severities are only summed; declare it over sanction")
    if isinstance(feature, Ratio) and feature.per not in SIGNALS:
        raise ValueError(f"feature {name} is per {feature.per}: choose one of {', '.join(SIGNALS)}")
    if isinstance(feature, Decay) and not duration_ms(feature.half_life):
        raise ValueError(f"feature {name} has no half-life: give one above zero")
    for part in ("span", "short", "long"):
        if getattr(feature, part, "1h") not in HOPS:
            raise ValueError(f"feature {name} has span {getattr(feature, part)}: choose one of {', '.join(HOPS)}")


def compile_plan(features: Iterable[Feature], strike_expiry: int) -> Plan:
    """The plan of a feature catalogue; `strike_expiry` is how long (ms) a sanction counts as a strike.

    Raises:
        ValueError: if two features share a name, a signal or span is unknown, or an aggregate does not fit its signal.
    """
    features = tuple(features)
    names = tuple(feature.name for feature in features)
    for feature in features:
        if names.count(feature.name) > 1:
            raise ValueError(f"feature {feature.name} is declared twice: remove one")
        _check(feature)
    plan = Plan(
        names=names,
        tiles={signal: [] for signal in SIGNALS},
        decays={signal: [] for signal in SIGNALS},
        updates={signal: [] for signal in SIGNALS},
    )
    order = [_place(plan, feature, strike_expiry) for feature in features]
    plan.tile_reads = [cell for cells in plan.tiles.values() for cell in cells]
    plan.decay_reads = [cell for cells in plan.decays.values() for cell in cells]
    plan.pack = Struct(f"{len(order)}d").pack
    plan.pick = itemgetter(*order) if len(order) > 1 else lambda scratch: (scratch[order[0]],)
    return plan
