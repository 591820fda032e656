"""Objects that belong to a worker: every part of a flow that the worker runs finds the same one."""

from __future__ import annotations

import threading
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import TestingSource, cluster_main, run_main

from dataflows.runtime.worker_local import WorkerLocal


class Notes:
    """The names of what found it."""

    def __init__(self) -> None:
        self.found: list[str] = []


class Step(StatefulBatchLogic[int, int, None]):
    def __init__(self, notes: WorkerLocal[Notes]) -> None:
        self._notes, self._mine = notes, notes.get()
        self._mine.found.append("builder")

    def on_batch(self, values: list[int]) -> tuple[list[int], bool]:
        assert self._notes.get() is self._mine
        return values, False

    def snapshot(self) -> None:
        return None


class Part(StatelessSinkPartition[Any]):
    def __init__(self, notes: WorkerLocal[Notes]) -> None:
        self._notes, self._mine = notes, notes.get()
        self._mine.found.append("sink")

    def write_batch(self, items: list[Any]) -> None:
        del items
        assert self._notes.get() is self._mine


class Parts(DynamicSink[Any]):
    def __init__(self, notes: WorkerLocal[Notes]) -> None:
        self._notes = notes

    def build(self, step_id: str, worker_index: int, worker_count: int) -> Part:
        del step_id, worker_index, worker_count
        return Part(self._notes)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_all_parts_of_a_worker_find_one_object_and_other_workers_another(workers: int) -> None:
    """On the main thread (0), and on the engine's own threads, where `threading.local` would forget it."""
    notes = WorkerLocal(Notes)
    flow = Dataflow("test")
    source = op.input("in", flow, TestingSource([(str(n % 12), n) for n in range(120)], batch_size=5))
    op.output("out", op.stateful_batch("step", source, lambda _: Step(notes)), Parts(notes))
    if workers:
        cluster_main(flow, [], 0, worker_count_per_proc=workers)
    else:
        run_main(flow)
    objects = notes.all()
    assert len(objects) == max(workers, 1)
    assert [one.found.count("sink") for one in objects] == [1] * len(objects)
    assert sum(one.found.count("builder") for one in objects) == 12


def test_another_thread_gets_an_object_of_its_own() -> None:
    """And it is made once only."""
    local, found = WorkerLocal(Notes), list[Notes]()
    other = threading.Thread(target=lambda: found.extend([local.get(), local.get()]))
    other.start()
    other.join()
    assert found[0] is found[1]
    assert local.all() == [found[0]]
