"""Slices of a run by message attributes, which are read from the replayed log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dataflows.mapping.load import Mapping
from dataflows.sources.files.log import read_log
from evaluation.runs import Outputs
from evaluation.slices import Slices
from schemas.codec.inputs import EARLIEST_TIME, Codec
from schemas.records.base import Raw
from schemas.records.events import ChatMessage

MOST_VALUES = 20
"""Maximum number of values of one attribute that become slices, the most frequent first."""


def by_attribute(run: Outputs, log: Path, mapping: Mapping | None) -> Slices:
    """Return slices of the run's points by channel, locale and age band, read from the replayed log.

    A slice contains points of messages only. A value that all points share is left out.
    """
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


def _messages(log: Path, mapping: Mapping | None, rows: dict[int, int]) -> Iterator[tuple[int, ChatMessage]]:
    codec = Codec(earliest_ms=EARLIEST_TIME)
    for item in read_log(log, mapping):
        if isinstance(item, Raw) and (row := rows.get(item.at.seq)) is not None:
            event = codec.decode(item)
            if isinstance(event, ChatMessage):
                yield row, event
