"""Folding: the changes of a lane's file go where they belong in its table of users, and leave no trace elsewhere."""

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
"""Users for each statement. While one runs, Python's lock is free; after it, it is waited for again behind whoever else
is busy. With a statement for each user, folding beside a busy flow was not over before the next epoch was."""
OVER = "ON CONFLICT (user_id) DO UPDATE SET state = excluded.state"
ASIDE = 10
"""How much nicer than others a thread is that folds: it has seconds, and the flow beside it milliseconds."""


def step_aside() -> None:
    """Let other threads have a busy processor first, where the system tells threads apart and lets us ask."""
    if sys.platform == "linux":
        with suppress(OSError):
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + ASIDE)


def compact(database: sqlite3.Connection, last: int) -> None:
    """Put the changes up to a generation where they belong.

    Raises:
        ValueError: if they are not what was written.
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
        database.execute(f"DELETE FROM users WHERE user_id IN ({places})", gone)  # noqa: S608 - places, no values
    for start in range(0, len(kept), MANY):
        some = kept[start : start + MANY]
        places = ", ".join(["(?, ?)"] * len(some))
        query = f"INSERT INTO users VALUES {places}"  # noqa: S608 - places, no values
        database.execute(f"{query} {OVER}", [*chain.from_iterable(some)])
    database.execute("DELETE FROM changes WHERE generation <= ?", (last,))
    database.execute("UPDATE about SET folded = ?", (last,))


def empty_log(database: sqlite3.Connection) -> None:
    """Bring what was written where it belongs in the file, and leave nothing in the log beside it."""
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def user_bytes(user_id: str) -> bytes:
    """A user's id as the table holds it."""
    return user_id.encode("utf-8", "surrogatepass")


def user_text(user_id: bytes) -> str:
    """A user's id, from what the table holds."""
    return user_id.decode("utf-8", "surrogatepass")
