"""A worker's thread sleeps only while none of its partitions has anything to do, and by the monotonic clock."""

from __future__ import annotations

import threading

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.testing import TestingSink, cluster_main

from dataflows.runtime.clock import monotonic_ms
from dataflows.sources.kafka.rest import BRISK, REST_MS, Rest


class Clock:
    """A monotonic clock that moves by sleeping, and otherwise by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.slept = 1_000, 0
        monkeypatch.setattr("dataflows.sources.kafka.rest.monotonic_ms", lambda: self.now)
        monkeypatch.setattr("dataflows.sources.kafka.rest.sleep", self._sleep)

    def _sleep(self, seconds: float) -> None:
        assert 0 < seconds * 1_000 <= REST_MS
        self.slept += round(seconds * 1_000)
        self.now += round(seconds * 1_000)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_partition_that_found_nothing_is_due_when_its_time_has_come(clock: Clock) -> None:
    """And sleeps up to then, a little at a time; one that nobody has heard of is due."""
    rest = Rest()
    assert rest.is_due(0)
    rest.until(0, clock.now + 20, worked=False)
    turns = 0
    while not rest.is_due(0):
        turns += 1
    assert (clock.slept, clock.now, turns) == (20, 1_020, 10)


def test_a_busy_partition_is_not_held_up_by_one_that_waits(clock: Clock) -> None:
    """They share the thread."""
    rest = Rest()
    rest.until(0, 0, worked=True)
    rest.until(1, clock.now + 20, worked=False)
    for _ in range(10 * BRISK):
        assert rest.is_due(0)
        assert not rest.is_due(1)
    assert clock.slept == 0
    rest.leave(0)
    assert not any(rest.is_due(1) for _ in range(BRISK + 1))
    assert clock.slept == REST_MS


def test_after_a_batch_the_steps_behind_it_have_the_thread_to_themselves(clock: Clock) -> None:
    """For some turns, in which they work it off."""
    rest = Rest()
    rest.until(0, clock.now + 20, worked=True)
    assert [rest.is_due(0) for _ in range(BRISK)] == [False] * BRISK
    assert clock.slept == 0
    assert not rest.is_due(0)
    assert clock.slept == REST_MS


def test_partitions_that_wait_together_sleep_once_a_turn(clock: Clock) -> None:
    """However many a thread has."""
    rest = Rest()
    for partition in range(8):
        rest.until(partition, clock.now + 1_000, worked=False)
    for partition in range(8):
        assert not rest.is_due(partition)
    assert clock.slept == REST_MS


def test_threads_do_not_wait_for_each_other(clock: Clock) -> None:
    """What one has to do is nothing to another."""
    rest = Rest()
    rest.until(0, clock.now + 1_000, worked=False)
    found: list[bool] = []
    other = threading.Thread(target=lambda: found.append(rest.is_due(0)))
    other.start()
    other.join()
    assert found == [True]


class Idle(StatefulSourcePartition[int, None]):
    """A partition that has nothing to do for an hour, and ends when it was polled 20 times."""

    def __init__(self, rest: Rest, looks: list[str], name: str) -> None:
        self._rest, self._looks, self._name, self._polls = rest, looks, name, 0

    def next_batch(self) -> list[int]:
        self._polls += 1
        if self._polls > 20:
            raise StopIteration
        if self._rest.is_due(int(self._name)):
            self._looks.append(self._name)
            self._rest.until(int(self._name), monotonic_ms() + 3_600_000, worked=False)
        return []

    def snapshot(self) -> None:
        return None


class Nothing(FixedPartitionedSource[int, None]):
    """Four such partitions."""

    def __init__(self) -> None:
        self.looks: list[str] = []
        self._rest = Rest()

    def list_parts(self) -> list[str]:
        return ["0", "1", "2", "3"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> Idle:
        del step_id, resume_state
        return Idle(self._rest, self.looks, for_part)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_partition_waits_on_a_thread_of_the_engine_as_well(workers: int) -> None:
    """What it has said of itself is known at the next poll."""
    flow, source = Dataflow("test"), Nothing()
    op.output("out", op.input("in", flow, source), TestingSink([]))
    cluster_main(flow, [], 0, worker_count_per_proc=workers)
    assert sorted(source.looks) == source.list_parts()
