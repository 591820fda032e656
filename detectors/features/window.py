"""Sawtooth windows and bounded distinct counts."""

from __future__ import annotations

DISTINCT_CAP = 64
"""A distinct count is exact up to this many values in the window and reads as the cap beyond it."""


class Tiles:
    """One value per hop of event time: the storage of one windowed aggregate of one signal.

    Tiles stand in rising order, so that old ones are dropped from the front; `total` is their sum, kept so that a
    window is read without adding it up. They are dropped when the window is read, and when an add finds more than
    `2 * (span / hop + 2)` of them, so memory is bounded even where nothing is read.
    """

    __slots__ = ("newest", "oldest", "total", "values")

    def __init__(self, total: float = 0, values: dict[int, float] | None = None) -> None:
        self.total = total
        self.values = {} if values is None else values
        self.oldest = min(self.values, default=0)
        self.newest = max(self.values, default=0)

    def add(self, tile: int, amount: float, tail: int, limit: int) -> None:
        """Add `amount` to `tile`; a tile before the window's `tail` is no longer covered and is left out."""
        if tile < tail:
            return
        if tile in self.values:
            self.values[tile] += amount
        else:
            self._place(tile, amount)
        self.total += amount
        if len(self.values) > limit:
            self.trim(tail)

    def peak(self, tile: int, amount: float, tail: int, limit: int) -> None:
        """Raise `tile` to `amount` if that is larger."""
        if tile < tail:
            return
        if tile not in self.values:
            self._place(tile, amount)
        elif amount > self.values[tile]:
            self.values[tile] = amount
        if len(self.values) > limit:
            self.trim(tail)

    def _place(self, tile: int, amount: float) -> None:
        """Put a tile where it belongs: at the end, but for an out-of-order event."""
        values = self.values
        if not values:
            self.oldest = self.newest = tile
            values[tile] = amount
        elif tile > self.newest:
            self.newest = tile
            values[tile] = amount
        else:
            values[tile] = amount
            self.values = dict(sorted(values.items()))
            self.oldest = min(tile, self.oldest)

    def trim(self, tail: int) -> None:
        """Drop the tiles before `tail`."""
        values, total = self.values, self.total
        while values:
            oldest = next(iter(values))
            if oldest >= tail:
                self.oldest = oldest
                break
            total -= values.pop(oldest)
        # whole numbers are subtracted exactly; fractions are summed anew, so that nothing drifts
        self.total = total if isinstance(total, int) else sum(values.values())


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
        known = times.get(key)
        if known is None:
            if not times or time < self.oldest:
                self.oldest = time
            times[key] = time
            if len(times) > DISTINCT_CAP:
                del times[min(times, key=lambda k: (times[k], k))]
        elif time > known:
            times[key] = time

    def forget(self, since: int) -> None:
        """Drop the keys not seen since then: no window reaches back to them any more."""
        self.times = {key: time for key, time in self.times.items() if time >= since}
        self.oldest = min(self.times.values(), default=0)

    def count(self, since: int) -> int:
        """How many keys were seen at or after `since`."""
        return len([1 for time in self.times.values() if time >= since])
