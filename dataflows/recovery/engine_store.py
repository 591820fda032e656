"""The recovery partitions: the SQLite files of the engine's snapshots, checked before the engine reads them.

The engine writes the snapshots of an epoch partition by partition, and the progress of each worker last. A run that is
killed in between leaves snapshots of an unfinished epoch. The engine restarts that epoch but does not delete them. If
an epoch of the second run ends before it touches a key again, the first run's snapshot of that key becomes valid, and
after another crash the state contains some records twice. Therefore every snapshot from which a start does not resume
is deleted before the engine reads the store.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from itertools import chain
from pathlib import Path

from dataflows.recovery.lock import StoreError

log = logging.getLogger(__name__)

ENGINE_TABLES = ("exs", "fronts", "commits", "snaps")
"""Tables of a partition that the engine writes to; all are empty until a flow has run."""

NEW = "start with a new recovery directory"
RESTORE = f"restore the backup, or {NEW}."

DELETE_GONE = """
    DELETE FROM snaps WHERE (step_id, state_key) IN (
        SELECT step_id, state_key FROM snaps AS last WHERE ser_change IS NULL AND snap_epoch = (
            SELECT MAX(snap_epoch) FROM snaps WHERE (step_id, state_key) = (last.step_id, last.state_key)))
"""
"""SQL that deletes all snapshots of keys whose last snapshot is empty, so that no older one becomes valid again."""
NO_ROOM = ("SQLITE_FULL", "SQLITE_READONLY", "SQLITE_IOERR")
"""Prefixes of the SQLite error names for problems of the disk rather than of the partition."""
APART = 2
"""Epochs by which partitions may differ after a kill, because the engine commits them one after the other."""

BEGUN = "SELECT ex_num, worker_count, resume_epoch FROM exs"
REACHED = "SELECT ex_num, worker_index, worker_frontier FROM fronts"


def unused(part: Path) -> bool:
    """Return whether no flow ever wrote to a partition; an unreadable partition counts as written to."""
    try:
        with closing(opened(part)) as database:
            made = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
            return not any(_holds_rows(database, table) for table in ENGINE_TABLES if table in made)
    except sqlite3.Error:
        return False


def damages(directory: Path, partitions: int) -> list[str]:
    """Return the problems with the files of a store of this many partitions, a sentence each.

    The integrity of a partition is not checked, because that takes as long as reading all of it. SQLite has to open it
    at its full length, and the first rows of its tables have to be readable.
    """
    wanted = [f"part-{index}.sqlite3" for index in range(partitions)]
    found = {path.name for path in directory.glob("*.sqlite3")}
    problems = []
    missing, extra = [name for name in wanted if name not in found], sorted(found - {*wanted})
    if missing:
        problems.append(f"Recovery directory {directory} lacks {listed(missing)} of {partitions} parts: {RESTORE}")
    if extra:  # the engine would read them too
        problems.append(f"Recovery directory {directory} holds {listed(extra)} beside its own parts: {RESTORE}")
    for index, name in [(index, name) for index, name in enumerate(wanted) if name in found]:
        try:
            with closing(opened(directory / name)) as database:
                rows = database.execute("SELECT part_index, part_count FROM parts").fetchall()
                for table in ENGINE_TABLES:
                    _holds_rows(database, table)
            if rows != [(index, partitions)]:
                problems.append(f"{directory / name} is not part {index} of {partitions} of this store: {RESTORE}")
        except sqlite3.Error as error:
            problems.append(_unreadable(directory / name, error))
    return problems


def decay(directory: Path) -> list[str]:
    """Return the integrity problems inside the partitions, a sentence each; this reads all their data."""
    problems = []
    for part in part_files(directory):
        try:
            with closing(opened(part)) as database:
                (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                problems.append(_unreadable(part, verdict.splitlines()[-1]))
        except sqlite3.Error as error:
            problems.append(_unreadable(part, error))
    return problems


def resume_epoch(directory: Path) -> int | None:
    """Return the epoch from which the engine will resume; None if nothing has run yet.

    This is the lowest epoch that a worker of the last execution had reached.
    """
    begun: dict[int, tuple[int, int]] = {}
    reached: dict[tuple[int, int], int] = {}
    for part in part_files(directory):
        with closing(opened(part)) as database:
            begun |= {execution: (workers, start) for execution, workers, start in database.execute(BEGUN)}
            reached |= {(execution, worker): epoch for execution, worker, epoch in database.execute(REACHED)}
    if not begun:
        return None
    last = max(begun)
    workers, start = begun[last]
    return min(max(start, reached.get((last, worker), start)) for worker in range(workers))


def of_other_times(directory: Path) -> list[str]:
    """Report partitions that lag behind the newest, a sentence each.

    They come from a partial restore, which the engine may not detect.
    """
    reached: dict[Path, int] = {}
    with _told(directory):
        for part in part_files(directory):
            with closing(opened(part)) as database:
                ((epoch,),) = database.execute("SELECT MAX(commit_epoch) FROM commits").fetchall()
            reached[part] = epoch or 0
    newest = max(reached.values(), default=0)
    return [
        f"{part} is of another time than the rest of its store (epoch {epoch} where others have reached {newest}): "
        f"{RESTORE}"
        for part, epoch in reached.items()
        if newest - epoch > APART
    ]


def tidy(directory: Path) -> tuple[int, int]:
    """Delete snapshots of an unfinished epoch and of dropped keys; return the number of each.

    A dropped key leaves a last, empty snapshot, which the engine never removes. The caller has to hold the store's
    lock.

    Raises:
        StoreError: if a partition cannot be read or written.
    """
    unfinished = gone = 0
    with _told(directory):
        start = resume_epoch(directory) or 0
        for part in part_files(directory) if start else ():
            with closing(sqlite3.connect(part)) as database, database:
                unfinished += database.execute("DELETE FROM snaps WHERE snap_epoch >= ?", (start,)).rowcount
                gone += database.execute(DELETE_GONE).rowcount
    if unfinished:
        log.info("%d snapshots of an epoch that was cut short were dropped; it is read again.", unfinished)
    return unfinished, gone


def size(directory: Path) -> int:
    """Return the bytes on disk of the partitions and of the lanes' user files, including SQLite's auxiliary files."""
    total = 0
    for file in chain(directory.glob("part-*.sqlite3*"), directory.glob("users/lane-*.sqlite3*")):
        with suppress(FileNotFoundError):  # SQLite deletes its log when the last connection closes
            total += file.stat().st_size
    return total


@contextmanager
def _told(directory: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorname", "").startswith(NO_ROOM):
            raise StoreError(
                f"Recovery directory {directory} cannot be tidied ({error}): make room on its disk, or repair it, then "
                "start again; nothing is lost."
            ) from None
        raise StoreError(*decay(directory) or [_unreadable(directory, error)]) from None


def took_none(directory: Path, why: object) -> str:
    """Return the error sentence for a recovery directory whose disk takes no more snapshots."""
    return (
        f"Recovery directory {directory} took no further snapshot ({why}): make room on its disk, or repair it, then "
        "start again; nothing is lost, the next start goes on from the last snapshot."
    )


def listed(names: list[str]) -> str:
    """Return names as part of a sentence; of more than eight, the first eight and the number of the rest."""
    shown = ", ".join(names[:8]) or "none"
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"


def _unreadable(part: Path, why: object) -> str:
    return f"{part} cannot be read as part of a recovery store ({why}): {RESTORE}"


def part_files(directory: Path) -> list[Path]:
    """Return the engine's partition files in a recovery directory, sorted by name."""
    return sorted(directory.glob("part-*.sqlite3"))


def opened(part: Path) -> sqlite3.Connection:
    """Return a read-only connection to a partition."""
    return sqlite3.connect(f"{part.absolute().as_uri()}?mode=ro", uri=True)


def _holds_rows(database: sqlite3.Connection, table: str) -> bool:
    return database.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None  # noqa: S608 - the names are constants
