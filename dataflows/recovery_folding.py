"""Folding: the changes of a lane's file go where they belong in its table of users, and leave no trace elsewhere."""

from __future__ import annotations

import sqlite3
from zlib import crc32

from detectors.changes import unpack_changes

DROP = "DELETE FROM users WHERE user_id = ?"
KEEP = "INSERT INTO users VALUES (?, ?) ON CONFLICT (user_id) DO UPDATE SET state = excluded.state"


def fold(database: sqlite3.Connection, last: int) -> None:
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
    states = sorted((user_bytes(user_id), state) for user_id, state in changes.items() if state is not None)
    database.executemany(DROP, ((user_bytes(user_id),) for user_id, state in changes.items() if state is None))
    database.executemany(KEEP, states)
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
