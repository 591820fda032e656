"""A recovery store is its user's alone, and nothing in it runs when it is read."""

from __future__ import annotations

import logging
import os
import pickle
import pickletools
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflows.recovery.guard import keep_private, private_files, refuse_code, strange_opcode
from dataflows.recovery.lock import StoreError, StoreLock
from dataflows.recovery.users import UserStores, damaged_users, make_users, path_of
from dataflows.runtime.engine import open_recovery
from detectors.profiles.delta import pack_changes
from tests.kit.thorough import examples

ROOT = os.geteuid() == 0
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
KEYS = st.integers() | st.text() | st.binary()
PLAIN: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(KEYS, inner)
        | st.lists(inner).map(tuple)
        | st.sets(KEYS)
        | st.frozensets(KEYS)
    ),
)


class Runs:
    """Runs a function when it is read from a pickle."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._call


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of two parts and one lane, as a run leaves it."""
    directory = tmp_path / "recovery"
    with StoreLock(directory), private_files():
        open_recovery(directory, 2)
        make_users(directory, ["000"])
    return directory


def put(part: Path, change: bytes) -> None:
    with closing(sqlite3.connect(part)) as database, database:
        database.execute("INSERT INTO snaps VALUES (CURRENT_TIMESTAMP, 'detect.profile', 'ann', 3, ?)", (change,))


def modes(directory: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in (directory, *directory.rglob("*"))}


@settings(max_examples=examples(200), deadline=None)
@given(value=PLAIN)
def test_plain_data_is_let_through_whatever_it_is(value: Any) -> None:
    """In the protocol that the engine writes, which is Python's default."""
    assert strange_opcode(pickle.dumps(value)) is None


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("wrapped", [lambda bad: bad, lambda bad: {"state": [1, (bad,)]}], ids=["bare", "within"])
def test_a_snapshot_that_would_run_something_is_refused_and_not_run(
    store: Path, tmp_path: Path, wrapped: Callable[[Any], Any], protocol: int
) -> None:
    """In every protocol, however deep it lies; the sentence names file and step, and says what to do."""
    proof = tmp_path / "proof"
    put(store / "part-1.sqlite3", pickle.dumps(wrapped(Runs(os.mkdir, str(proof))), protocol))
    with pytest.raises(StoreError, match=r"part-1.*detect\.profile.*is not plain data.*restore the backup"):
        refuse_code(store)
    assert not proof.exists()


def dangerous() -> Iterator[str]:
    """Opcodes that name, import or call, or that fetch what another has put where plain data has nothing."""
    for opcode in pickletools.opcodes:
        if any(word in opcode.name for word in ("GLOBAL", "REDUCE", "BUILD", "INST", "OBJ", "EXT", "PERSID", "BUFFER")):
            yield opcode.name


@pytest.mark.parametrize("name", [*dangerous()])
def test_no_opcode_that_reaches_beyond_the_pickle_is_let_through(name: str) -> None:
    """Each by itself, with the argument that it takes."""
    code = next(opcode.code for opcode in pickletools.opcodes if opcode.name == name)
    assert strange_opcode(b"\x80\x04" + code.encode("latin-1") + b"x\ny\n" + bytes(9) + b".") is not None


@pytest.mark.parametrize(
    "damage", [b"", b"\x80\x04K", b"\x80\x04X\xff\xff\xff\xffa.", b"\xff.", b"\x80\x04\x8d" + b"\xff" * 8]
)
def test_what_is_no_pickle_is_refused_too(store: Path, damage: bytes) -> None:
    """The engine would die of it."""
    put(store / "part-0.sqlite3", damage)
    with pytest.raises(StoreError, match="is not plain data"):
        refuse_code(store)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER UPDATE ON commits BEGIN DELETE FROM snaps; END",
        "DROP TABLE snaps; CREATE VIEW snaps AS SELECT 1 AS step_id, 2 AS state_key, 3 AS snap_epoch, 4 AS ser_change",
    ],
    ids=["trigger", "view"],
)
def test_a_part_that_answers_with_something_else_than_its_rows_is_refused(store: Path, statement: str) -> None:
    """What is looked through has to be what the engine reads."""
    with closing(sqlite3.connect(store / "part-0.sqlite3")) as database:
        database.executescript(statement)
    with pytest.raises(StoreError, match=r"holds a (trigger|view)"):
        refuse_code(store)


def test_a_store_is_made_for_its_user_alone(store: Path) -> None:
    """The directory, the parts, the lock and the users, whatever the umask of whoever starts it."""
    found = modes(store)
    assert {"recovery", "users"} == {name for name, mode in found.items() if mode == 0o700}
    assert {mode for name, mode in found.items() if name not in ("recovery", "users")} == {0o600}
    keep_private(store)


def test_a_store_that_others_may_read_is_closed_to_them_and_that_is_told(
    store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As versions before this one made it."""
    for path in (store, *store.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    with caplog.at_level(logging.WARNING):
        keep_private(store)
    assert "could be read by others" in caplog.text
    assert {0o700, 0o600} == set(modes(store).values())


@pytest.mark.parametrize("place", ["", "part-0.sqlite3", "users", "users/lane-000.sqlite3", "lock"])
@pytest.mark.parametrize("more", [0o020, 0o002, 0o022], ids=["group", "everybody", "both"])
def test_a_store_that_others_may_write_to_is_refused_and_stays_as_it_is(store: Path, place: str, more: int) -> None:
    """Whoever can write a part can make the engine read it."""
    spoiled = store / place
    spoiled.chmod(spoiled.stat().st_mode | more)
    before = modes(store)
    with pytest.raises(StoreError, match=r"may write to .*chmod -R go-w"):
        keep_private(store)
    assert modes(store) == before


@pytest.mark.skipif(not ROOT, reason="only root can give a file away")
@pytest.mark.parametrize("place", ["", "part-0.sqlite3", "users/lane-000.sqlite3"])
def test_a_store_that_belongs_to_somebody_else_is_refused(store: Path, place: str) -> None:
    """Its owner can change it at any time, whatever its permissions are now."""
    os.chown(store / place, 65_534, 65_534)
    with pytest.raises(StoreError, match=r"belongs to another user \(uid 65534\)"):
        keep_private(store)


def test_a_link_in_a_store_is_refused(store: Path, tmp_path: Path) -> None:
    """A part somewhere else is not looked after here."""
    (store / "part-1.sqlite3").rename(tmp_path / "elsewhere")
    (store / "part-1.sqlite3").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="no file of a recovery store"):
        keep_private(store)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO users VALUES (CAST('ann' AS BLOB), 'text')",
        "INSERT INTO users VALUES ('ann', x'01')",
        "INSERT INTO users VALUES (CAST('ann' AS BLOB), 17)",
    ],
)
def test_users_that_are_not_what_was_written_are_refused_with_a_sentence(store: Path, statement: str) -> None:
    """SQLite keeps any type in any column."""
    path = path_of(store, "000")
    with UserStores(store) as stores:
        stores.open("000", 0).keep([("bob", b"state")])
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement)
    with UserStores(store) as stores, pytest.raises(StoreError, match="cannot be read as the users of a lane"):
        dict(stores.open("000", 1).read())


def test_a_lanes_file_with_a_trigger_is_refused(store: Path) -> None:
    """It would do more than what is asked of it."""
    with closing(sqlite3.connect(path_of(store, "000"))) as database:
        database.execute("CREATE TRIGGER t AFTER UPDATE ON about BEGIN DELETE FROM users; END")
    assert [problem for problem in damaged_users(store, ["000"]) if "it holds a trigger" in problem]


def test_changes_that_are_not_what_was_written_are_refused_with_a_sentence(store: Path) -> None:
    """A checksum that fits does not make them changes."""
    with UserStores(store) as stores:
        stores.open("000", 0).keep([("bob", b"state")])
    with closing(sqlite3.connect(path_of(store, "000"))) as database, database:
        database.execute("UPDATE changes SET packed = 'text', sum = 1")
    with UserStores(store) as stores, pytest.raises(StoreError, match="cannot be read as the users of a lane"):
        stores.open("000", 1)
    assert pack_changes([("bob", b"state")])
