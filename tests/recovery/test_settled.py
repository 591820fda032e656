"""Setting apart what no resume goes behind changes nothing that is resumed from, and spares every epoch the rest."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from datetime import timedelta
from pathlib import Path
from subprocess import PIPE, Popen

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.inputs import AbortExecution, FixedPartitionedSource, StatefulSourcePartition
from bytewax.testing import TestingSink

from dataflows.engine import open_recovery, run_flow
from dataflows.recovery_parts import resume_epoch, tidy, unused
from dataflows.recovery_settled import Settling, is_apart, set_apart, settle, wait_for_leftover

PARTS = 3
Word = tuple[str, str]
"""A key, and what to do with it: count it, or let it go."""


class Words(FixedPartitionedSource[list[Word], int]):
    """Batches of words, each an epoch. It waits with the batch `wait` until `ready`, and crashes after `crash`."""

    def __init__(
        self, batches: list[list[Word]], ready: Callable[[], bool], wait: int = 0, crash: int | None = None
    ) -> None:
        self.batches, self.ready, self.wait, self.crash = batches, ready, wait, crash

    def list_parts(self) -> list[str]:
        return ["only"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> Spoken:
        del step_id, for_part
        return Spoken(self, resume_state or 0)


class Spoken(StatefulSourcePartition[list[Word], int]):
    """The words from one batch on."""

    def __init__(self, words: Words, at: int) -> None:
        self._words, self._at, self._given = words, at, 0

    def next_batch(self) -> list[list[Word]]:
        words = self._words
        if self._given >= words.wait and not words.ready():
            return []  # an epoch without a word
        if self._given == words.crash:
            raise AbortExecution
        if self._at == len(words.batches):
            raise StopIteration
        self._given += 1
        self._at += 1
        return [words.batches[self._at - 1]]

    def snapshot(self) -> int:
        return self._at


def live(
    directory: Path, batches: list[list[Word]], crash: int | None = None, *, wait: int = 0, apart: bool = True
) -> list[Word]:
    """One life of a flow that counts words, from what the store says; what it counted.

    With `apart` the parts are all set apart before the batch `wait` of this life.
    """
    counted: list[tuple[str, str]] = []

    def count(state: int | None, word: str) -> tuple[int | None, str]:
        number = (state or 0) + 1
        return None if word == "go" else number, f"{word} {number}"

    recovery = open_recovery(directory, PARTS)
    tidy(directory)
    with ExitStack() as stack:
        settling = stack.enter_context(Settling(directory, resume_epoch(directory) or 1)) if apart else None
        source = Words(batches, lambda: settling is None or settling.over, wait, crash)
        flow = Dataflow("counting")
        words = op.flat_map("words", op.input("in", flow, source), lambda batch: batch)
        op.output("out", op.stateful_map("count", words, count), TestingSink(counted))
        with suppress(BytewaxRuntimeError, AbortExecution):
            run_flow(flow, epoch=timedelta(0), recovery=recovery)
    return counted


def script(seed: int, batches: int = 60, keys: int = 40) -> list[list[Word]]:
    """Words of some keys, a few of which speak often; now and then one goes."""
    rng = random.Random(seed)

    def word() -> Word:
        key = int(keys * rng.random() ** 3)
        return f"key {key:05d}", "go" if rng.random() < 0.1 else "stay"

    return [[word() for _ in range(rng.randrange(4))] for _ in range(batches)]


def parts(directory: Path) -> list[Path]:
    return sorted(directory.glob("part-*.sqlite3"))


def held(directory: Path) -> Counter[tuple[str, str, bytes]]:
    """What a resume would find for each key."""
    start = resume_epoch(directory)
    found: Counter[tuple[str, str, bytes]] = Counter()
    for part in parts(directory):
        with closing(sqlite3.connect(part)) as database:
            rows = database.execute(
                "SELECT step_id, state_key, MAX(snap_epoch), ser_change FROM snaps WHERE snap_epoch < ? "
                "GROUP BY step_id, state_key HAVING ser_change IS NOT NULL",
                (start,),
            )
            found.update([(step, key, state) for step, key, _, state in rows])
    return found


def apart(directory: Path) -> list[bool]:
    """Of each part, whether it is set apart."""
    found = []
    for part in parts(directory):
        with closing(sqlite3.connect(part)) as database:
            found.append(is_apart(database))
    return found


@pytest.mark.parametrize("seed", range(8))
def test_lives_on_a_store_set_apart_are_those_on_one_that_is_not(tmp_path: Path, seed: int) -> None:
    """Crashes at any batch, and what is counted after each; the store holds the very same for each key."""
    batches, rng = script(seed), random.Random(seed)
    crashes = [rng.randrange(6, 16) for _ in range(4)]
    said = {}
    for name, setting in (("apart", True), ("whole", False)):
        folder = tmp_path / name
        open_recovery(folder, PARTS)
        said[name] = []
        for crash in (*crashes, None):
            said[name].append(live(folder, batches, crash, wait=seed % 6, apart=setting))
            tidy(folder)
            said[name].append(sorted(held(folder)))
    assert said["apart"] == said["whole"]


def test_the_engines_table_holds_only_the_last_epochs(tmp_path: Path) -> None:
    """However many keys there are."""
    many = [[(f"key {number:05d}", "stay")] for number in range(300)]
    open_recovery(tmp_path, PARTS)
    live(tmp_path, many, crash=250)
    assert apart(tmp_path) == [True] * PARTS
    for part in parts(tmp_path):
        assert not unused(part)
        with closing(sqlite3.connect(part)) as database:
            assert database.execute("SELECT COUNT(*) FROM snaps").fetchone()[0] < 10
            assert database.execute("SELECT COUNT(*) FROM settled").fetchone()[0] > 50
    assert live(tmp_path, many)[-1] == ("key 00299", "stay 1")


def test_more_keys_than_the_engine_reads_at_a_time_are_all_read_before_they_are_set_apart(tmp_path: Path) -> None:
    """Parts are set apart while the run goes on, and nobody who was read late is forgotten."""
    everybody = [(f"key {number:05d}", "stay") for number in range(9_000)]
    open_recovery(tmp_path, PARTS)
    live(tmp_path, [everybody], apart=False)
    assert apart(tmp_path) == [False] * PARTS
    again = live(tmp_path, [everybody, everybody])
    assert apart(tmp_path) == [True] * PARTS
    assert Counter(again) == Counter([(key, "stay 2") for key, _ in everybody])
    assert len(held(tmp_path)) < 100
    tidy(tmp_path)
    assert len(held(tmp_path)) == len(everybody) + 1


def test_keys_that_go_are_kept_nowhere(tmp_path: Path) -> None:
    """Before the parts were set apart, and after; the engine by itself would look through them for ever."""
    words = [[("early", "stay")], [("early", "go")], [("late", "stay")], [("late", "go")], *([[]] * 6)]
    open_recovery(tmp_path, PARTS)
    live(tmp_path, words, wait=2)
    for part in parts(tmp_path):
        with closing(sqlite3.connect(part)) as database:
            for table in ("snaps", "settled"):
                found = database.execute(f"SELECT state_key FROM {table}").fetchall()  # noqa: S608 - names of ours
                assert ("early",) not in found
                assert ("late",) not in found


def test_a_part_the_engine_has_not_read_stays_as_it_is(tmp_path: Path) -> None:
    """Until the epoch it began with is behind everyone."""
    open_recovery(tmp_path, PARTS)
    live(tmp_path, script(1), crash=20, apart=False)
    (reached,) = {_noted(part) for part in parts(tmp_path)}
    assert [set_apart(part, reached) for part in parts(tmp_path)] == [False] * PARTS
    assert [set_apart(part, reached - 1) for part in parts(tmp_path)] == [True] * PARTS


def test_a_part_that_is_busy_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine writes to it just then; nothing is changed, and the next look does it."""
    monkeypatch.setattr("dataflows.recovery_settled.BUSY_SECONDS", 0.01)
    open_recovery(tmp_path, 1)
    live(tmp_path, script(2), crash=20, apart=False)
    looks: list[list[bool]] = []
    with closing(sqlite3.connect(parts(tmp_path)[0], isolation_level=None)) as busy:
        busy.execute("BEGIN IMMEDIATE")

        def alive(seconds: float) -> bool:
            if seconds:
                looks.append(apart(tmp_path))
                if len(looks) == 2:
                    busy.execute("ROLLBACK")
            return len(looks) < 9

        settle(tmp_path, 1, alive)
    assert looks == [[False], [False]]
    assert apart(tmp_path) == [True]


def test_a_start_waits_for_what_a_killed_run_has_left_over(tmp_path: Path) -> None:
    """A process that sets parts apart must not go on while the next run reads them; it ends with its parent."""
    open_recovery(tmp_path, 1)
    begin = "from dataflows.recovery_settled import Settling; from pathlib import Path; import sys, time; "
    hold = "made = Settling(Path(sys.argv[1]), 1).__enter__(); print(made._child.pid, flush=True); time.sleep(600)"
    with Popen([sys.executable, "-c", begin + hold, str(tmp_path)], stdout=PIPE, text=True) as run:
        assert run.stdout is not None
        child = int(run.stdout.readline())
        os.kill(child, signal.SIGSTOP)
        run.kill()
        run.wait()
        waiting = threading.Thread(target=wait_for_leftover, args=(tmp_path,))
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        os.kill(child, signal.SIGCONT)
        waiting.join(30)
        assert not waiting.is_alive()


def _noted(part: Path) -> int:
    with closing(sqlite3.connect(part)) as database:
        found: int = database.execute("SELECT MAX(commit_epoch) FROM commits").fetchone()[0]
    return found
