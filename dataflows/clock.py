"""The wall clock, and the only place that reads it: for stamps, metrics and polling, never for what an event means."""

from __future__ import annotations

import time


def now_ms() -> int:
    """The wall clock's time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
