"""The wall clock and the monotonic clock of the process.

Clock readings serve stamps, metrics and polling, never the meaning of an event. The wall clock gives dates. It may be
set back or forward at any moment, so durations and deadlines use the monotonic clock.
"""

from __future__ import annotations

import time


def now_ms() -> int:
    """Return the wall clock's time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def monotonic_ms() -> int:
    """Return the monotonic clock in milliseconds from an arbitrary zero, for durations and deadlines."""
    return time.monotonic_ns() // 1_000_000


class Steps:
    """Detector of backward steps of the wall clock."""

    def __init__(self) -> None:
        self._ahead = now_ms() - monotonic_ms()

    def back(self, least: int) -> int:
        """Return by how much (ms) the clock was set back, if by `least` or more; otherwise 0.

        Smaller backward steps add up over calls until they reach `least`, or until the clock is set forward.
        """
        ahead = now_ms() - monotonic_ms()
        by = self._ahead - ahead
        if by >= least or by < 0:
            self._ahead = ahead
        return by if by >= least else 0
