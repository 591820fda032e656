"""What an epoch that was cut short left in the store never comes back, and damage deep inside a part is told."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections import Counter
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.inputs import AbortExecution, FixedPartitionedSource, StatefulSourcePartition
from bytewax.recovery import InconsistentPartitionsError
from bytewax.testing import TestingSink

from dataflows.recovery import engine_store as recovery_parts
from dataflows.recovery.engine_store import of_other_times, resume_epoch, size, tidy
from dataflows.recovery.errors import errors_explained
from dataflows.recovery.lock import StoreError
from dataflows.runtime.engine import open_recovery, run_flow

ITEMS = ("ann", "bob", "cat", "ann", "bob", "cat")


class Script(FixedPartitionedSource[str, int]):
    """Gives as many of the items in each epoch as a script says, then crashes; without a script, all that is left."""

    def __init__(self, script: list[int] | None) -> None:
        self.script = script

    def list_parts(self) -> list[str]:
        return ["only"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> Played:
        del step_id, for_part
        return Played(self.script, resume_state or 0)


class Played(StatefulSourcePartition[str, int]):
    """The script as it is played, from one of the items on."""

    def __init__(self, script: list[int] | None, at: int) -> None:
        self._script, self._at = None if script is None else iter(script), at

    def next_batch(self) -> list[str]:
        many = len(ITEMS) if self._script is None else next(self._script, -1)
        if many < 0:
            raise AbortExecution
        batch = list(ITEMS[self._at : self._at + many])
        if self._script is None and not batch:
            raise StopIteration
        self._at += len(batch)
        return batch

    def snapshot(self) -> int:
        return self._at


def live(directory: Path, script: list[int] | None) -> list[tuple[str, int]]:
    """One life of a flow that counts names, each batch an epoch of its own; what it counted."""
    counted: list[tuple[str, int]] = []
    flow = Dataflow("counting")
    names = op.key_on("names", op.input("script", flow, Script(script)), lambda name: name)
    counts = op.stateful_map("counts", names, lambda count, _: ((count or 0) + 1, (count or 0) + 1))
    op.output("out", counts, TestingSink(counted))
    with suppress(BytewaxRuntimeError, AbortExecution):
        run_flow(flow, epoch=timedelta(0), recovery=open_recovery(directory, 2))
    return counted


def cut_short(directory: Path) -> None:
    """Make the store what a kill leaves that came after an epoch's snapshots and before its end was written."""
    for part in directory.glob("part-*.sqlite3"):
        with closing(sqlite3.connect(part)) as database, database:
            database.execute("UPDATE fronts SET worker_frontier = worker_frontier - 1")
            # the engine had told no part yet that the epoch is behind everyone
            database.execute("UPDATE commits SET commit_epoch = commit_epoch - 1")


@pytest.mark.parametrize(("cleaned", "last"), [(True, 2), (False, 3)], ids=["cleaned", "as the engine leaves it"])
def test_what_a_second_crash_would_bring_back_is_taken_out(tmp_path: Path, cleaned: bool, last: int) -> None:
    """Without the cleaning the engine counts what was read in the unfinished epoch twice; with it, once."""

    def start(script: list[int] | None) -> Counter[str]:
        if cleaned:
            tidy(tmp_path)
        return Counter(dict(live(tmp_path, script)))

    open_recovery(tmp_path, 2)
    assert start([1, 1, 1]) == {"ann": 1, "bob": 1, "cat": 1}
    cut_short(tmp_path)
    start([0, 0])  # dies before it has come to the name that the unfinished epoch had counted
    assert start(None)["cat"] == last


def test_only_what_the_start_does_not_resume_from_is_taken_out(tmp_path: Path) -> None:
    """Earlier snapshots stay, and the engine goes on from where it would have gone on anyway."""
    open_recovery(tmp_path, 2)
    assert resume_epoch(tmp_path) is None
    assert tidy(tmp_path) == (0, 0)
    live(tmp_path, [2, 2])
    before = snaps(tmp_path)
    start = resume_epoch(tmp_path)
    assert start is not None
    taken, _ = tidy(tmp_path)
    assert snaps(tmp_path) == {snap for snap in before if snap[2] < start}
    assert taken == len(before) - len(snaps(tmp_path))
    assert tidy(tmp_path) == (0, 0)
    assert live(tmp_path, None) == [("bob", 2), ("cat", 2)]


@pytest.mark.parametrize(
    ("exs", "fronts", "start"),
    [
        ([(0, 1, 1)], [], 1),
        ([(0, 1, 1)], [(0, 0, 7)], 7),
        ([(0, 2, 1)], [(0, 0, 7), (0, 1, 5)], 5),
        ([(0, 2, 4)], [(0, 0, 7)], 4),  # the second worker has finished nothing
        ([(0, 2, 1), (1, 1, 5)], [(0, 0, 7), (0, 1, 5)], 5),  # the second execution has finished nothing
        ([(0, 2, 1), (1, 1, 5)], [(0, 0, 7), (0, 1, 5), (1, 0, 6)], 6),
    ],
)
def test_the_epoch_to_begin_with_is_what_no_worker_had_left_behind(
    tmp_path: Path, exs: list[tuple[int, ...]], fronts: list[tuple[int, ...]], start: int
) -> None:
    """The last execution counts, and in it the worker that is furthest behind, in whatever part that is written."""
    open_recovery(tmp_path, 3)
    parts = sorted(tmp_path.glob("part-*.sqlite3"))
    begun = "INSERT INTO exs (ex_num, worker_count, resume_epoch) VALUES (?, ?, ?)"
    reached = "INSERT INTO fronts (ex_num, worker_index, worker_frontier) VALUES (?, ?, ?)"
    for number, (insert, row) in enumerate([*((begun, row) for row in exs), *((reached, row) for row in fronts)]):
        with closing(sqlite3.connect(parts[number % 3])) as database, database:  # in whichever part
            database.execute(insert, row)
    assert resume_epoch(tmp_path) == start


def test_damage_deep_in_a_part_is_told_with_the_file(tmp_path: Path) -> None:
    """The start-up check reads a part's beginning; what it misses is met while cleaning, and named."""
    open_recovery(tmp_path, 2)
    for _ in range(3):
        live(tmp_path, [1])
    for part in sorted(tmp_path.glob("part-*.sqlite3")):
        with closing(sqlite3.connect(part)) as database, database:
            rows = [("step", f"key {number:09d}", 1, bytes(900)) for number in range(2_000)]
            database.executemany(
                "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) VALUES (?,?,?,?)", rows
            )
        with closing(sqlite3.connect(part)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    damaged = tmp_path / "part-1.sqlite3"
    whole = damaged.read_bytes()
    middle = len(whole) // 8192 * 4096
    damaged.write_bytes(whole[:middle] + b"\xa5" * 400_000 + whole[middle + 400_000 :])
    with pytest.raises(StoreError, match=r"part-1\.sqlite3 cannot be read as part of a recovery store .* restore the"):
        tidy(tmp_path)


def snaps(directory: Path) -> set[tuple[str, str, int]]:
    """Every snapshot in the store, by step, key and epoch."""
    found: set[tuple[str, str, int]] = set()
    for part in directory.glob("part-*.sqlite3"):
        with closing(sqlite3.connect(part)) as database:
            found.update(database.execute("SELECT step_id, state_key, snap_epoch FROM snaps").fetchall())
    return found


def test_keys_that_are_gone_leave_nothing_behind_and_do_not_come_back(tmp_path: Path) -> None:
    """The engine keeps an empty last snapshot for ever; older ones below it must not be what is left."""
    open_recovery(tmp_path, 2)
    live(tmp_path, [1, 1, 1])  # each name is counted once
    for part in tmp_path.glob("part-*.sqlite3"):
        with closing(sqlite3.connect(part)) as database, database:
            database.execute(
                "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) "
                "SELECT step_id, state_key, snap_epoch + 1, NULL FROM snaps WHERE state_key = 'ann'"
            )
    assert tidy(tmp_path)[1] == 2
    assert "ann" not in {key for _, key, _ in snaps(tmp_path)}
    assert Counter(dict(live(tmp_path, None))) == {"ann": 1, "bob": 2, "cat": 2}


def test_the_size_counts_the_parts_and_what_lies_beside_them(tmp_path: Path) -> None:
    """Not the manifest, and not the locks."""
    open_recovery(tmp_path, 2)
    live(tmp_path, [1])
    (tmp_path / "manifest.json").write_text("{}")
    beside = [path.stat().st_size for path in tmp_path.iterdir() if path.name != "manifest.json"]
    assert size(tmp_path) == sum(beside) > 0


def test_a_part_of_another_time_is_named(tmp_path: Path) -> None:
    """As when one file of a backup was restored over the others: the engine would go on without what it lacks."""
    store, backup = tmp_path / "store", tmp_path / "backup"
    open_recovery(store, 2)
    live(store, [1])
    shutil.copytree(store, backup)
    for _ in range(4):
        live(store, [0, 0, 0])
    assert of_other_times(store) == []
    for file in backup.glob("part-1.sqlite3*"):
        shutil.copy(file, store)
    (problem,) = of_other_times(store)
    assert "part-1.sqlite3 is of another time than the rest of its store" in problem
    assert "restore the backup" in problem


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            type("UnpicklingError", (Exception,), {})("pickle data was truncated"),
            "cannot be resumed from (pickle data was truncated): restore",
        ),
        (InconsistentPartitionsError("too old\nsecond line"), "cannot be resumed from (too old): restore"),
        (
            RuntimeError('SqliteFailure(Error { code: DiskFull, extended_code: 13 }, Some("disk is full"))'),
            "took no further snapshot (disk is full): make room on its disk",
        ),
    ],
)
def test_what_the_engine_says_of_the_store_is_answered_in_a_sentence(
    tmp_path: Path, error: Exception, said: str
) -> None:
    """Damage that shows when it is read, parts that do not belong together, a disk that takes no more."""
    open_recovery(tmp_path, 1)
    with pytest.raises(StoreError, match=re.escape(said)), errors_explained(tmp_path):
        raise error


@pytest.mark.parametrize("error", [RuntimeError("something else"), ValueError("a bug"), KeyboardInterrupt()])
def test_what_is_not_the_stores_fault_is_let_through(tmp_path: Path, error: BaseException) -> None:
    """It keeps its own type and text."""
    open_recovery(tmp_path, 1)
    with pytest.raises(type(error)) as raised, errors_explained(tmp_path):
        raise error
    assert raised.value is error


def test_a_disk_without_room_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is told to restore a backup may throw away a good store."""
    open_recovery(tmp_path, 1)
    live(tmp_path, [1])
    monkeypatch.setattr(recovery_parts, "DELETE_GONE", "CREATE TABLE filler AS SELECT zeroblob(9000000)")
    real = sqlite3.connect

    def small(*arguments: Any, **named: Any) -> sqlite3.Connection:
        database = real(*arguments, **named)
        database.execute("PRAGMA max_page_count = 40")
        return database

    monkeypatch.setattr(sqlite3, "connect", small)
    with pytest.raises(StoreError, match=r"cannot be tidied \(database or disk is full\): make room on its disk"):
        tidy(tmp_path)
