"""Sawtooth windows, windowed maxima and bounded distinct counts, as numbers side by side.

What a user is counted in is touched at every event of theirs, and most users are not in the processor's caches then.
So each of these is one packed array and no object: whoever counts gives it, and keeps what comes back in its place.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from librt.vecs import append, pop, vec
from mypy_extensions import i64

DISTINCT_CAP = 64
"""A distinct count is exact up to this many values in the window and reads as the cap beyond it."""
_CAP: Final[i64] = 2 * 64


class Span(NamedTuple):
    """What the summed windows of one span share: its hop (ms), its width in hops, and which columns are kept for it.

    A column is a signal and an aggregate (`message_count`). Column c's total stands at `base + c` of a profile's sums;
    `fractions` are the columns whose amounts need not be whole.

    The rows of a span are its tile's number (hop of event time) and an amount for each column, one row behind the
    other, tiles in rising order, so that old ones are dropped from the front. The totals of a window live in its
    profile's sums and are kept up to date, so that a window is read without adding it up.
    """

    name: str
    hop: int
    hops: int
    base: int
    columns: tuple[str, ...]
    fractions: tuple[int, ...]


def row_at(rows: vec[float], tile: float, width: i64) -> tuple[vec[float], i64]:
    """The rows, with one of zeros put where it belongs if `tile` had none, and the place where the tile's row begins.

    `width` is how many numbers a row has, its tile's among them.
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
    """The rows without those of tiles before `tail`; what those held is taken from the totals in `sums`."""
    end, cut = i64(len(rows)), i64(0)
    while cut < end and rows[cut] < tail:
        for column in range(i64(1), width):
            amount = rows[cut + column]
            if amount:
                sums[base + column - 1] -= amount
        cut += width
    rows = rows[cut:]
    # whole numbers are subtracted exactly; fractions are summed anew, so that nothing drifts
    for fraction in fractions:
        left, at = 0.0, fraction + 1
        while at < end - cut:
            left += rows[at]
            at += width
        sums[base + fraction] = left
    return rows


def raise_peak(peaks: vec[float], tile: float, amount: float, tail: float, limit: i64) -> vec[float]:
    """The largest amounts by tile, that of `tile` raised to `amount`; a tile before the window's `tail` is left out.

    A tile's number and its largest amount stand side by side, tiles in rising order. Old ones are dropped when the
    window is read, and when an amount finds more than `limit` tiles, so memory is bounded even where nothing is read.
    """
    if tile < tail:
        return peaks
    before = i64(len(peaks))
    peaks, at = row_at(peaks, tile, 2)
    if i64(len(peaks)) > before or amount > peaks[at + 1]:
        peaks[at + 1] = amount
    return trim_peaks(peaks, tail) if i64(len(peaks)) > 2 * limit else peaks


def trim_peaks(peaks: vec[float], tail: float) -> vec[float]:
    """The largest amounts by tile without the tiles before `tail`."""
    end, cut = i64(len(peaks)), i64(0)
    while cut < end and peaks[cut] < tail:
        cut += 2
    return peaks[cut:] if cut else peaks


def see_key(seen: vec[i64], key: i64, time: i64) -> vec[i64]:
    """The most recently seen distinct keys, each with when it was last seen (ms), once `key` is seen at `time`.

    Only the `DISTINCT_CAP` most recent keys are kept. Since a key's last time only grows, the kept keys are always
    those seen last, and so a window's count is exactly `min(true count, cap)`.
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
    """The keys without the one at a place."""
    end = i64(len(seen))
    while at + 2 < end:
        seen[at] = seen[at + 2]
        seen[at + 1] = seen[at + 3]
        at += 2
    seen, _ = pop(seen)
    seen, _ = pop(seen)
    return seen


def forget_keys(seen: vec[i64], since: i64) -> vec[i64]:
    """The keys without those not seen since then."""
    kept = vec[i64]()
    at, end = i64(0), i64(len(seen))
    while at < end:
        if seen[at + 1] >= since:
            kept = append(append(kept, seen[at]), seen[at + 1])
        at += 2
    return kept


def count_keys(seen: vec[i64], since: i64) -> i64:
    """How many keys were seen at or after `since`."""
    found = i64(0)
    at, end = i64(1), i64(len(seen))
    while at < end:
        if seen[at] >= since:
            found += 1
        at += 2
    return found
