"""Parts of a plan: the aggregates that each signal updates, and the sizes of a profile's arrays.

Tables are packed arrays of integers, so that the per-event loops over them are fast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from librt.vecs import append, vec
from mypy_extensions import i64

from detectors.features.declare import HOPS, duration_ms
from detectors.features.strikes import Ledger

FRACTIONS = frozenset({"toxicity", "excess"})
"""Signals whose amounts may be fractional."""
POWERS = {"count": 0, "sum": 1, "squares": 2}
"""The aggregates that are sums over tiles; each sums the amounts raised to this power."""

LedgerRead = Callable[[Ledger, int], float]


def table(*numbers: int) -> vec[i64]:
    """Return a packed array of integers."""
    packed = vec[i64]()
    for number in numbers:
        packed = append(packed, i64(number))
    return packed


@final
class Counted:
    """The aggregates that one signal updates, as tables with several numbers per entry.

    - `columns`, summed windows: index of the span, column in the span, index of the total in the sums, and the power of
      the amount that is added (0 adds 1 for a count, 2 adds a square for a spread)
    - `decays`, decayed sums: index in the sums, half-life (ms)
    - `peaks`, windowed maxima: cell, width (ms), hop (ms), largest number of tiles
    - `last`: index of the signal's latest event time in a profile's `lasts`, -1 if no feature reads it
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
        """Let the signal update a summed window."""
        self.columns = append(append(append(append(self.columns, span), column), total), power)

    def in_decay(self, at: int, half_life: int) -> None:
        """Let the signal update a decayed sum."""
        self.decays = append(append(self.decays, at), half_life)

    def in_peak(self, cell: int, width: int, hop: int, limit: int) -> None:
        """Let the signal update a windowed maximum."""
        self.peaks = append(append(append(append(self.peaks, cell), width), hop), limit)


@final
class Shape:
    """The sizes of a profile's arrays under a layout, and the initial arrays of a new profile.

    `widths` is the number of values in a row of each span, the tile's number included.
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
    """Return a function from `now` (ms) to the earliest event time (ms) that a window of this span covers."""
    width, hop = duration_ms(span), duration_ms(HOPS[span])
    return lambda now: (now - width) // hop * hop
