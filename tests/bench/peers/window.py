"""Counters over the last minutes, hours or days, kept in tiles: what a row added is taken off when it goes.

A window of `hops` tiles covers the tile that time is in and as many whole ones before it.
"""

from __future__ import annotations

from collections import deque
from math import nan

DISTINCT_CAP = 64


class Tiles:
    """Several counters over one window: `totals` hold as of `tile`, the tile the latest event was in."""

    __slots__ = ("hops", "rows", "tile", "totals")

    def __init__(self, hops: int, columns: int) -> None:
        self.hops = hops
        self.tile = -1
        self.totals: list[float] = [0] * columns
        self.rows: deque[list[float]] = deque()  # the tile's number, then a counter for each column

    def advance(self, tile: int) -> None:
        """Go on to a later tile: rows that the window leaves behind are taken off the totals."""
        self.tile = tile
        rows, totals, oldest = self.rows, self.totals, tile - self.hops
        while rows and rows[0][0] < oldest:
            for column, amount in enumerate(rows.popleft(), -1):
                if column >= 0 and amount:
                    totals[column] -= amount
        if not rows:  # fractions may have left a rounding error behind
            totals[:] = [0] * len(totals)

    def row(self, tile: int) -> list[float] | None:
        """The row of a tile, made if it has none; None for one that the window has left behind."""
        rows = self.rows
        if rows and rows[-1][0] == tile:
            return rows[-1]
        if tile < self.tile - self.hops:
            return None
        row = [tile, *[0] * len(self.totals)]
        if not rows or rows[-1][0] < tile:
            rows.append(row)
            return row
        for at, known in enumerate(rows):  # an event out of order
            if known[0] == tile:
                return known
            if known[0] > tile:
                rows.insert(at, row)
                return row
        return None

    def add(self, tile: int, column: int, amount: float = 1) -> None:
        """Add to one counter."""
        row = self.row(tile)
        if row is not None:
            row[column + 1] += amount
            self.totals[column] += amount


class Highest:
    """The largest amount in each tile of a window."""

    __slots__ = ("hops", "tiles")

    def __init__(self, hops: int, tiles: dict[int, float] | None = None) -> None:
        self.hops = hops
        self.tiles = {} if tiles is None else tiles

    def add(self, tile: int, amount: float, now: int) -> None:
        """Raise a tile to an amount; `now` is the tile time is in."""
        if tile >= now - self.hops and amount > self.tiles.get(tile, -1.0):
            self.tiles[tile] = amount

    def read(self, now: int) -> float:
        """The largest of the window; NaN if there was none."""
        oldest = now - self.hops
        if self.tiles and min(self.tiles) < oldest:
            self.tiles = {tile: amount for tile, amount in self.tiles.items() if tile >= oldest}
        return max(self.tiles.values(), default=nan)


class Latest:
    """When each of the most recent distinct values was seen last, the longest ago first."""

    __slots__ = ("times",)

    def __init__(self, times: dict[str, int] | None = None) -> None:
        self.times = {} if times is None else times

    def add(self, value: str, time: int, now: int) -> None:
        """See a value at a time, `now` being the latest time of all."""
        times = self.times
        known = times.pop(value, -1)
        times[value] = max(known, time)
        if time < now:  # out of order
            self.times = times = dict(sorted(times.items(), key=lambda item: item[1]))
        if len(times) > DISTINCT_CAP:
            del times[next(iter(times))]

    def drop(self, since: int) -> int:
        """Forget what was not seen since then; how many are left."""
        times = self.times
        while times and times[first := next(iter(times))] < since:
            del times[first]
        return len(times)

    def count(self, since: int) -> int:
        """How many were seen since then."""
        times = self.times
        if not times or times[next(iter(times))] >= since:
            return len(times)
        return sum([time >= since for time in times.values()])
