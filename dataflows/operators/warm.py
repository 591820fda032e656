"""Warm: which users are at hand as objects; all others are kept as the bytes of their state.

A live user takes some 6 kB of objects, a dumped one a tenth of that, and most users are not heard of for hours. So
each worker keeps those live that it has thawed last, and freezes the one thawed first when there are too many. A
snapshot of a frozen user is there already, and whoever resumes a run thaws nobody before an event asks for them.
"""

from __future__ import annotations

from collections import deque
from threading import local
from typing import Protocol
from weakref import ref

LIVE = 30_000
"""Live users of a worker: some 200 MB of them."""


class Freezes(Protocol):
    """What a warm place is given to: something that can be brought down to bytes."""

    def freeze(self) -> None:
        """Keep nothing but bytes; nothing to do if that is so already."""
        ...


class Warm(local):
    """The users that a worker keeps live, in the order in which they were thawed; each worker thread has its own."""

    def __init__(self, live: int = LIVE) -> None:
        self._live = live
        self._places: deque[ref[Freezes]] = deque()  # whom the engine has dropped, nothing may hold

    def take_in(self, user: Freezes) -> None:
        """Keep a user live from now on, and freeze the one who has been so for longest if they are too many."""
        self._places.append(ref(user))
        if len(self._places) > self._live and (first := self._places.popleft()()) is not None:
            first.freeze()
