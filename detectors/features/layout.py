"""What a plan is made of: where a signal is counted, and how the cells that are no sums are updated and read."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from detectors.features.declare import HOPS, duration_ms
from detectors.features.strikes import Ledger

FRACTIONS = frozenset({"toxicity", "excess"})
"""Signals whose amounts need not be whole numbers."""
POWERS = {"count": 0, "sum": 1, "squares": 2}
"""The aggregates that are sums of tiles, and what is summed: the amount to this power."""

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
    """A distinct count's keys: where they are kept, and (slot, span, hop) of its windows, the longest first."""

    cell: int
    windows: list[tuple[int, int, int]]


class Peak(NamedTuple):
    """A windowed maximum: where its tiles are kept and its slot, its span and hop, and how many tiles it may have."""

    cell: int
    slot: int
    width: int
    hop: int
    limit: int


class Counted(NamedTuple):
    """Everything one signal is counted in. `last` is where its latest event time is kept, -1 if nothing asks."""

    columns: list[Column]
    decays: list[DecaySum]
    peaks: list[Peak]
    last: int


def tail_of(span: str) -> Callable[[int], int]:
    """The function from `now` to the earliest event time (ms) a window of this span covers then."""
    width, hop = duration_ms(span), duration_ms(HOPS[span])
    return lambda now: (now - width) // hop * hop
