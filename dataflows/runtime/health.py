"""Liveness and readiness of this process, for orchestrators and load balancers.

A process is *alive* while its flow moves; an orchestrator ends a process that is not. A process is *ready* while its
flow is built, Kafka answers, and snapshots are being written. Durations use a monotonic clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

SNAPSHOTS = 3
"""Epochs within which a snapshot has to be written."""
SNAPSHOT_SECONDS = 10.0
"""Least time (s) within which a snapshot has to be written, however short the epochs are."""


class Health:
    """Health state of this process; thread-safe.

    A flow that has not moved for `stuck_seconds` is stuck. `epoch_seconds` is None if no snapshots are taken.
    """

    def __init__(
        self,
        *,
        stuck_seconds: float,
        epoch_seconds: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stuck_seconds, self._clock = stuck_seconds, clock
        self._snapshot_seconds = None if epoch_seconds is None else max(SNAPSHOTS * epoch_seconds, SNAPSHOT_SECONDS)
        self._lock = Lock()
        self._parts = 0
        self._sinks = False
        self._turned: float | None = None
        self._snapped: float | None = None
        self._away: str | None = "it was not asked yet"

    def built(self) -> None:
        """Note that a sink was built in this process."""
        self._sinks = True

    def began(self) -> None:
        """Note that a source partition was built in this process."""
        with self._lock:
            self._parts += 1

    def turned(self) -> None:
        """Note that the engine polled a source partition."""
        self._turned = self._clock()
        if self._snapped is None:
            self._snapped = self._turned

    def ended(self) -> None:
        """Note that a source partition reached its end."""
        with self._lock:
            self._parts -= 1

    def snapped(self) -> None:
        """Note that a snapshot was written."""
        self._snapped = self._clock()

    def answered(self, away: str | None) -> None:
        """Note the result of a request to Kafka: None if it answered, otherwise the reason why not (`away`)."""
        self._away = away

    def dead(self) -> str | None:
        """Return the reason to end this process; None while its flow moves, is being built, or has ended."""
        if self._turned is None or not self._parts:
            return None
        still = self._clock() - self._turned
        return None if still < self._stuck_seconds else f"the flow has not moved for {still:.0f} s"

    def unready(self) -> str | None:
        """Return the reason why this process is not ready; None while it is."""
        if not self._sinks or (self._parts and self._turned is None):
            return "the flow is being built"
        if (dead := self.dead()) is not None:
            return dead
        if self._away is not None:
            return f"Kafka does not answer: {self._away}"
        if self._snapshot_seconds is not None and self._parts and self._snapped is not None:
            age = self._clock() - self._snapped
            if age > self._snapshot_seconds:
                return f"the last snapshot is {age:.0f} s old"
        return None
