"""Folding: changes reach the table of users, in few statements."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
from contextlib import closing
from pathlib import Path
from zlib import crc32

import pytest

from dataflows.recovery.compaction import ASIDE, compact, user_bytes
from dataflows.recovery.users import ADD, TABLES, TOGETHER, UserStores, make_users
from detectors.profiles.delta import pack_changes

pytestmark = pytest.mark.slow

MANY = 1_000
HELD = 3 * MANY


@pytest.mark.parametrize("count", [1, MANY - 1, MANY, MANY + 1, 2 * MANY + 1])
def test_many_users_are_folded_in_few_statements(count: int) -> None:
    """Some new, some changed, some gone: each statement gives other threads the interpreter once."""
    before = {f"u{number}": b"before" for number in range(HELD)}
    changed: dict[str, bytes | None] = {f"u{number}": b"%d" % number for number in range(0, 2 * count, 2)}
    gone: dict[str, bytes | None] = {f"u{number}": None for number in range(1, 2 * count, 2)}
    packed = pack_changes([*changed.items(), *gone.items()])
    statements: list[str] = []
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(TABLES)
        database.execute("INSERT INTO about VALUES ('000', 1, 0)")
        database.executemany(
            "INSERT INTO users VALUES (?, ?)", [(user_bytes(user), state) for user, state in before.items()]
        )
        database.execute(ADD, (1, 0, crc32(packed), packed))
        database.set_trace_callback(statements.append)
        compact(database, 1)
        database.set_trace_callback(None)
        after = dict(database.execute("SELECT user_id, state FROM users"))
    expected = {user: state for user, state in (before | changed | gone).items() if state is not None}
    assert after == {user_bytes(user): state for user, state in expected.items()}
    assert len(statements) <= 2 * -(-count // MANY) + 4


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_that_was_folded_stays_in_memory(tmp_path: Path) -> None:
    """Of 40 folds of 4 MB, each of another number of users."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    def fold_some(count: int) -> None:
        packed = pack_changes([(f"u{number}", os.urandom(4_000)) for number in range(count)])
        for changes in (packed, *[b""] * (TOGETHER - 1)):
            lane.keep_later(changes).result()
        lane.settle_later()
        lane.wait()

    make_users(tmp_path, ["000"])
    with UserStores(tmp_path) as stores:
        lane = stores.open("000", 0)
        for _ in range(3):
            fold_some(MANY)
        before = resident()
        for count in range(MANY - 40, MANY):
            fold_some(count)
        assert resident() - before < 50_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives each thread a priority of its own")
def test_whoever_folds_lets_the_flow_go_first(tmp_path: Path) -> None:
    """The thread that folds gives way; the one that runs the flow does not."""

    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    of_fold: list[int] = []
    with UserStores(tmp_path) as stores:
        stores.compact_later(lambda _: of_fold.append(niceness()), 0).result()
    assert of_fold == [min(niceness() + ASIDE, 19)]
