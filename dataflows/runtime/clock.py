"""The clocks, and the only place that reads them: for stamps, metrics and polling, never for what an event means.

The wall clock says when something was. It may be set back or forward at any moment, so nothing waits by it: whatever
lasts is measured by the monotonic clock.
"""

from __future__ import annotations

import time


def now_ms() -> int:
    """Return the wall clock's time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def monotonic_ms() -> int:
    """Return milliseconds that only ever rise, from a start that means nothing: for durations and deadlines."""
    return time.monotonic_ns() // 1_000_000


class Steps:
    """Notices that the wall clock was set back."""

    def __init__(self) -> None:
        self._ahead = now_ms() - monotonic_ms()

    def back(self, least: int) -> int:
        """Return by how much (ms) the clock was set back since the last call, if by `least` or more; otherwise 0."""
        ahead = now_ms() - monotonic_ms()
        by = self._ahead - ahead
        if by >= least or by < 0:
            self._ahead = ahead
        return by if by >= least else 0
