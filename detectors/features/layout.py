"""What a plan is made of: where a signal is counted, and how the cells that are no sums are updated and read.

Tables of whole numbers, so that the loop over them that every event takes is one over packed arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from librt.vecs import append, vec
from mypy_extensions import i64

from detectors.features.declare import HOPS, duration_ms
from detectors.features.strikes import Ledger

FRACTIONS = frozenset({"toxicity", "excess"})
"""Signals whose amounts need not be whole numbers."""
POWERS = {"count": 0, "sum": 1, "squares": 2}
"""The aggregates that are sums of tiles, and what is summed: the amount to this power."""

LedgerRead = Callable[[Ledger, int], float]


def table(*numbers: int) -> vec[i64]:
    """Whole numbers, packed."""
    packed = vec[i64]()
    for number in numbers:
        packed = append(packed, i64(number))
    return packed


@final
class Counted:
    """Everything one signal is counted in.

    `columns` are the summed windows, four numbers each: the span's number, the column there, where its total stands,
    and the power of the amount that is added (nothing but 1 for a count, a square for a spread). `decays` are where a
    decayed sum stands and its half-life (ms), `peaks` a maximum's cell, its width and hop (ms) and how many tiles it
    may have. `last` is where its latest event time is kept, -1 if nothing asks.
    """

    __slots__ = ("columns", "decays", "last", "peaks")

    def __init__(self) -> None:
        self.columns: vec[i64] = vec[i64]()
        self.decays: vec[i64] = vec[i64]()
        self.peaks: vec[i64] = vec[i64]()
        self.last: i64 = -1

    def __bool__(self) -> bool:
        return len(self.columns) > 0 or len(self.decays) > 0 or len(self.peaks) > 0 or self.last >= 0

    def in_column(self, span: int, column: int, total: int, power: int) -> None:
        """Count the signal in a summed window."""
        self.columns = append(append(append(append(self.columns, span), column), total), power)

    def in_decay(self, at: int, half_life: int) -> None:
        """Add the signal to a decayed sum."""
        self.decays = append(append(self.decays, at), half_life)

    def in_peak(self, cell: int, width: int, hop: int, limit: int) -> None:
        """Raise a maximum to the signal."""
        self.peaks = append(append(append(append(self.peaks, cell), width), hop), limit)


@final
class Shape:
    """How many numbers of each kind a profile's state has, under a layout; and the arrays that a new one begins with.

    `widths` is how many numbers a row of each span has, its tile's among them.
    """

    __slots__ = ("keys", "lasts", "peaks", "rows", "sums", "widths")

    def __init__(self, spans: dict[str, list[str]], decays: int, keys: int, peaks: int, lasts: int) -> None:
        self.widths: vec[i64] = table(*(1 + len(columns) for columns in spans.values()))
        self.sums: i64 = sum(len(columns) for columns in spans.values()) + decays
        self.rows: vec[vec[float]] = vec[vec[float]]([vec[float]() for _ in spans])
        self.keys: vec[vec[i64]] = vec[vec[i64]]([vec[i64]() for _ in range(keys)])
        self.peaks: vec[vec[float]] = vec[vec[float]]([vec[float]() for _ in range(peaks)])
        self.lasts: vec[i64] = vec[i64]([-1] * lasts)


def tail_of(span: str) -> Callable[[int], int]:
    """The function from `now` to the earliest event time (ms) a window of this span covers then."""
    width, hop = duration_ms(span), duration_ms(HOPS[span])
    return lambda now: (now - width) // hop * hop
