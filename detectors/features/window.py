"""Sawtooth windows and bounded distinct counts."""

from __future__ import annotations

from typing import NamedTuple, final

DISTINCT_CAP = 64
"""A distinct count is exact up to this many values in the window and reads as the cap beyond it."""


class Span(NamedTuple):
    """What the summed windows of one span share: its hop (ms), its width in hops, and which columns are kept for it.

    A column is a signal and an aggregate (`message_count`). Column c's total stands at `base + c` of a profile's sums;
    `fractions` are the columns whose amounts need not be whole.
    """

    name: str
    hop: int
    hops: int
    base: int
    columns: tuple[str, ...]
    fractions: tuple[int, ...]


Rows = dict[int, list[float]]
"""One row per tile (hop of event time) with a number per column: the storage of all summed windows of one span.

Tiles stand in rising order, so that old ones are dropped from the front. The totals of a window live in its profile's
sums and are kept up to date, so that a window is read without adding it up.
"""


def row_at(rows: Rows, tile: int, columns: int) -> list[float]:
    """The row of a tile; a new row of zeros, put where it belongs, if it had none."""
    row = rows.get(tile)
    if row is None:
        behind = bool(rows) and tile < next(reversed(rows))
        row = rows[tile] = [0.0] * columns
        if behind:  # an out-of-order event
            for later in sorted(other for other in rows if other > tile):
                rows[later] = rows.pop(later)
    return row


def trim(rows: Rows, tail: int, span: Span, sums: list[float]) -> None:
    """Drop the rows of tiles before `tail`, and what they held from the totals in `sums`."""
    base = span.base
    old = []
    for tile in rows:
        if tile >= tail:
            break
        old.append(tile)
    for tile in old:
        total = base
        for amount in rows.pop(tile):
            if amount:
                sums[total] -= amount
            total += 1
    # whole numbers are subtracted exactly; fractions are summed anew, so that nothing drifts
    for column in span.fractions:
        left = 0.0
        for row in rows.values():
            left += row[column]
        sums[base + column] = left


@final
class Peaks:
    """The largest amount per hop of event time: the storage of one windowed maximum of one signal.

    Tiles stand in rising order, so that old ones are dropped from the front: when the window is read, and when an
    amount finds more than `2 * (span / hop + 2)` of them, so memory is bounded even where nothing is read.
    """

    __slots__ = ("tiles",)

    def __init__(self, tiles: dict[int, float] | None = None) -> None:
        self.tiles = {} if tiles is None else tiles

    def add(self, tile: int, amount: float, tail: int, limit: int) -> None:
        """Raise `tile` to `amount` if that is larger; a tile before the window's `tail` is left out."""
        tiles = self.tiles
        if tile < tail:
            return
        if tile not in tiles:
            behind = bool(tiles) and tile < next(reversed(tiles))
            tiles[tile] = amount
            if behind:  # an out-of-order event
                self.tiles = dict(sorted(tiles.items()))
        elif amount > tiles[tile]:
            tiles[tile] = amount
        if len(self.tiles) > limit:
            self.trim(tail)

    def trim(self, tail: int) -> None:
        """Drop the tiles before `tail`."""
        tiles = self.tiles
        while tiles and (oldest := next(iter(tiles))) < tail:
            del tiles[oldest]


@final
class LastSeen:
    """The most recently seen distinct keys and when each was last seen (ms): distinct counts over any window.

    Only the `DISTINCT_CAP` most recent keys are kept. Since a key's last time only grows, the kept keys are always
    those seen last, and so a window's count is exactly `min(true count, cap)`. No key is older than `oldest`.
    """

    __slots__ = ("oldest", "times")

    def __init__(self, times: dict[int, int] | None = None) -> None:
        self.times = {} if times is None else times
        self.oldest = min(self.times.values(), default=0)

    def add(self, key: int, time: int) -> None:
        """See `key` at `time`."""
        times = self.times
        if key not in times:
            if not times or time < self.oldest:
                self.oldest = time
            times[key] = time
            if len(times) > DISTINCT_CAP:
                del times[min([(seen, other) for other, seen in times.items()])[1]]
        elif time > times[key]:
            times[key] = time

    def forget(self, since: int) -> None:
        """Drop the keys not seen since then: no window reaches back to them any more."""
        self.times = {key: time for key, time in self.times.items() if time >= since}
        self.oldest = min(self.times.values(), default=0)

    def count(self, since: int) -> int:
        """How many keys were seen at or after `since`."""
        if self.oldest >= since:
            return len(self.times)
        found = 0
        for time in self.times.values():
            if time >= since:
                found += 1
        return found
