"""Prints what the end of an epoch costs the engine, by how many users its store knows, and how long it reads them.

    python -m tests.bench.epochs --users 100000 1000000

A store is filled with as many states as there are users, of the size of a user's. A flow then goes on from it, touching
some of them in each epoch: as the engine does by itself, and with what is settled set apart.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import bytewax.operators as op
import orjson
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import StatefulBatchLogic

from dataflows.engine import open_recovery, run_flow
from dataflows.recovery_parts import resume_epoch, tidy
from dataflows.recovery_settled import Settling
from dataflows.settings import RecoverySettings
from dataflows.sinks.memory import NullSink

OUT = Path(__file__).parents[2] / "out/bench/epochs.json"
STATE = bytes(range(250)) * 3
"""As many bytes as a user's state has in the middle."""
FILL = 20_000
"""Users of an epoch while a store is filled."""
EPOCHS = 20


class Cost(NamedTuple):
    """Seconds until the first batch was asked for, and CPU milliseconds of an epoch."""

    resume: float
    epoch: float


class State(StatefulBatchLogic[None, None, bytes]):
    """A state that is written whenever it is touched."""

    def on_batch(self, values: list[None]) -> tuple[list[None], bool]:
        del values
        return [], False

    def snapshot(self) -> bytes:
        return STATE


class Batches(FixedPartitionedSource[list[str], int]):
    """Batches of users, each an epoch of its own."""

    def __init__(self, batches: Callable[[], Iterator[list[str]]]) -> None:
        self._batches = batches

    def list_parts(self) -> list[str]:
        return ["only"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> Batch:
        del step_id, for_part, resume_state
        return Batch(self._batches())


class Batch(StatefulSourcePartition[list[str], int]):
    """The batches, one after the other."""

    def __init__(self, batches: Iterator[list[str]]) -> None:
        self._batches = batches

    def next_batch(self) -> list[list[str]]:
        return [next(self._batches)]  # its StopIteration is the engine's sign too

    def snapshot(self) -> int:
        return 0


def run(directory: Path, batches: Callable[[], Iterator[list[str]]]) -> None:
    """Run a flow that keeps a state for each user, from what the store holds."""
    flow = Dataflow("epochs")
    users: Any = op.flat_map("users", op.input("in", flow, Batches(batches)), lambda batch: batch)
    keyed = op.key_on("key", users, lambda user: user)
    kept: Any = op.stateful_batch("kept", keyed, lambda _: State())
    null: Any = NullSink()
    op.output("out", kept, null)
    run_flow(flow, epoch=timedelta(0), recovery=open_recovery(directory, RecoverySettings().partitions))


def measured(directory: Path, users: int, touched: int, *, apart: bool) -> Cost:
    """Go on from a store, and touch so many users in each epoch."""
    begun, figures = time.monotonic(), []
    with ExitStack() as stack:
        tidy(directory)
        settling = Settling(directory, resume_epoch(directory) or 1)
        if apart:
            stack.enter_context(settling)

        def batches() -> Iterator[list[str]]:
            yield []
            figures.append(time.monotonic() - begun)
            while apart and not settling.over:
                yield []
            for number in range(EPOCHS + 1):
                if number == 1:
                    figures.append(time.process_time())
                yield [f"user-{(number * touched + one) * 7_919 % users:08d}" for one in range(touched)]
            figures.append(time.process_time())

        run(directory, batches)
    resume, first, last = figures
    return Cost(resume, (last - first) / EPOCHS * 1_000)


def main() -> None:
    """Measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--touched", type=int, default=2_000, help="users of an epoch")
    arguments = parser.parse_args()
    found: dict[str, Any] = {}
    print("| users in the store | set apart | CPU ms an epoch | s to resume |\n|---|---|---|---|", flush=True)
    for users in arguments.users:
        with tempfile.TemporaryDirectory(prefix="forewarn-bench-") as folder:
            filled = Path(folder) / "filled"
            names = [f"user-{number:08d}" for number in range(users)]
            run(filled, lambda names=names: (names[at : at + FILL] for at in range(0, len(names), FILL)))  # type: ignore[misc]
            for apart in (False, True):
                store = shutil.copytree(filled, Path(folder) / f"apart-{apart}")
                cost = measured(store, users, arguments.touched, apart=apart)
                print(f"| {users:,} | {'yes' if apart else 'no'} | {cost.epoch:.0f} | {cost.resume:.1f} |", flush=True)
                found[f"{users} {'apart' if apart else 'whole'}"] = cost._asdict()
                shutil.rmtree(store)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    main()
