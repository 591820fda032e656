"""Reading of a replay's output directory. A missing file counts as empty, a missing key as None."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dataflows.runtime.text_files import MARK
from schemas.records.decisions import RiskEvent, Tombstone

Times = NDArray[np.int64]
Values = NDArray[np.float64]
Flags = NDArray[np.bool_]


class Summary:
    """The contents of `summary.json`; every key is optional.

    >>> Summary({"users": 3}).number("users"), Summary({}).number("risk_events", "total")
    (3, None)
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document

    def get(self, *path: str) -> Any:
        """Return the value at a path of keys, or None."""
        found: Any = self._document
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        return found

    def number(self, *path: str) -> float | None:
        """Return the number at a path; None if there is none. A boolean is not a number."""
        found = self.get(*path)
        return found if isinstance(found, int | float) and not isinstance(found, bool) else None

    def text(self, *path: str) -> str | None:
        """Return the text at a path; None if it is missing or empty."""
        found = self.get(*path)
        return found if isinstance(found, str) and found else None

    def numbers(self, *path: str) -> dict[str, float]:
        """Return the numbers of the object at a path, by key; empty if there is none."""
        found = self.get(*path)
        keys = found if isinstance(found, dict) else {}
        return {key: number for key in keys if (number := self.number(*path, key)) is not None}


@dataclass(frozen=True, slots=True)
class Risk:
    """The risk events in file order, and the erased users.

    `erased` contains, for every erased user, the time (ms) up to which nothing may name them. It is the time of the
    latest erasure, or of the latest risk event before it in the log, if that is later.

    `recorded` is false if there was no file, which does not mean that nobody was warned.
    """

    events: tuple[RiskEvent, ...]
    erased: dict[str, int]
    recorded: bool = True

    @property
    def named(self) -> list[RiskEvent]:
        """Return the events whose user may still be named: those after the time in `erased`."""
        return [event for event in self.events if event.as_of > self.erased.get(event.user_id, -1)]

    @property
    def raised(self) -> list[RiskEvent]:
        """Return the warnings: events that raised a user to a higher tier."""
        return [event for event in self.events if is_raise(event)]


def is_raise(event: RiskEvent) -> bool:
    """Return whether a risk event raises its user to a higher tier."""
    return event.tier.rank > event.previous_tier.rank


@dataclass(frozen=True, slots=True)
class Points:
    """The decision points as columns: `user` indexes `users`, `tier` indexes `tiers`; an absent score is NaN.

    `recorded` is false if there was no file.
    """

    users: list[str]
    user: NDArray[np.int64]
    as_of: Times
    score: Values
    insufficient: Flags
    tiers: list[str]
    tier: NDArray[np.int64]
    recorded: bool = True

    def named(self, erased: dict[str, int]) -> Flags:
        """Return a flag per row, true if the row may still be shown under its user's name."""
        since = np.array([erased.get(user, -1) for user in self.users], dtype=np.int64)
        shown: Flags = self.as_of > since[self.user] if len(since) else np.ones(len(self.as_of), dtype=np.bool_)
        return shown


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a model; `state` is its JSON text, not yet parsed."""

    family: str
    version: str
    learned_until: int | None
    examples: int
    positives: int
    state: str


@dataclass(frozen=True, slots=True)
class Run:
    """The data of a replay that the report needs."""

    summary: Summary
    risk: Risk
    points: Points
    versions: dict[str, list[Version]]


def read_run(directory: Path) -> Run:
    """Read a replay's output directory into plain values.

    Raises:
        ValueError: if the directory does not exist or one of its files is invalid; the text is one sentence.
    """
    if not directory.is_dir():
        raise ValueError(f"{directory} is not a directory: give the one a replay wrote to with --out")
    return Run(read_summary(directory), read_risk(directory), read_points(directory), read_versions(directory))


def read_summary(directory: Path) -> Summary:
    """Read `summary.json`."""
    path = directory / "summary.json"
    if not path.exists():
        return Summary({})
    try:
        document = orjson.loads(path.read_bytes().removeprefix(MARK))
    except orjson.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON ({error}): replay the log again") from error
    return Summary(document if isinstance(document, dict) else {})


def read_risk(directory: Path) -> Risk:
    """Read `risk-events.jsonl`: risk events and the tombstones of erased users."""
    events: list[RiskEvent] = []
    erased: dict[str, int] = {}
    latest: dict[str, int] = {}
    path = directory / "risk-events.jsonl"
    for number, document in _lines(path):
        try:
            if document.get("tombstone"):
                gone = Tombstone.model_validate(document)
                until = max(gone.as_of, latest.get(gone.user_id, -1), erased.get(gone.user_id, -1))
                erased[gone.user_id] = until
            else:
                event = RiskEvent.model_validate(document)
                events.append(event)
                latest[event.user_id] = max(event.as_of, latest.get(event.user_id, -1))
        except ValueError as error:
            raise ValueError(f"{path} line {number} is not a risk event: replay the log again") from error
    return Risk(tuple(events), erased, recorded=path.exists())


def read_versions(directory: Path) -> dict[str, list[Version]]:
    """Read `models/versions.jsonl` by model name or, if it is missing, the last versions in `models/*.json`."""
    versions: dict[str, list[Version]] = {}
    path = directory / "models" / "versions.jsonl"
    for number, document in _lines(path):
        _add_version(versions, document, f"{path} line {number}")
    if not versions:
        for file in sorted((directory / "models").glob("*.json")):
            for _, document in _whole(file):
                _add_version(versions, document, str(file))
    return versions


def _add_version(versions: dict[str, list[Version]], document: dict[str, Any], where: str) -> None:
    try:
        learned_until = document["learned_until"]
        version = Version(
            family=str(document["family"]),
            version=str(document["version"]),
            learned_until=None if learned_until is None else int(learned_until),
            examples=int(document["examples"]),
            positives=int(document["positives"]),
            state=document["state"] if isinstance(document["state"], str) else "",
        )
        versions.setdefault(str(document["name"]), []).append(version)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where} is not a model version: replay the log again") from error


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, _object(line, f"{path} line {number}")


def _whole(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    yield 1, _object(path.read_bytes(), str(path))


def _object(data: bytes, where: str) -> dict[str, Any]:
    try:
        document = orjson.loads(data.removeprefix(MARK))
    except orjson.JSONDecodeError as error:
        raise ValueError(f"{where} is not JSON ({error}): replay the log again") from error
    if not isinstance(document, dict):
        raise ValueError(f"{where} is not a JSON object: replay the log again")  # noqa: TRY004 - the file is wrong, not a caller's type
    return document


def read_points(directory: Path) -> Points:
    """Read the columns of `features.parquet` that pictures need, without the features themselves."""
    path = directory / "features.parquet"
    wanted = ["user_id", "as_of", "score", "insufficient_history", "tier"]
    if not path.exists():
        none = np.empty(0, dtype=np.int64)
        return Points([], none, none, np.empty(0), np.empty(0, dtype=np.bool_), [], none, recorded=False)
    try:
        table = pq.read_table(path, columns=wanted)
        users, user = _codes(table.column("user_id"))
        tiers, tier = _codes(table.column("tier"))
        as_of = table.column("as_of").cast(pa.timestamp("ms", tz="UTC")).cast(pa.int64())
        return Points(
            users=users,
            user=user,
            as_of=as_of.to_numpy(),
            score=table.column("score").to_numpy(),
            insufficient=table.column("insufficient_history").to_numpy(),
            tiers=tiers,
            tier=tier,
        )
    except (pa.ArrowException, KeyError, OSError) as error:
        raise ValueError(f"{path} is not the decision points of a replay: replay the log again") from error


def _codes(column: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int64]]:
    """Return the distinct values of a text column and, for every row, the index of its value."""
    if not len(column):
        return [], np.empty(0, dtype=np.int64)
    encoded: Any = column.cast(pa.string()).dictionary_encode().combine_chunks()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)
