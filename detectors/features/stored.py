"""A profile as plain data, in the order of its plan's layout; and profiles from that, or from data by name."""

from __future__ import annotations

from typing import Any

from detectors.features.packed import shortest
from detectors.features.plan import Plan
from detectors.features.profile import Profile
from detectors.features.strikes import Entry, Ledger
from detectors.features.window import LastSeen, Peaks


def state_of(profile: Profile) -> list[Any]:
    """Everything as plain data, in the order of the plan's layout."""
    rows = [
        {tile: [shortest(much) for much in row] for tile, row in kept.items()} if kept else None
        for kept in profile.rows
    ]
    return [
        profile.clock,
        profile.first,
        profile.events,
        [shortest(much) for much in profile.sums],
        rows,
        [None if keys is None else keys.times for keys in profile.keys],
        [None if peaks is None else peaks.tiles for peaks in profile.peaks],
        profile.lasts,
        profile.ledger.entries,
        bytes(profile.seen),
        profile.texts,
        profile.trail,
        profile.channel,
        profile.here,
        profile.session,
        profile.spoke,
        profile.run,
    ]


def profile_of(state: list[Any], plan: Plan) -> Profile:
    """The profile whose state it is, under a plan of the same layout."""
    profile = Profile(plan)
    profile.clock, profile.first, profile.events, sums, rows, keys, peaks, lasts, ledger, *rest = state
    profile.sums = [float(much) for much in sums]
    for number, kept in enumerate(rows):
        if kept is not None:
            profile.rows[number] = {tile: [float(much) for much in row] for tile, row in kept.items()}
    for number, times in enumerate(keys):
        if times is not None:
            profile.keys[number] = LastSeen(times)
    for number, tiles in enumerate(peaks):
        if tiles is not None:
            profile.peaks[number] = Peaks(tiles)
    profile.lasts = lasts
    if ledger:
        profile.ledger = Ledger([Entry(*entry) for entry in ledger])
    seen, profile.texts, profile.trail, profile.channel, here, profile.session, profile.spoke, profile.run = rest
    profile.seen = bytearray(seen)
    profile.here = tuple(here)
    return profile


def profile_by_name(state: dict[str, Any], plan: Plan) -> Profile:
    """A profile from its state by name. What is no longer declared is dropped, what is new starts empty."""
    profile = Profile(plan)
    profile.clock, profile.first, profile.events = state["clock"], state["first"], state["events"]
    sums, rows, cells, lasts = state["sums"], state["rows"], state["cells"], state["lasts"]
    names = [f"{column}_{span.name}" for span in plan.spans for column in span.columns] + list(plan.decays)
    profile.sums = [float(sums.get(name, 0.0)) for name in names]
    for number, span in enumerate(plan.spans):
        if span.name in rows:
            stored, kept = rows[span.name]
            places = [stored.index(column) if column in stored else -1 for column in span.columns]
            profile.rows[number] = {
                tile: [0.0 if at < 0 else float(row[at]) for at in places] for tile, row in kept.items()
            }
    for number, signal in enumerate(plan.keyed):
        if f"{signal}_distinct" in cells:
            profile.keys[number] = LastSeen(dict(cells[f"{signal}_distinct"]))
    for number, name in enumerate(plan.peaked):
        if name in cells:
            profile.peaks[number] = Peaks({tile: float(amount) for tile, amount in cells[name].items()})
    profile.lasts = [lasts.get(name, -1) for name in plan.lasts]
    profile.ledger = Ledger([Entry(*entry) for entry in state["ledger"]])
    profile.seen = bytearray(state["seen"])
    profile.texts = list(state["texts"])
    profile.trail, profile.channel = state["trail"], state["channel"]
    profile.here, profile.session = tuple(state["here"]), list(state["session"])
    profile.spoke, profile.run = state["spoke"]
    return profile
