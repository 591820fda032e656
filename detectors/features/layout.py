"""What a plan is made of: where a signal is counted, and how the cells that are no sums are updated and read."""

from __future__ import annotations

from collections.abc import Callable
from math import nan
from typing import Any, NamedTuple

from detectors.features.declare import HOPS, duration_ms
from detectors.features.strikes import Ledger
from detectors.features.window import LastSeen, Peaks

FRACTIONS = frozenset({"toxicity", "excess"})
"""Signals whose amounts need not be whole numbers."""
POWERS = {"count": 0, "sum": 1, "squares": 2}
"""The aggregates that are sums of tiles, and what is summed: the amount to this power."""

Update = Callable[[list[Any], float, int, int], None]
"""(cells, amount or key, event time, clock): add one signal to one cell."""
Read = Callable[[Any, int], float]
"""(cell, now): the number a cell stands for."""
LedgerRead = Callable[[Ledger, int], float]


class Column(NamedTuple):
    """One summed window a signal is counted in: its span's number, its column there, and where its total stands.

    What is added is the amount to the `power`: nothing but 1 for a count, a square for a spread.
    """

    span: int
    column: int
    total: int
    power: int


class DecaySum(NamedTuple):
    """One decay a signal is added to: where its sum stands, and its half-life (ms)."""

    at: int
    half_life: int


class Distinct(NamedTuple):
    """A distinct count's cell: where it is kept, and (slot, span, hop) of its windows, the longest first."""

    cell: int
    windows: list[tuple[int, int, int]]


class Counted(NamedTuple):
    """Everything one signal is counted in. `last` is where its latest event time is kept, -1 if nothing asks."""

    columns: list[Column]
    decays: list[DecaySum]
    updates: list[Update]
    last: int


def tail_of(span: str) -> Callable[[int], int]:
    """The function from `now` to the earliest event time (ms) a window of this span covers then."""
    width, hop = duration_ms(span), duration_ms(HOPS[span])
    return lambda now: (now - width) // hop * hop


def peak(index: int, span: str) -> tuple[Update, Read]:
    """How the largest amount in a window is kept in the cell at `index`, and read from there; NaN without any."""
    width, hop = duration_ms(span), duration_ms(HOPS[span])
    limit = 2 * (width // hop + 2)

    def update(cells: list[Any], amount: float, time: int, now: int) -> None:
        cell = cells[index]
        if cell is None:
            cell = cells[index] = Peaks()
        cell.add(time // hop, amount, (now - width) // hop, limit)

    def read(cell: Peaks, now: int) -> float:
        cell.trim((now - width) // hop)
        return max(cell.tiles.values(), default=nan)

    return update, read


def distinct(index: int) -> Update:
    """How the keys a distinct count is read from are kept in the cell at `index`."""

    def update(cells: list[Any], key: float, time: int, _now: int) -> None:
        cell = cells[index]
        if cell is None:
            cell = cells[index] = LastSeen()
        cell.add(key, time)

    return update
