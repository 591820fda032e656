"""Restart policy of a failed cluster: exponential backoff and a limit on restarts."""

from __future__ import annotations

from collections import deque


class Restarts:
    """Counter of restarts that returns the wait before the next one.

    The wait starts at `wait` seconds and doubles with each restart in the last `within` seconds, up to `longest`
    seconds. At most `most` restarts are allowed within `within` seconds.
    """

    def __init__(self, *, most: int, within: float, wait: float, longest: float) -> None:
        self._most, self._within, self._wait, self._longest = most, within, wait, longest
        self._times: deque[float] = deque()
        self.total = 0

    def wait_before_next(self, now: float) -> float | None:
        """Return the seconds to wait before a restart requested at `now` (s); None if the limit is reached."""
        while self._times and now - self._times[0] >= self._within:
            self._times.popleft()
        if len(self._times) >= self._most:
            return None
        seconds = min(self._wait * 2.0 ** len(self._times), self._longest)
        self._times.append(now)
        self.total += 1
        return seconds
