"""When a cluster that failed starts again: later each time, and not for ever."""

from __future__ import annotations

from collections import deque


class Restarts:
    """Counts restarts and says how long to wait before the next.

    The wait doubles from `wait` to `longest` seconds while failures follow each other; after `within` seconds without
    one it begins anew. More than `most` restarts within `within` seconds are not allowed.
    """

    def __init__(self, *, most: int, within: float, wait: float, longest: float) -> None:
        self._most, self._within, self._wait, self._longest = most, within, wait, longest
        self._times: deque[float] = deque()
        self.total = 0

    def wait_before_next(self, now: float) -> float | None:
        """Return the seconds to wait before a restart that is asked for at `now`; None if there may be none."""
        while self._times and now - self._times[0] >= self._within:
            self._times.popleft()
        if len(self._times) >= self._most:
            return None
        seconds = min(self._wait * 2.0 ** len(self._times), self._longest)
        self._times.append(now)
        self.total += 1
        return seconds
