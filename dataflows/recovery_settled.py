"""Settled: the snapshots that no resume goes behind, kept where the engine does not look through them.

At the end of every epoch the engine looks through all snapshots of a part for those that newer ones have replaced, so
an epoch would cost as much as there are users, however few have spoken. So once a run has read its snapshots, they are
set apart, in a table of each part's own, and the engine's table holds only what is newer than the last epoch that is
behind everyone. What that epoch passes is moved over when the engine notes it, in the same transaction. Before a start
the two are put together again, which is a matter of names, and the engine finds what it would have left itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Self

LOCK_NAME = "settling"
LOOK_SECONDS = 0.25
"""How often it is looked whether the engine has read its snapshots."""
TABLE = "settled"
TRIGGERS = ("settle_first", "settle_next")
BUSY_SECONDS = 0.5
"""How long a part that the engine writes to is waited for, until it is tried again."""

BEHIND = """
    DELETE FROM settled WHERE (step_id, state_key) IN (SELECT step_id, state_key FROM snaps WHERE snap_epoch <= {last});
    INSERT INTO settled SELECT created_at, step_id, state_key, MAX(snap_epoch), ser_change FROM snaps
        WHERE snap_epoch <= {last} GROUP BY step_id, state_key HAVING ser_change IS NOT NULL;
    DELETE FROM snaps WHERE snap_epoch <= {last};
"""
"""Moves every key's last snapshot up to an epoch over; SQLite takes the other columns from the row of the maximum.

An empty one says that the key is gone; beside those it needs no place, because nothing older is kept of any key.
"""
GONE = """
    DELETE FROM settled WHERE (step_id, state_key) IN (SELECT step_id, state_key FROM (
        SELECT step_id, state_key, MAX(snap_epoch), ser_change FROM settled WHERE (step_id, state_key) IN
            (SELECT step_id, state_key FROM settled WHERE snap_epoch >= ?)
        GROUP BY step_id, state_key HAVING ser_change IS NULL))
"""
"""Takes out the keys that are gone since an epoch; those of before were taken out when the run started."""


def is_apart(database: sqlite3.Connection) -> bool:
    """Whether a part's settled snapshots are set apart."""
    return database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (TABLE,)).fetchone() is not None


def put_together(database: sqlite3.Connection, start: int) -> tuple[int, int]:
    """Make a part that is set apart what the engine reads; nothing of epoch `start` or later is kept.

    How many snapshots that were, and how many keys are gone. The caller's transaction is used, and left open.
    """
    unfinished = database.execute("DELETE FROM snaps WHERE snap_epoch >= ?", (start,)).rowcount
    gone = database.execute(
        "SELECT COUNT(*) FROM (SELECT MAX(snap_epoch), ser_change FROM snaps GROUP BY step_id, state_key "
        "HAVING ser_change IS NULL)"
    ).fetchone()[0]
    for statement in BEHIND.format(last=start).split(";")[:-1]:
        database.execute(statement)
    for trigger in TRIGGERS:
        database.execute(f"DROP TRIGGER {trigger}")
    database.execute("DROP TABLE snaps")
    database.execute(f"ALTER TABLE {TABLE} RENAME TO snaps")
    return unfinished, gone


def set_apart(part: Path, start: int) -> bool:
    """Set a part's settled snapshots apart, if the engine has read them: it has when it left epoch `start` behind.

    Whether they are apart now. Errors: `sqlite3.Error`, when the part cannot be written now; it is as it was then.
    """
    with closing(sqlite3.connect(part, timeout=BUSY_SECONDS, isolation_level=None)) as database:
        if _noted(database) <= start:
            return False
        database.execute("BEGIN IMMEDIATE")
        try:
            if not is_apart(database):  # another process of the cluster may have come first
                _split(database, start)
            database.execute("COMMIT")
        except BaseException:
            database.execute("ROLLBACK")
            raise
    return True


def _noted(database: sqlite3.Connection) -> int:
    """The last epoch that a part knows to be behind everyone."""
    noted: int = database.execute("SELECT IFNULL(MAX(commit_epoch), 0) FROM commits").fetchone()[0]
    return noted


def _split(database: sqlite3.Connection, start: int) -> None:
    (made,) = database.execute("SELECT sql FROM sqlite_master WHERE name = 'snaps'").fetchone()
    last = _noted(database)
    database.execute(f"ALTER TABLE snaps RENAME TO {TABLE}")
    database.execute(made)
    database.execute("INSERT INTO snaps SELECT * FROM settled WHERE snap_epoch > ?", (last,))
    database.execute("DELETE FROM settled WHERE snap_epoch > ?", (last,))
    database.execute(GONE, (start,))
    for trigger, when in zip(TRIGGERS, ("INSERT", "UPDATE"), strict=True):
        moves = BEHIND.format(last="NEW.commit_epoch")
        database.execute(f"CREATE TRIGGER {trigger} AFTER {when} ON commits BEGIN {moves} END")


class Settling:
    """Sets the parts of a store apart while a run goes on, from a process of its own.

    It takes another process because the engine brings an SQLite of its own: of two in one process, whichever closes a
    file takes the other's locks with it. The process ends when all parts are apart, at the end of the `with` block, and
    when whoever started it dies. It holds the file `settling` for as long as it lives, so that no start begins to read
    beside one that is left over: see `wait_for_leftover`.

    `start` is the epoch with which the engine begins.
    """

    def __init__(self, directory: Path, start: int) -> None:
        self._directory, self._start = directory, start
        self._child: Popen[bytes] | None = None

    def __enter__(self) -> Self:
        descriptor = os.open(self._directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            command = [sys.executable, "-m", __name__, str(self._directory), str(self._start)]
            self._child = Popen(command, stdin=PIPE, pass_fds=[descriptor], start_new_session=True)
        finally:
            os.close(descriptor)  # the child's copy goes on holding it
        return self

    @property
    def over(self) -> bool:
        """Whether there is nothing left to do."""
        return self._child is not None and self._child.poll() is not None

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.kill()  # nothing is half done: a part is set apart in one transaction
            self._child.communicate()


def wait_for_leftover(directory: Path) -> None:
    """Return when nobody sets parts of a store apart: what was started by a run that was killed ends by itself."""
    with (directory / LOCK_NAME).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)


def settle(directory: Path, start: int, alive: Callable[[float], bool]) -> None:
    """Set the parts of a store apart, each as soon as that can be done, until all are or `alive` says no.

    `alive` waits the seconds it is given, and says whether to go on.
    """
    left = sorted(directory.glob("part-*.sqlite3"))
    while left and alive(LOOK_SECONDS):
        for part in left.copy():
            # the engine tells what is wrong with a part, if it is not only busy
            with contextlib.suppress(sqlite3.Error):
                if set_apart(part, start):
                    left.remove(part)
            if not alive(0.0):
                return


def _parent_lives(seconds: float) -> bool:
    """Whether nobody has closed our standard input, after so many seconds at most."""
    return not select.select([sys.stdin], [], [], seconds)[0]


if __name__ == "__main__":
    settle(Path(sys.argv[1]), int(sys.argv[2]), _parent_lives)
