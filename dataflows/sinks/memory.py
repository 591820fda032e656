"""A sink that stores its items in memory: for tests, and for output that is ordered at the end."""

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
    """Sink that stores the items of all workers of this process in `items`, in the order of writing."""

    def __init__(self) -> None:
        self.items: list[X] = []
        self._lock = Lock()

    def build(self, _step_id: str, _worker_index: int, _worker_count: int) -> StatelessSinkPartition[X]:
        """Return the part of one worker."""
        return _Part(self)

    def keep(self, items: list[X]) -> None:
        """Store a batch."""
        with self._lock:
            self.items.extend(items)


class NullSink(MemorySink[X]):
    """Sink that stores nothing: for a stream of which only the counts are needed."""

    def keep(self, items: list[X]) -> None:
        """Discard a batch."""
