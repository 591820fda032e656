"""The users in a recovery store: a file of each lane, in which an epoch writes the users it has touched and no others.

The engine keeps a state for each key, looks through all keys at the end of every epoch, and reads them back one by one.
With a key for each user that is most of what a run with many users does. So a lane's users are one key to the engine,
and what it snapshots of them is a *generation*: the number of the last time that the lane has written its changes here.

Changes are appended, in parts while an epoch lasts, so that its end waits for the last of them only; a run that resumes
from generation n takes back all that was written after it. Once no resume can go behind a generation any more, its
changes are folded into the table of users: at a start, and beside a run.
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
"""Where in a recovery directory the files of the lanes are."""
LAYOUT = 3
"""The version of the files' tables."""
BEHIND = 4
"""Generations that are not folded yet. A lane writes one in an epoch at most, and the engine lets no worker begin an
epoch before all have written the one before the last; so it resumes from two generations before the latest at most."""
TOGETHER = 8
"""Generations that are folded at a time beside a run: who spoke in several of them is written once, and whoever is near
in the file with them. Lanes take turns, so that each epoch's end is followed by as much folding."""
KEEPING = 4
"""Lanes whose changes are written at a time: the disk takes its time for each of them."""
BUSY_SECONDS = 60.0
"""How long a file that another thread writes to is waited for."""

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
    """The file of a lane in a recovery directory."""
    return directory / FOLDER / f"lane-{lane}.sqlite3"


def make_users(directory: Path, lanes: Iterable[str]) -> None:
    """Make the files of all lanes in a recovery directory, anew where there are some already."""
    (directory / FOLDER).mkdir(parents=True, exist_ok=True)
    for file in (directory / FOLDER).glob("lane-*.sqlite3*"):
        file.unlink()
    for lane in lanes:
        with closing(sqlite3.connect(path_of(directory, lane), isolation_level=None)) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {LAYOUT}; COMMIT")
            database.execute("INSERT INTO about VALUES (?, 0, 0)", (lane,))


def damaged_users(directory: Path, lanes: Iterable[str]) -> list[str]:
    """What is wrong with the files of the lanes, a sentence each; whether a file is whole is not looked at."""
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
    """The files of a recovery directory in which the lanes of this process keep their users.

    Threads may share it. `fault` is what went wrong with a file, because the engine does not tell. Leaving the `with`
    block waits for what is being folded.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._folding = ThreadPoolExecutor(1, "fold-users", step_aside)
        self.keeping = ThreadPoolExecutor(KEEPING, "keep-users")
        self._opened: list[sqlite3.Connection] = []
        self.fault: StoreError | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.keeping.shutdown()
        self._folding.shutdown()
        for database in self._opened:
            database.close()

    def open(self, lane: str, generation: int) -> UserStore:
        """A lane's users as of a generation, 0 being none; what was written later is taken back.

        Raises:
            StoreError: if the file does not hold that generation, or cannot be read.
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
                compact(database, generation)  # no later start goes behind this one
            empty_log(database)
            return UserStore(self, path, database, generation, turn)

    def compact_later(self, settle: Callable[[int], None], last: int) -> Future[None]:
        """Have a lane's changes folded up to a generation, in turn with those of others."""
        return self._folding.submit(settle, last)

    @contextmanager
    def telling(self, path: Path) -> Iterator[None]:
        """Raise `StoreError` for what goes wrong with a file, and note it as the `fault`."""
        try:
            yield
        except StoreError as error:
            self.fault = self.fault or error
            raise
        except Exception as error:  # whatever a file may hold instead of what was written
            if getattr(error, "sqlite_errorname", "").startswith(NO_ROOM):
                told = StoreError(took_none(self._directory, error))
            else:
                told = StoreError(_unreadable(path, error))
            self.fault = self.fault or told
            raise told from error


class UserStore:
    """A lane's users on disk. One thread at a time may use it."""

    def __init__(
        self, stores: UserStores, path: Path, database: sqlite3.Connection, generation: int, turn: int
    ) -> None:
        self._stores, self._path, self._database = stores, path, database
        self._generation = generation
        self._parts = 0  # of the next generation
        self._next = generation + TOGETHER - turn
        self._doing: Future[None] | None = None  # what a thread does to the file

    @property
    def generation(self) -> int:
        """How often changes were kept."""
        return self._generation

    def read(self) -> Iterator[tuple[str, bytes]]:
        """Everybody who was kept when the file was opened, with their state, in no order."""
        with self._stores.telling(self._path):
            for user_id, state in self._database.execute("SELECT user_id, state FROM users"):
                if not isinstance(state, bytes):
                    raise TypeError("a user's state is no bytes")
                yield user_text(user_id), state

    def keep(self, changes: Iterable[Change]) -> int:
        """Keep what has changed, for good when this returns; the number of the new generation.

        A state of None says that nothing is kept of a user any more.

        Raises:
            StoreError: if the file takes no more.
        """
        generation = self.keep_later(pack_changes(changes)).result()
        self.settle_later()
        return generation

    def keep_later(self, packed: bytes) -> Future[int]:
        """The same of changes that are packed already, on a thread, beside those of other lanes."""
        return self._stores.keeping.submit(self._keep, packed)

    def keep_part_later(self, packed: bytes) -> None:
        """Write some of the changes of the next generation on a thread: what is kept then counts behind them.

        Only while the store is `free`.
        """
        self._doing = self._stores.keeping.submit(self._keep_part, packed, self._generation + 1, self._parts)
        self._parts += 1

    @property
    def parts(self) -> int:
        """How many of the next generation were written."""
        return self._parts

    @property
    def free(self) -> bool:
        """Whether no thread is doing anything to the file.

        Raises:
            StoreError: if what it did last went wrong.
        """
        if self._doing is not None and self._doing.done():
            self.wait()
        return self._doing is None

    def wait(self) -> None:
        """Wait for what a thread does to the file.

        Raises:
            StoreError: if it went wrong; told once.
        """
        if self._doing is not None:
            doing, self._doing = self._doing, None
            doing.result()

    def _keep(self, packed: bytes) -> int:
        self.wait()
        with self._stores.telling(self._path):
            generation, database = self._generation + 1, self._database
            database.execute("PRAGMA synchronous = FULL")  # on disk when it is over, and all parts with it
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
        """Fold what no resume goes behind any more on a thread, if it is the lane's turn: it takes its time.

        To be asked once all lanes have kept their changes, or those who still do would wait for it.
        """
        last = self._generation - BEHIND
        if last >= self._next and self.free:
            self._next = last + TOGETHER
            self._doing = self._stores.compact_later(self._settle, last)

    def _settle(self, last: int) -> None:
        """Fold the changes up to a generation, and write what was in the log beside the file into it, once."""
        database = self._database
        with self._stores.telling(self._path):
            with database:
                database.execute("BEGIN IMMEDIATE")
                compact(database, last)
            empty_log(database)


def _connect(path: Path) -> sqlite3.Connection:
    """A connection that does no checkpoints by itself."""
    database = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=0,  # each would keep the thousand states it was given last
    )
    database.execute("PRAGMA wal_autocheckpoint = 0")
    database.execute("PRAGMA secure_delete = ON")  # no free page remembers an erased user
    return database


def _about(database: sqlite3.Connection) -> tuple[str, int, int]:
    """Whose file it is, its latest generation, and the last that was folded."""
    ((layout,),) = database.execute("PRAGMA user_version").fetchall()
    if layout != LAYOUT:
        raise ValueError(f"its layout has version {layout}, and this forewarn reads {LAYOUT}")
    (row,) = database.execute("SELECT lane, generation, folded FROM about").fetchall()
    lane, generation, folded = row
    return lane, generation, folded


def _unreadable(path: Path, why: object) -> str:
    return f"{path} cannot be read as the users of a lane ({why}): {RESTORE}"
