"""Rest: a worker's thread sleeps a little while none of its source partitions has anything to do.

The engine could be told when to come back, but it compares that moment with the wall clock: after the clock was set
back by an hour it would not come back for an hour. So it is told to come back at once, and waiting is done here, by
the monotonic clock.
"""

from __future__ import annotations

import threading
from time import sleep

from dataflows.runtime.clock import monotonic_ms

REST_MS = 2
"""How long a thread sleeps at a time; so long, at most, it is late for what other threads send it."""
BRISK = 50
"""Turns without sleep after a batch, in which the steps behind the source work it off."""


class _Thread(threading.local):
    """The idle state of one thread's source partitions."""

    def __init__(self) -> None:
        self.due: dict[int, int] = {}
        self.brisk = 0


class Rest:
    """Says when partitions are due, and lets their thread sleep until one is. Any number of threads may share it."""

    def __init__(self) -> None:
        self._thread = _Thread()

    def until(self, partition: int, due: int, *, worked: bool) -> None:
        """Note when (monotonic ms) a partition is to look again, 0 for at once, and whether it gave a batch now."""
        mine = self._thread
        mine.due[partition] = due
        if worked:
            mine.brisk = BRISK

    def is_due(self, partition: int) -> bool:
        """Return whether a partition is to look again; sleep a little before the answer no, if none of the thread is.

        The engine asks all partitions of a thread in turn, and the first of them sleeps for all. A partition that
        nobody has heard of is due.
        """
        mine, now = self._thread, monotonic_ms()
        if mine.due.get(partition, 0) <= now:
            return True
        if partition == next(iter(mine.due)):
            if mine.brisk:
                mine.brisk -= 1
            elif (left := min(mine.due.values()) - now) > 0:
                sleep(min(left, REST_MS) / 1_000)
        return False

    def leave(self, partition: int) -> None:
        """Forget a partition that has ended."""
        self._thread.due.pop(partition, None)
