"""A sink that keeps what it is given: for tests, and for anything that orders its output at the end."""

from __future__ import annotations

from threading import Lock
from typing import Generic, TypeVar

from bytewax.outputs import DynamicSink, StatelessSinkPartition

X = TypeVar("X")


class _Part(StatelessSinkPartition[X]):
    def __init__(self, sink: MemorySink[X]) -> None:
        self._sink = sink

    def write_batch(self, items: list[X]) -> None:
        self._sink.keep(items)


class MemorySink(DynamicSink[X], Generic[X]):
    """Keeps items of all workers of this process in `items`, in the order they were written."""

    def __init__(self) -> None:
        self.items: list[X] = []
        self._lock = Lock()

    def build(self, _step_id: str, _worker_index: int, _worker_count: int) -> StatelessSinkPartition[X]:
        """A part for one worker."""
        return _Part(self)

    def keep(self, items: list[X]) -> None:
        """Take in a batch."""
        with self._lock:
            self.items.extend(items)


class NullSink(MemorySink[X]):
    """Keeps nothing: for a stream whose counts are all that is wanted."""

    def keep(self, items: list[X]) -> None:
        """Let a batch go."""
