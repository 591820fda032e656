"""The users in a recovery store: kept by what has changed, and taken back to any generation that counts."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflows.recovery import users as recovery_users
from dataflows.recovery.engine_store import size
from dataflows.recovery.lock import StoreError
from dataflows.recovery.users import BEHIND, TOGETHER, UserStore, UserStores, damaged_users, make_users, path_of
from dataflows.testing import FlowDriver, hand_made_model, small_policy
from detectors.profiles.delta import pack_changes
from tests.kit.thorough import examples

pytestmark = pytest.mark.slow

LANES = ["000", "001"]
USERS = ["ann", "bob", "", "日本", "a\x00b", "\ud800"]
Changes = dict[str, bytes | None]

CHANGES = st.dictionaries(st.sampled_from(USERS), st.none() | st.binary(min_size=1, max_size=9), max_size=4)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    make_users(tmp_path, LANES)
    return tmp_path


@pytest.fixture
def stores(store: Path) -> Iterator[UserStores]:
    with UserStores(store) as opened:
        yield opened


def applied(changes: list[Changes]) -> dict[str, bytes]:
    """Everybody who is kept after these changes."""
    known: Changes = {}
    for one in changes:
        known |= one
    return {user: state for user, state in known.items() if state is not None}


def write_part(store: UserStore, changes: Changes) -> None:
    """Write some of the next generation, as soon as nothing else is done to the file."""
    store.wait()
    store.keep_part_later(pack_changes(changes.items()))


@settings(max_examples=examples(60), deadline=None)
@given(
    lives=st.lists(
        st.tuples(st.lists(st.lists(CHANGES, min_size=1, max_size=3), max_size=9), st.integers(0, 3), CHANGES),
        min_size=1,
        max_size=5,
    )
)
def test_every_life_goes_on_from_the_generation_it_is_given(
    tmp_path_factory: pytest.TempPathFactory, lives: list[tuple[list[list[Changes]], int, Changes]]
) -> None:
    """Against a list of all changes: whatever a life wrote after the generation of the next never was.

    A generation is written in parts, the last of which makes it count; a life may end before that.
    """
    directory = tmp_path_factory.mktemp("store")
    make_users(directory, LANES)
    kept: list[Changes] = []
    for written, lost, unfinished in lives:
        with UserStores(directory) as stores:
            store = stores.open("001", len(kept))
            assert dict(store.read()) == applied(kept)
            for *parts, last in written:
                for part in parts:
                    write_part(store, part)
                assert store.parts == len(parts)
                kept.append({user: state for part in (*parts, last) for user, state in part.items()})
                assert store.keep(last.items()) == store.generation == len(kept)
                assert store.parts == 0
            write_part(store, unfinished)
        # no more than a resume can lie behind, and nothing of the lives before
        kept = kept[: len(kept) - min(lost, len(written))]
    with UserStores(directory) as stores:
        assert dict(stores.open("001", len(kept)).read()) == applied(kept)
        assert dict(stores.open("000", 0).read()) == {}


def test_what_no_resume_goes_behind_is_folded_and_takes_no_room_twice(store: Path) -> None:
    """Of a thousand generations of the same users the file holds the latest few."""
    with UserStores(store) as stores:
        lane = stores.open("000", 0)
        for number in range(1_000):
            lane.keep([(f"u{user}", bytes([number % 256]) * 500) for user in range(20)])
    with closing(sqlite3.connect(path_of(store, "000"))) as database:
        changes = database.execute("SELECT DISTINCT generation FROM changes ORDER BY 1").fetchall()
        settled = (1_000 - BEHIND) // TOGETHER * TOGETHER
        assert [generation for (generation,) in changes] == list(range(settled + 1, 1_001))
        assert database.execute("SELECT COUNT(*) FROM users").fetchone() == (20,)
    assert path_of(store, "000").stat().st_size < 40 * 20 * 500


@pytest.mark.parametrize("generation", [1_000, 21, 20 - BEHIND - 1, 0])
def test_a_file_of_another_time_is_named_and_left_as_it_is(store: Path, generation: int) -> None:
    """As when one file of a backup was restored over the others: later than the engine's store, or earlier."""
    with UserStores(store) as stores:
        lane = stores.open("000", 0)
        for _ in range(20):
            lane.keep([("ann", b"state")])
    before = path_of(store, "000").read_bytes()
    with UserStores(store) as stores:
        with pytest.raises(
            StoreError, match=r"lane-000\.sqlite3 is of another time .* generations 16 to 20, not"
        ) as told:
            stores.open("000", generation)
        assert "restore the backup" in str(told.value)
        assert stores.first_error is told.value
    assert path_of(store, "000").read_bytes() == before


def test_damage_at_the_start_is_named(store: Path) -> None:
    """A file that is missing, that is another lane's, of a later layout, or no database at all."""
    assert damaged_users(store, LANES) == []
    shutil.copy(path_of(store, "000"), path_of(store, "001"))
    (problem,) = damaged_users(store, LANES)
    assert "lane-001.sqlite3 is not the users of lane 001: restore the backup" in problem
    path_of(store, "001").write_bytes(b"no database" * 999)
    (problem,) = damaged_users(store, LANES)
    assert "lane-001.sqlite3 cannot be read as the users of a lane (file is not a database)" in problem
    path_of(store, "001").unlink()
    with closing(sqlite3.connect(path_of(store, "000"))) as database:
        database.execute("PRAGMA user_version = 4")
    missing, later = damaged_users(store, LANES)
    assert "lacks lane-001.sqlite3 of the users of 2 lanes" in missing
    assert "lane-000.sqlite3 cannot be read as the users of a lane (its layout has version 4" in later


def test_damage_that_is_met_later_is_told_with_the_file(store: Path) -> None:
    """Deep inside, where no start looks; the engine would only say that a step had failed."""
    with UserStores(store) as stores:
        stores.open("000", 0).keep([(f"u{number}", bytes(900)) for number in range(2_000)])
    path = path_of(store, "000")
    whole = path.read_bytes()
    middle = len(whole) // 8192 * 4096
    path.write_bytes(whole[:middle] + b"\xa5" * 400_000 + whole[middle + 400_000 :])
    assert damaged_users(store, LANES) == []
    with UserStores(store) as stores:
        with pytest.raises(StoreError, match=r"lane-000\.sqlite3 cannot be read as the users of a lane .* restore"):
            list(stores.open("000", 1).read())
        assert stores.first_error is not None


def test_changes_that_are_not_what_was_written_are_never_taken(store: Path) -> None:
    """Damage inside of a page is none to SQLite; a sum of the bytes tells."""
    with UserStores(store) as stores:
        stores.open("000", 0).keep([("ann", b"a state of ann")])
    with closing(sqlite3.connect(path_of(store, "000"))) as database:
        database.execute("UPDATE changes SET packed = CAST(replace(packed, 'of ann', 'of bob') AS BLOB)")
        database.commit()
    with UserStores(store) as stores, pytest.raises(StoreError, match="generation 1 are not what was written"):
        stores.open("000", 1)


def test_nothing_of_an_erased_user_is_left_in_a_file_that_was_folded(store: Path) -> None:
    """Not even in pages that are free: whoever copies the disk does not find them."""
    state = b"a state of ann, who will be erased" * 900
    with UserStores(store) as stores:
        lane = stores.open("000", 0)
        lane.keep([("ann", state), ("bob", b"bob")])
        lane.keep([("ann", None)])
    with UserStores(store) as stores:
        stores.open("000", 2)
        for file in (store / "users").iterdir():
            assert b"who will be erased" not in file.read_bytes(), file.name


def test_lanes_take_turns_in_folding(tmp_path: Path) -> None:
    """So that no epoch is followed by the folding of all of them at once."""
    lanes = [f"{number:03d}" for number in range(TOGETHER)]
    make_users(tmp_path, lanes)
    with UserStores(tmp_path) as stores:
        opened = [stores.open(lane, 0) for lane in lanes]
        for _ in range(3 * TOGETHER):
            for users in opened:
                users.keep([("bob", b"bob")])
    folded = set()
    for lane in lanes:
        with closing(sqlite3.connect(path_of(tmp_path, lane))) as database:
            folded |= set(database.execute("SELECT folded FROM about"))
    assert len(folded) == TOGETHER


def test_an_erased_user_is_kept_beside_a_run_for_a_dozen_generations_at_most(store: Path) -> None:
    """As long as docs/explanation/warnings.md says, wherever between two folds the erasure falls."""
    for lane, before in (("000", 0), ("001", TOGETHER + BEHIND - 2)):
        with UserStores(store) as stores:
            users = stores.open(lane, 0)
            for _ in range(before):
                users.keep([("bob", b"bob")])
            users.keep([("ann", b"a state of ann")])
            users.keep([("ann", None)])
            for _ in range(12):
                users.keep([("bob", b"bob")])
            files = [file for file in (store / "users").iterdir() if lane in file.name]
            assert len(files) == 3  # while it is open, what was not folded is in a log beside it
            assert not [file.name for file in files if b"a state of ann" in file.read_bytes()]


def test_a_disk_without_room_is_told_and_nothing_is_lost(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was kept before goes on being there."""
    connect = recovery_users._connect

    def small(path: Path) -> sqlite3.Connection:
        database = connect(path)
        database.execute("PRAGMA max_page_count = 40")
        return database

    monkeypatch.setattr(recovery_users, "_connect", small)
    with UserStores(store) as stores:
        lane = stores.open("000", 0)
        lane.keep([("ann", b"state")])
        with pytest.raises(StoreError, match=r"took no further snapshot \(database or disk is full\): make room"):
            lane.keep([(f"u{number}", bytes(900)) for number in range(2_000)])
        assert stores.first_error is not None
    with UserStores(store) as stores:
        lane = stores.open("000", 1)
        write_part(lane, {f"u{number}": bytes(900) for number in range(2_000)})
        with pytest.raises(StoreError, match="took no further snapshot"):
            lane.keep([("ann", b"later")])
        assert stores.first_error is not None
    monkeypatch.undo()
    with UserStores(store) as stores:
        assert dict(stores.open("000", 1).read()) == {"ann": b"state"}


def test_the_size_of_a_store_counts_its_users(store: Path, stores: UserStores) -> None:
    """With what SQLite keeps beside each file."""
    stores.open("000", 0).keep([("ann", b"state")])
    assert size(store) == sum(path.stat().st_size for path in (store / "users").iterdir()) > 0


@pytest.mark.parametrize(("batch", "parts"), [(1, False), (3, False), (5, True)])
def test_the_engine_never_resumes_from_further_behind_than_is_kept(
    tmp_path: Path, batch: int, parts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Crash after crash, with an epoch for each batch: no start asks for a generation that is folded.

    With room for one live user in a lane, and whoever is frozen written at once, the answers are the same.
    """
    written = []
    if parts:
        step = import_module("dataflows.operators.profile")
        monkeypatch.setattr(step, "LIVE", 1)
        monkeypatch.setattr(step, "PART", 1)
        keep_part = UserStore._keep_part

        def counted(self: UserStore, *arguments: Any) -> None:
            keep_part(self, *arguments)
            written.append(arguments)

        monkeypatch.setattr(UserStore, "_keep_part", counted)
    driver, rng = FlowDriver(small_policy()), iter(range(10_000))
    straight = FlowDriver(small_policy())
    model = hand_made_model(0.25, {"message_count_24h": 0.5})

    def talk(one: FlowDriver, number: int) -> None:
        one.chat(f"u{number % 7}", text=f"message {number}")
        one.advance("1m")

    for _ in range(30):
        for _ in range(5):
            number = next(rng)
            talk(driver, number)
            talk(straight, number)
        driver.crash()
    told = {repr(row) for row in straight.run(model=model, batch_size=batch).served}
    again = driver.run(model=model, batch_size=batch, recovery=tmp_path, lanes=4).served
    assert {repr(row) for row in again} == told
    assert bool(written) is parts
