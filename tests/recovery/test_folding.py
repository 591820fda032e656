"""Folding: changes reach the table of users, in few statements."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from zlib import crc32

import pytest

from dataflows.recovery_folding import fold, user_bytes
from dataflows.recovery_users import ADD, TABLES
from detectors.changes import pack_changes

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
        fold(database, 1)
        database.set_trace_callback(None)
        after = dict(database.execute("SELECT user_id, state FROM users"))
    expected = {user: state for user, state in (before | changed | gone).items() if state is not None}
    assert after == {user_bytes(user): state for user, state in expected.items()}
    assert len(statements) <= 2 * -(-count // MANY) + 4
