"""Compaction of a lane's file: merge its changes into its table of users, and remove them everywhere else."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
from contextlib import suppress
from itertools import chain
from zlib import crc32

from detectors.profiles.delta import unpack_changes

MANY = 1_000
"""Users per statement.

Python's global lock is free while a statement runs; after it, the thread queues for the lock behind other busy threads.
With one statement per user, compaction beside a busy flow did not end before the next epoch did.
"""
OVER = "ON CONFLICT (user_id) DO UPDATE SET state = excluded.state"
ASIDE = 10
"""Niceness added to the compaction thread: it has seconds to finish, while the flow has milliseconds."""


def step_aside() -> None:
    """Lower the priority of the current thread, if the system has priorities per thread (Linux) and permits it."""
    if sys.platform == "linux":
        with suppress(OSError):
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + ASIDE)


def compact(database: sqlite3.Connection, last: int) -> None:
    """Merge the changes up to and including a generation into the table of users, and delete them.

    Raises:
        ValueError: if the checksum of a change does not match.
    """
    changes: dict[str, bytes | None] = {}
    query = "SELECT generation, sum, packed FROM changes WHERE generation <= ? ORDER BY generation, part"
    for generation, total, packed in database.execute(query, (last,)):
        if crc32(packed) != total:
            raise ValueError(f"the changes of generation {generation} are not what was written")
        changes.update(unpack_changes(packed))
    kept = sorted((user_bytes(user_id), state) for user_id, state in changes.items() if state is not None)
    dropped = [user_bytes(user_id) for user_id, state in changes.items() if state is None]
    for start in range(0, len(dropped), MANY):
        gone = dropped[start : start + MANY]
        places = ", ".join(["?"] * len(gone))
        database.execute(f"DELETE FROM users WHERE user_id IN ({places})", gone)  # noqa: S608 - placeholders, no values
    for start in range(0, len(kept), MANY):
        some = kept[start : start + MANY]
        places = ", ".join(["(?, ?)"] * len(some))
        query = f"INSERT INTO users VALUES {places}"  # noqa: S608 - placeholders, no values
        database.execute(f"{query} {OVER}", [*chain.from_iterable(some)])
    database.execute("DELETE FROM changes WHERE generation <= ?", (last,))
    database.execute("UPDATE about SET folded = ?", (last,))


def empty_log(database: sqlite3.Connection) -> None:
    """Checkpoint and truncate the WAL."""
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def user_bytes(user_id: str) -> bytes:
    """Return a user id as stored in the table."""
    return user_id.encode("utf-8", "surrogatepass")


def user_text(user_id: bytes) -> str:
    """Return a user id from its stored form."""
    return user_id.decode("utf-8", "surrogatepass")
