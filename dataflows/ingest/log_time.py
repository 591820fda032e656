"""Arrival times of a log's rows, as confirmed by several users.

A log is read in the order of arrival, so the rows after a row are never much older. If a row is dated further ahead
than the allowed skew, and most of the users after it do not confirm its time, its clock is wrong. Such a row does not
affect the arrival times of later rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from detectors.base.log_clock import LogClock
from schemas.records.events import Event

T = TypeVar("T")

WITNESSES = 5
"""Maximum number of other users checked after a row that jumps ahead; half of them must have reached its time."""

LOOKAHEAD = 20_000
"""Maximum number of rows read ahead to find these users."""


class LogTime:
    """Assigns each event of a log its arrival time, strictly increasing, or None if its clock is wrong."""

    def __init__(self, skew_ms: int) -> None:
        self._skew = skew_ms
        self._last = -1
        self._shown = -1
        self._two = LogClock()

    def stamped(self, events: Iterable[tuple[Event, T]]) -> Iterator[tuple[Event, T, int | None]]:
        """Yield the events with their arrival times (ms); some later events are read ahead."""
        source = iter(events)
        ahead: deque[tuple[Event, T]] = deque()
        user, witnesses, fresh = "", list[int](), 0
        while True:
            if not ahead and (following := next(source, None)) is not None:
                ahead.append(following)
            if not ahead:
                return
            event, rest = ahead.popleft()
            fresh -= 1
            if event.event_time > self._shown + self._skew:
                # Consecutive rows of one user have the same witnesses, which are searched for only once.
                if event.user_id != user or fresh <= 0:
                    user = event.user_id
                    witnesses, fresh = _witnesses(user, ahead, source)
                reached = _reached(witnesses, event.event_time)
                if event.event_time > reached + self._skew:
                    yield event, rest, None
                    continue
                self._shown = max(self._shown, reached)
            self._two.advance(event.user_id, event.event_time)
            self._shown = max(self._shown, self._two.now)
            self._last = max(self._last + 1, event.event_time)
            yield event, rest, self._last


def _reached(witnesses: list[int], time: int) -> int:
    """Return `time`, limited to the time that half of the witnesses have reached, if there are any."""
    return min(time, sorted(witnesses)[len(witnesses) // 2]) if witnesses else time


def _witnesses(user: str, ahead: deque[tuple[Event, T]], source: Iterator[tuple[Event, T]]) -> tuple[list[int], int]:
    """Return the times of the next other users' first events, and the number of rows for which these stay the next."""
    times: dict[str, int] = {}
    first = 0
    for number in range(1, LOOKAHEAD + 1):
        if number > len(ahead):
            more = list(islice(source, 64))
            if not more:
                break
            ahead.extend(more)
        event = ahead[number - 1][0]
        if event.user_id != user and event.user_id not in times:
            first = first or number
            times[event.user_id] = event.event_time
            if len(times) == WITNESSES:
                break
    return list(times.values()), first or len(ahead)
