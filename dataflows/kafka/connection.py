"""Connection state of this process, to which all clients report, so that an outage is logged only once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Lock

from confluent_kafka import KafkaError

log = logging.getLogger(__name__)

SETTLED_SECONDS = 2.0
"""Time without an error in any client after which an answer ends the outage."""
ECHO_SECONDS = 15.0
"""Time after an outage in which errors are ignored as echoes: each client retries separately, after up to 10 s."""


class Connection:
    """The connection state shared by all clients of this process; thread-safe.

    `on_change` is called with True when an outage begins, and with False when it ends.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._since: float | None = None
        self._erred = 0.0
        self._over: float | None = None
        self.on_change: Callable[[bool], None] = lambda _away: None

    def on_error(self, error: KafkaError) -> None:
        """Handle an error after which a client retries; this is its `error_cb`."""
        over = self._over
        if over is None or self._clock() - over >= ECHO_SECONDS:
            self.lost(error.name())

    def lost(self, why: str) -> None:
        """Record that Kafka did not answer; only the first report of an outage is logged."""
        with self._lock:
            self._erred = self._clock()
            if self._since is not None:
                return
            self._since = self._erred
        log.warning("Kafka is not answering (%s): trying again until it does.", why)
        self.on_change(True)

    def heard(self) -> None:
        """Record that Kafka answered a client."""
        if self._since is not None and self._clock() - self._erred >= SETTLED_SECONDS:  # rarely true
            self._end()

    def _end(self) -> None:
        with self._lock:
            since, self._since = self._since, None
        if since is None:  # another thread has ended it
            return
        self._over = self._clock()
        lasted = self._over - since
        log.warning("Kafka answers again, after %.0f s.", lasted)
        self.on_change(False)

    def reset(self, on_change: Callable[[bool], None]) -> None:
        """Reset the state at the start of a run."""
        with self._lock:
            self._since, self._over, self.on_change = None, None, on_change


CONNECTION = Connection()
"""The connection state of this process."""
