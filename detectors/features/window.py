"""Sawtooth windows, windowed maxima and bounded distinct counts, as packed arrays.

A user's aggregates are updated at every event of the user, and are then mostly not in the processor's caches. So each
aggregate is one packed array instead of an object: the caller passes it in and stores the returned array in its place.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from librt.vecs import append, pop, vec
from mypy_extensions import i64

DISTINCT_CAP = 64
"""A distinct count is exact up to this many values in the window; beyond that it equals this cap."""
_CAP: Final[i64] = 2 * 64


class Span(NamedTuple):
    """The shared properties of one span's summed windows: its hop (ms), its width in hops, and its stored columns.

    A column is a signal and an aggregate (`message_count`). The total of column c is at `base + c` in a profile's sums;
    `fractions` are the columns whose amounts may be fractional.

    A row is the number of a tile (event time divided by the hop, rounded down) and an amount for each column. The rows
    of a span are concatenated, tiles in ascending order, so that old ones are dropped from the front. The totals of a
    window are kept up to date in the profile's sums, so that a window is read without adding up its tiles.
    """

    name: str
    hop: int
    hops: int
    base: int
    columns: tuple[str, ...]
    fractions: tuple[int, ...]


def row_at(rows: vec[float], tile: float, width: i64) -> tuple[vec[float], i64]:
    """Return the rows and the index at which the row of `tile` begins; insert a row of zeros if it has none.

    `width` is the number of values in a row, the tile's number included.
    """
    end = i64(len(rows))
    at = end - width
    while at >= 0 and rows[at] > tile:  # an out-of-order event
        at -= width
    if at >= 0 and rows[at] == tile:
        return rows, at
    at += width
    for _ in range(width):
        rows = append(rows, 0.0)
    place = end + width - 1
    while place >= at + width:
        rows[place] = rows[place - width]
        place -= 1
    for place in range(at, at + width):
        rows[place] = 0.0
    rows[at] = tile
    return rows, at


def trim(rows: vec[float], tail: float, base: i64, width: i64, fractions: vec[i64], sums: vec[float]) -> vec[float]:
    """Return the rows without tiles before `tail`; subtract the amounts of these tiles from the totals in `sums`."""
    end, cut = i64(len(rows)), i64(0)
    while cut < end and rows[cut] < tail:
        for column in range(i64(1), width):
            amount = rows[cut + column]
            if amount:
                sums[base + column - 1] -= amount
        cut += width
    rows = rows[cut:]
    # integers are subtracted exactly; fractions are summed again, so that no rounding error accumulates
    for fraction in fractions:
        left, at = 0.0, fraction + 1
        while at < end - cut:
            left += rows[at]
            at += width
        sums[base + fraction] = left
    return rows


def raise_peak(peaks: vec[float], tile: float, amount: float, tail: float, limit: i64) -> vec[float]:
    """Return the largest amounts by tile, with that of `tile` raised to `amount`; ignore a tile before `tail`.

    The number and the largest amount of each tile alternate, tiles in ascending order. Old tiles are dropped when the
    window is read, and when there are more than `limit` tiles, so memory is bounded even if the window is never read.
    """
    if tile < tail:
        return peaks
    before = i64(len(peaks))
    peaks, at = row_at(peaks, tile, 2)
    if i64(len(peaks)) > before or amount > peaks[at + 1]:
        peaks[at + 1] = amount
    return trim_peaks(peaks, tail) if i64(len(peaks)) > 2 * limit else peaks


def trim_peaks(peaks: vec[float], tail: float) -> vec[float]:
    """Return the largest amounts by tile without the tiles before `tail`."""
    end, cut = i64(len(peaks)), i64(0)
    while cut < end and peaks[cut] < tail:
        cut += 2
    return peaks[cut:] if cut else peaks


def see_key(seen: vec[i64], key: i64, time: i64) -> vec[i64]:
    """Return the most recent distinct keys, each followed by its latest event time (ms), after `key` at `time`.

    Only the `DISTINCT_CAP` most recent keys are kept. The latest time of a key never decreases, so the kept keys are
    always the most recent ones, and a window's count is exactly `min(true count, cap)`.
    """
    end, at = i64(len(seen)), i64(0)
    while at < end:
        if seen[at] == key:
            seen[at + 1] = max(time, seen[at + 1])
            return seen
        at += 2
    seen = append(append(seen, key), time)
    if end < _CAP:
        return seen
    oldest = i64(0)
    at = 2
    while at <= end:
        if seen[at + 1] < seen[oldest + 1] or (seen[at + 1] == seen[oldest + 1] and seen[at] < seen[oldest]):
            oldest = at
        at += 2
    return _without(seen, oldest)


def _without(seen: vec[i64], at: i64) -> vec[i64]:
    """Return the keys without the one at index `at`, with its time; `seen` is modified."""
    end = i64(len(seen))
    while at + 2 < end:
        seen[at] = seen[at + 2]
        seen[at + 1] = seen[at + 3]
        at += 2
    seen, _ = pop(seen)
    seen, _ = pop(seen)
    return seen


def forget_keys(seen: vec[i64], since: i64) -> vec[i64]:
    """Return the keys without those whose latest time is before `since` (ms)."""
    kept = vec[i64]()
    at, end = i64(0), i64(len(seen))
    while at < end:
        if seen[at + 1] >= since:
            kept = append(append(kept, seen[at]), seen[at + 1])
        at += 2
    return kept


def count_keys(seen: vec[i64], since: i64) -> i64:
    """Return the number of keys whose latest time is at or after `since` (ms)."""
    found = i64(0)
    at, end = i64(1), i64(len(seen))
    while at < end:
        if seen[at] >= since:
            found += 1
        at += 2
    return found
