"""The same figures for parts of the users, where there are enough of them to say anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dataflows.mapping.mapping import LogMapping
from dataflows.sources.files.log import read_log
from evaluation.runs import Flags, Outputs
from schemas.codec.inputs import EARLIEST_TIME, Codec
from schemas.records import ChatMessage, Raw

LEAST_POINTS = 500
LEAST_POSITIVES = 20
MOST_VALUES = 20
"""Values of one attribute that are looked at, the most frequent first."""
DAY = 86_400
"""In seconds, as `first_since` is."""

Slices = dict[str, Flags]


def by_age(run: Outputs) -> Slices:
    """New users, of less than a day, and the others."""
    first_since = np.nan_to_num(run.features["first_since"])
    return {"new users (under a day)": first_since < DAY, "old users (a day and more)": first_since >= DAY}


def by_attribute(run: Outputs, log: Path, mapping: LogMapping | None) -> Slices:
    """Slices by channel, locale and age band, read from the log that was replayed; points of messages only."""
    rows = {place: row for row, place in enumerate(run.seq.tolist())}
    values: dict[str, dict[str, list[int]]] = {"channel": {}, "locale": {}, "age band": {}}
    for row, message in _messages(log, mapping, rows):
        for attribute, value in (
            ("channel", message.channel),
            ("locale", message.locale),
            ("age band", message.age_band),
        ):
            if value is not None:
                values[attribute].setdefault(value, []).append(row)
    found: Slices = {}
    for attribute, members in values.items():
        for value in sorted(members, key=lambda one: (-len(members[one]), one))[:MOST_VALUES]:
            if len(members[value]) < len(run):
                flags = np.zeros(len(run), dtype=np.bool_)
                flags[members[value]] = True
                found[f"{attribute} {value}"] = flags
    return found


def _messages(log: Path, mapping: LogMapping | None, rows: dict[int, int]) -> Iterator[tuple[int, ChatMessage]]:
    codec = Codec(earliest_ms=EARLIEST_TIME)
    for item in read_log(log, mapping):
        if isinstance(item, Raw) and (row := rows.get(item.at.seq)) is not None:
            event = codec.decode(item)
            if isinstance(event, ChatMessage):
                yield row, event


def large_enough(positive: Flags) -> bool:
    """Whether a cell has enough points and positives to be shown."""
    return len(positive) >= LEAST_POINTS and int(positive.sum()) >= LEAST_POSITIVES
