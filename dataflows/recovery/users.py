"""The users in a recovery store: one file per lane, in which an epoch writes only the users it has changed.

The engine keeps a state for each key, scans all keys at the end of every epoch, and reads them back one by one. With
one key per user this would be most of the work of a run with many users. Therefore a lane's users are one key of the
engine, and its snapshot holds only a *generation*: the number of times that the lane has written its changes here.

Changes are appended, in parts during an epoch, so that its end waits only for the last part. A run that resumes from
generation n deletes all changes written after it. Once no resume can need an earlier generation, changes are compacted
into the table of users: at a start, and in the background of a run.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Self
from zlib import crc32

from dataflows.recovery.compaction import compact, empty_log, step_aside, user_text
from dataflows.recovery.engine_store import NO_ROOM, RESTORE, listed, took_none
from dataflows.recovery.guard import LIVING
from dataflows.recovery.lock import StoreError
from detectors.profiles.delta import Change, pack_changes

FOLDER = "users"
"""The folder of a recovery directory that contains the lanes' files."""
LAYOUT = 3
"""Version of the schema of the files."""
BEHIND = 4
"""Latest generations that are not compacted yet.

A lane writes at most one per epoch, and the engine lets no worker begin an epoch before all have written the one before
the last. Therefore a run resumes from at most two generations before the latest.
"""
TOGETHER = 8
"""Generations that are compacted at a time during a run.

A user who was active in several of them is written once, together with users nearby in the file. Lanes take turns, so
that the end of each epoch is followed by the same amount of compaction.
"""
KEEPING = 4
"""Number of lanes whose changes are written concurrently, because the disk takes time for each."""
BUSY_SECONDS = 60.0
"""Time-out of waiting for a file to which another thread writes."""

TABLES = """
    CREATE TABLE about (lane TEXT NOT NULL, generation INTEGER NOT NULL, folded INTEGER NOT NULL);
    CREATE TABLE users (user_id BLOB PRIMARY KEY, state BLOB NOT NULL);
    CREATE TABLE changes (
        generation INTEGER NOT NULL, part INTEGER NOT NULL, sum INTEGER NOT NULL, packed BLOB NOT NULL,
        PRIMARY KEY (generation, part)
    );
"""
ADD = "INSERT INTO changes VALUES (?, ?, ?, ?)"


def path_of(directory: Path, lane: str) -> Path:
    """Return the path of a lane's file in a recovery directory."""
    return directory / FOLDER / f"lane-{lane}.sqlite3"


def make_users(directory: Path, lanes: Iterable[str]) -> None:
    """Create the files of all lanes in a recovery directory, replacing any that exist."""
    (directory / FOLDER).mkdir(parents=True, exist_ok=True)
    for file in (directory / FOLDER).glob("lane-*.sqlite3*"):
        file.unlink()
    for lane in lanes:
        with closing(sqlite3.connect(path_of(directory, lane), isolation_level=None)) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {LAYOUT}; COMMIT")
            database.execute("INSERT INTO about VALUES (?, 0, 0)", (lane,))


def damaged_users(directory: Path, lanes: Iterable[str]) -> list[str]:
    """Return the problems with the files of the lanes, a sentence each; the integrity of a file is not checked."""
    wanted = {path_of(directory, lane): lane for lane in lanes}
    missing = [path.name for path in wanted if not path.exists()]
    problems = []
    if missing:
        problems.append(
            f"Recovery directory {directory} lacks {listed(missing)} of the users of {len(wanted)} lanes: {RESTORE}"
        )
    for path, lane in wanted.items():
        if path.name in missing:
            continue
        try:
            with closing(_connect(path)) as database:
                if (living := database.execute(LIVING).fetchone()) is not None:
                    problems.append(_unreadable(path, f"it holds a {living[0]}"))
                elif _about(database)[0] != lane:
                    problems.append(f"{path} is not the users of lane {lane}: {RESTORE}")
        except (sqlite3.Error, ValueError) as error:
            problems.append(_unreadable(path, error))
    return problems


class UserStores:
    """The user files of this process's lanes in a recovery directory; threads may share it.

    `first_error` is the first error of a file, because the engine does not report it. Leaving the `with` block waits
    for pending writes and compactions.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._folding = ThreadPoolExecutor(1, "fold-users", step_aside)
        self.keeping = ThreadPoolExecutor(KEEPING, "keep-users")
        self._opened: list[sqlite3.Connection] = []
        self.first_error: StoreError | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.keeping.shutdown()
        self._folding.shutdown()
        for database in self._opened:
            database.close()

    def open(self, lane: str, generation: int) -> UserStore:
        """Return a lane's users as of a generation (0: no users); later changes are deleted.

        Raises:
            StoreError: if the file does not contain that generation, or cannot be read.
        """
        path = path_of(self._directory, lane)
        with self.telling(path):
            database, turn = _connect(path), len(self._opened) % TOGETHER
            self._opened.append(database)
            _, latest, folded = _about(database)
            if not folded <= generation <= latest:
                raise StoreError(
                    f"{path} is of another time than the rest of its store (it holds generations {folded} to {latest}, "
                    f"not {generation}): {RESTORE}"
                )
            with database:
                database.execute("BEGIN IMMEDIATE")
                database.execute("DELETE FROM changes WHERE generation > ?", (generation,))
                database.execute("UPDATE about SET generation = ?", (generation,))
                compact(database, generation)  # no later start resumes from an earlier generation
            empty_log(database)
            return UserStore(self, path, database, generation, turn)

    def compact_later(self, settle: Callable[[int], None], last: int) -> Future[None]:
        """Compact a lane's changes up to a generation on the thread that compacts one lane after the other."""
        return self._folding.submit(settle, last)

    @contextmanager
    def telling(self, path: Path) -> Iterator[None]:
        """Raise `StoreError` for any error of a file, and record the first one as `first_error`."""
        try:
            yield
        except StoreError as error:
            self.first_error = self.first_error or error
            raise
        except Exception as error:  # damaged content may raise any error
            if getattr(error, "sqlite_errorname", "").startswith(NO_ROOM):
                problem = StoreError(took_none(self._directory, error))
            else:
                problem = StoreError(_unreadable(path, error))
            self.first_error = self.first_error or problem
            raise problem from error


class UserStore:
    """A lane's users on disk; only one thread at a time may use it."""

    def __init__(
        self, stores: UserStores, path: Path, database: sqlite3.Connection, generation: int, turn: int
    ) -> None:
        self._stores, self._path, self._database = stores, path, database
        self._generation = generation
        self._parts = 0  # written of the next generation
        self._next = generation + TOGETHER - turn
        self._doing: Future[None] | None = None  # the pending operation on the file

    @property
    def generation(self) -> int:
        """Return the number of the latest generation written."""
        return self._generation

    def read(self) -> Iterator[tuple[str, bytes]]:
        """Yield the users stored when the file was opened, with their states, in no order."""
        with self._stores.telling(self._path):
            for user_id, state in self._database.execute("SELECT user_id, state FROM users"):
                if not isinstance(state, bytes):
                    raise TypeError("a user's state is no bytes")
                yield user_text(user_id), state

    def keep(self, changes: Iterable[Change]) -> int:
        """Write changes durably and return the number of the new generation.

        A state of None deletes the user.

        Raises:
            StoreError: if the file cannot be written.
        """
        generation = self.keep_later(pack_changes(changes)).result()
        self.settle_later()
        return generation

    def keep_later(self, packed: bytes) -> Future[int]:
        """Write packed changes durably on a thread, concurrently with other lanes; return the future generation."""
        return self._stores.keeping.submit(self._keep, packed)

    def keep_part_later(self, packed: bytes) -> None:
        """Write some changes of the next generation on a thread; changes written after them override them.

        Call this only while the store is `free`.
        """
        self._doing = self._stores.keeping.submit(self._keep_part, packed, self._generation + 1, self._parts)
        self._parts += 1

    @property
    def parts(self) -> int:
        """Return the number of parts written of the next generation."""
        return self._parts

    @property
    def free(self) -> bool:
        """Return whether no operation on the file is pending.

        Raises:
            StoreError: if the last operation failed.
        """
        if self._doing is not None and self._doing.done():
            self.wait()
        return self._doing is None

    def wait(self) -> None:
        """Wait for the pending operation on the file.

        Raises:
            StoreError: if it failed; each failure is raised once.
        """
        if self._doing is not None:
            doing, self._doing = self._doing, None
            doing.result()

    def _keep(self, packed: bytes) -> int:
        self.wait()
        with self._stores.telling(self._path):
            generation, database = self._generation + 1, self._database
            database.execute("PRAGMA synchronous = FULL")  # the commit also makes all earlier parts durable
            with database:
                database.execute("BEGIN IMMEDIATE")
                database.execute(ADD, (generation, self._parts, crc32(packed), packed))
                database.execute("UPDATE about SET generation = ?", (generation,))
            self._generation, self._parts = generation, 0
        return generation

    def _keep_part(self, packed: bytes, generation: int, part: int) -> None:
        with self._stores.telling(self._path):
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.execute(ADD, (generation, part, crc32(packed), packed))

    def settle_later(self) -> None:
        """If it is this lane's turn, compact generations that no resume can need, in the background.

        Call this once all lanes have written their changes; a lane that still writes would wait for the compaction.
        """
        last = self._generation - BEHIND
        if last >= self._next and self.free:
            self._next = last + TOGETHER
            self._doing = self._stores.compact_later(self._settle, last)

    def _settle(self, last: int) -> None:
        """Compact the changes up to a generation, then checkpoint and truncate the WAL once."""
        database = self._database
        with self._stores.telling(self._path):
            with database:
                database.execute("BEGIN IMMEDIATE")
                compact(database, last)
            empty_log(database)


def _connect(path: Path) -> sqlite3.Connection:
    """Return a connection without automatic checkpoints."""
    database = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=0,  # a cached statement would keep the last thousand states bound to it
    )
    database.execute("PRAGMA wal_autocheckpoint = 0")
    database.execute("PRAGMA secure_delete = ON")  # free pages must not keep the data of an erased user
    return database


def _about(database: sqlite3.Connection) -> tuple[str, int, int]:
    """Return the lane of a file, its latest generation, and the last compacted generation.

    Raises:
        ValueError: if the version of its layout is not `LAYOUT`.
    """
    ((layout,),) = database.execute("PRAGMA user_version").fetchall()
    if layout != LAYOUT:
        raise ValueError(f"its layout has version {layout}, and this forewarn reads {LAYOUT}")
    (row,) = database.execute("SELECT lane, generation, folded FROM about").fetchall()
    lane, generation, folded = row
    return lane, generation, folded


def _unreadable(path: Path, why: object) -> str:
    return f"{path} cannot be read as the users of a lane ({why}): {RESTORE}"
