"""Idle wait: a worker sleeps briefly while none of its source partitions has anything to do.

The engine accepts a time for the next call, but compares it with the wall clock: if the clock were set back by an hour,
the engine would not call for an hour. So the reported time is always in the past, and the wait happens here, by the
monotonic clock.
"""

from __future__ import annotations

from time import sleep

from dataflows.runtime.clock import monotonic_ms
from dataflows.runtime.worker_local import WorkerLocal

REST_MS = 2
"""Sleep of a worker (ms) at a time, and so its maximum delay for messages from other workers."""
BRISK = 50
"""Turns without sleep after a batch, in which the steps after the source process it."""


class _Idle:
    """The idle state of one worker's source partitions."""

    def __init__(self) -> None:
        self.due: dict[int, int] = {}
        self.brisk = 0


class Rest:
    """Due times of source partitions, and the sleep of their worker until one is due; safe to share between workers."""

    def __init__(self) -> None:
        self._idle = WorkerLocal(_Idle)

    def until(self, partition: int, due: int, *, worked: bool) -> None:
        """Set when (monotonic ms) a partition looks again, 0 for at once, and whether it returned a batch now."""
        mine = self._idle.get()
        mine.due[partition] = due
        if worked:
            mine.brisk = BRISK

    def is_due(self, partition: int) -> bool:
        """Return whether a partition must look again; if no partition of the worker is due, sleep briefly first.

        The engine polls all partitions of a worker in turn, and the first of them sleeps for all. An unknown partition
        is due.
        """
        mine, now = self._idle.get(), monotonic_ms()
        if mine.due.get(partition, 0) <= now:
            return True
        if partition == next(iter(mine.due)):
            if mine.brisk:
                mine.brisk -= 1
            elif (left := min(mine.due.values()) - now) > 0:
                sleep(min(left, REST_MS) / 1_000)
        return False

    def leave(self, partition: int) -> None:
        """Remove a partition that has ended."""
        self._idle.get().due.pop(partition, None)
