"""The feature vector of a profile: values read from its sums and cells, or derived from them, in declared order."""

from __future__ import annotations

from array import array
from math import nan, sqrt
from typing import Final

from librt.strings import BytesWriter, write_f64_le
from librt.vecs import vec
from mypy_extensions import i64

from detectors.base.vectors import Vector
from detectors.features.plan import Plan
from detectors.features.profile import Profile
from detectors.features.window import count_keys, forget_keys, trim_peaks

_COUNT: Final[i64] = 0  # indices in `Happening`
_SINCE: Final[i64] = 1
_NUMBER: Final[i64] = 2


def vector_of(profile: Profile, scratch: vec[float]) -> Vector:
    """Return the declared features as of the clock, in declared order; NaN if absent.

    `scratch` is the array that `Profile.advance` returned for the event.
    """
    plan, sums = profile.plan, profile.sums
    for place in range(i64(len(sums))):
        scratch[place] = sums[place]
    _read(profile, scratch)
    _derive(plan, scratch)
    packed = BytesWriter()
    for slot in plan.order:
        write_f64_le(packed, scratch[slot])
    return array("d", packed.getvalue())


def _read(profile: Profile, scratch: vec[float]) -> None:
    """Read the values that are not sums into the scratch array, and drop keys and tiles outside their windows."""
    now, plan = profile.clock, profile.plan
    at, end = i64(0), i64(0)
    for cell in range(i64(len(profile.keys))):
        keys = profile.keys[cell]
        if not len(keys):
            continue
        windows = plan.distincts[cell]
        at, end = 0, i64(len(windows))
        while at < end:
            hop = windows[at + 2]
            since = (now - windows[at + 1]) // hop * hop
            found = count_keys(keys, since)
            scratch[windows[at]] = float(found)
            if at == 0 and 2 * found < i64(len(keys)):  # no window covers the others any more
                profile.keys[cell] = keys = forget_keys(keys, since)
            at += 3
    at, end = 0, i64(len(plan.peaks))
    while at < end:
        cell, hop = plan.peaks[at], plan.peaks[at + 3]
        peaks = profile.peaks[cell]
        if len(peaks):
            profile.peaks[cell] = peaks = trim_peaks(peaks, float((now - plan.peaks[at + 2]) // hop))
            scratch[plan.peaks[at + 1]] = _highest(peaks)
        at += 4
    ledger = profile.ledger
    if ledger is not None:
        for slot, read_ledger in plan.ledger_reads:
            scratch[slot] = read_ledger(ledger, now)
    if plan.first_slot >= 0:
        scratch[plan.first_slot] = float(now - profile.first) / 1000.0
    at, end = 0, i64(len(plan.token_reads))
    while at < end:
        scratch[plan.token_reads[at]] = float(profile.recent_tokens & plan.token_reads[at + 1])
        at += 2
    at, end = 0, i64(len(plan.session_reads))
    while at < end:
        happening = plan.session_reads[at + 1]
        if happening == _SINCE:
            much = float(now - profile.began) / 1000.0
        elif happening == _COUNT:
            much = float(profile.in_session)
        else:
            much = float(profile.session if happening == _NUMBER else profile.in_first)
        scratch[plan.session_reads[at]] = much
        at += 2
    here = profile.here
    if here:
        at, end = 0, i64(len(plan.here_reads))
        while at < end:
            scratch[plan.here_reads[at]] = here[plan.here_reads[at + 1]]
            at += 2


def _derive(plan: Plan, scratch: vec[float]) -> None:
    """Compute the quotients, spreads and differences in the scratch array from other values there."""
    quotients, factors = plan.quotients, plan.factors
    for number in range(i64(len(factors))):
        bottom = scratch[quotients[3 * number + 2]]
        if bottom:
            scratch[quotients[3 * number]] = factors[number] * scratch[quotients[3 * number + 1]] / bottom
    spreads = plan.spreads
    at, end = i64(0), i64(len(spreads))
    while at < end:
        count, total = scratch[spreads[at + 1]], scratch[spreads[at + 2]]
        if count > 1 and total:
            varied = scratch[spreads[at + 3]] * count - total * total
            scratch[spreads[at]] = (sqrt(varied) if varied > 0.0 else 0.0) / abs(total)
        at += 4
    differences = plan.differences
    at, end = 0, i64(len(differences))
    while at < end:
        scratch[differences[at]] = scratch[differences[at + 1]] - scratch[differences[at + 2]]
        at += 3


def _highest(peaks: vec[float]) -> float:
    """Return the largest of the amounts by tile; NaN if there is none."""
    if not len(peaks):
        return nan
    highest = peaks[1]
    at, end = i64(3), i64(len(peaks))
    while at < end:
        highest = max(highest, peaks[at])
        at += 2
    return highest
