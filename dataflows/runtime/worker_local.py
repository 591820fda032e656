"""One object for each worker of this process.

The engine passes the worker's index to the parts of a stateless sink only. The builder of a stateful step and the parts
of a partitioned source get no identity. What they have in common is the thread: the engine runs each worker on one
thread for the whole run, so the thread's identifier stands for the worker.

`threading.local` would not do. The threads of a run with several workers or processes are not Python's own, and the
interpreter drops the local values of such a thread whenever a call from the engine returns.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import Generic, TypeVar

X = TypeVar("X")


class WorkerLocal(Generic[X]):
    """One object for each worker, made by `make` when the worker first asks; safe to share between workers."""

    def __init__(self, make: Callable[[], X]) -> None:
        self._make = make
        self._objects: dict[int, X] = {}

    def get(self) -> X:
        """Return the current worker's object."""
        worker = get_ident()
        found = self._objects.get(worker)
        if found is None:
            found = self._objects[worker] = self._make()
        return found

    def all(self) -> list[X]:
        """Return the objects of all workers so far."""
        return list(self._objects.values())
