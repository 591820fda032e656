"""Serialisation of profiles in the order of their plan's layout; loading under that layout or another."""

from __future__ import annotations

from typing import Any

from librt.strings import BytesWriter
from librt.vecs import append, vec
from mypy_extensions import i64

from detectors.base.packed import Reader, write_key, write_number, write_time, write_whole
from detectors.features.layout import Shape
from detectors.features.plan import Plan
from detectors.features.profile import Profile
from detectors.features.strikes import Entry, Ledger


def write_profile(writer: BytesWriter, profile: Profile) -> None:
    """Write the whole profile except its clock."""
    clock = profile.clock
    write_time(writer, profile.first, clock)
    write_whole(writer, profile.events)
    for amount in profile.sums:
        write_number(writer, amount)
    widths = profile.plan.shape.widths
    for number in range(i64(len(widths))):
        rows = profile.rows[number]
        write_whole(writer, i64(len(rows)) // widths[number])
        for amount in rows:
            write_number(writer, amount)
    for keys in profile.keys:
        end = i64(len(keys))
        write_whole(writer, end // 2)
        for at in range(i64(0), end, 2):
            write_key(writer, keys[at])
            write_time(writer, keys[at + 1], clock)
    for peaks in profile.peaks:
        write_whole(writer, i64(len(peaks)) // 2)
        for amount in peaks:
            write_number(writer, amount)
    for last in profile.lasts:
        write_time(writer, last, clock)
    ledger = profile.ledger
    write_whole(writer, 0 if ledger is None else len(ledger.entries))
    if ledger is not None:
        for sanction, time, severity, upheld in ledger.entries:
            write_key(writer, sanction)
            write_time(writer, time, clock)
            write_whole(writer, severity * 2 + upheld)
    _write_seen(writer, profile)
    write_whole(writer, len(profile.texts))
    for text in profile.texts:
        write_key(writer, text)
    write_whole(writer, profile.recent_tokens)
    write_key(writer, profile.channel)
    write_whole(writer, len(profile.here))
    for amount in profile.here:
        write_number(writer, amount)
    write_whole(writer, profile.in_session)
    write_time(writer, profile.began, clock)
    write_whole(writer, profile.session)
    write_whole(writer, profile.in_first)
    write_time(writer, profile.spoke, clock)
    write_whole(writer, profile.run)


def _write_seen(writer: BytesWriter, profile: Profile) -> None:
    """Write the hashes of the latest event ids, oldest first."""
    seen = profile.seen
    known: i64 = 0
    for key in seen:
        known += key >= 0
    write_whole(writer, known)
    for at in range(profile.next, i64(len(seen))):
        if seen[at] >= 0:
            write_key(writer, seen[at])
    for at in range(i64(0), profile.next):
        if seen[at] >= 0:
            write_key(writer, seen[at])


def read_profile(reader: Reader, shape: Shape, plan: Plan, clock: i64) -> Profile:
    """Read a profile; its columns are those of the layout it was written under, which `shape` describes."""
    profile = Profile(plan)
    profile.clock = clock
    profile.first = reader.time(clock)
    profile.events = reader.whole()
    profile.sums = reader.numbers(shape.sums)
    widths = shape.widths
    if shape is not plan.shape:
        profile.rows, profile.keys = shape.rows[:], shape.keys[:]
        profile.peaks, profile.lasts = shape.peaks[:], shape.lasts[:]
    rows, keys, peaks, lasts = profile.rows, profile.keys, profile.peaks, profile.lasts
    for number in range(i64(len(widths))):
        many = reader.whole()
        if many:
            rows[number] = reader.numbers(many * widths[number])
    for number in range(i64(len(keys))):
        many = reader.whole()
        if many:
            keys[number] = reader.pairs(many, clock)
    for number in range(i64(len(peaks))):
        many = reader.whole()
        if many:
            peaks[number] = reader.numbers(2 * many)
    for number in range(i64(len(lasts))):
        lasts[number] = reader.time(clock)
    entries: list[Entry] = []
    for _ in range(reader.whole()):
        sanction, time, packed = reader.key(), reader.time(clock), reader.whole()
        entries.append(Entry(sanction, time, packed // 2, packed % 2 == 1))
    if entries:
        profile.ledger = Ledger(entries)
    profile.seen = reader.keys(reader.whole())
    for _ in range(reader.whole()):
        profile.texts.append(reader.key())
    profile.recent_tokens = reader.whole()
    profile.channel = reader.key()
    here = reader.whole()
    if here:
        profile.here = tuple([reader.number() for _ in range(here)])
    profile.in_session = reader.whole()
    profile.began = reader.time(clock)
    profile.session = reader.whole()
    profile.in_first = reader.whole()
    profile.spoke = reader.time(clock)
    profile.run = reader.whole()
    return profile


def move_columns(profile: Profile, layout: dict[str, Any]) -> None:
    """Convert a profile from the columns of a layout to those of its plan.

    Columns that are no longer declared are dropped, new ones start empty.
    """
    plan = profile.plan
    spans, wanted = layout["spans"], plan.layout["spans"]
    there = [f"{column}_{span}" for span, columns in spans.items() for column in columns] + list(layout["decays"])
    names = [f"{column}_{span}" for span, columns in wanted.items() for column in columns] + list(plan.decays)
    sums, rows, keys, peaks, lasts = profile.sums, profile.rows, profile.keys, profile.peaks, profile.lasts
    profile.sums = vec[float]([sums[there.index(name)] if name in there else 0.0 for name in names])
    profile.rows = vec[vec[float]](
        [
            _moved(rows[list(spans).index(name)], spans[name], wanted[name]) if name in spans else vec[float]()
            for name in wanted
        ]
    )
    places = _places(layout["keys"], list(plan.keyed))
    profile.keys = vec[vec[i64]]([vec[i64]() if at < 0 else keys[at] for at in places])
    places = _places(layout["peaks"], plan.peaked)
    profile.peaks = vec[vec[float]]([vec[float]() if at < 0 else peaks[at] for at in places])
    places = _places(layout["lasts"], plan.lasts)
    profile.lasts = vec[i64]([-1 if at < 0 else lasts[at] for at in places])


def _places(there: list[str], wanted: list[str]) -> list[int]:
    """Return the index of each wanted name in `there`; -1 if it is missing."""
    return [there.index(name) if name in there else -1 for name in wanted]


def _moved(rows: vec[float], there: list[str], wanted: list[str]) -> vec[float]:
    """Return the rows with the wanted columns; 0 in columns that were not there."""
    moved, places = vec[float](), _places(there, wanted)
    for begin in range(0, len(rows), len(there) + 1):
        moved = append(moved, rows[begin])
        for at in places:
            moved = append(moved, 0.0 if at < 0 else rows[begin + 1 + at])
    return moved
