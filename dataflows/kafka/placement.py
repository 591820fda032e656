"""Check that records are keyed by the user's id and are in the partition of that key.

A user's chat and sanctions are read side by side only if both topics are partitioned in the same way. A producer with
another partitioner or another key puts a user's records into another partition: the user's events are then read out of
order, and many of them too late. Nothing fails, so misplaced records are counted and a warning is logged.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

from dataflows.kafka.partitioner import partition_among
from dataflows.runtime.telemetry import Telemetry
from schemas.records.base import Raw
from schemas.records.events import Event

log = logging.getLogger(__name__)

REMEMBERED = 65_536
"""Number of users whose partition is cached, because computing it costs several times as much."""
REMEDY = (
    "A user's chat and sanctions are then not read in order, and many of them end as late: have producers key records "
    "by user id and partition them by murmur2, the default of JVM clients (librdkafka: partitioner=murmur2_random)."
)


class Placement:
    """Counts misplaced records by topic, and warns once for each topic and kind.

    `partitions` returns the number of partitions, or None while unknown.
    """

    def __init__(self, partitions: Callable[[], int | None], telemetry: Telemetry) -> None:
        self._partitions, self._telemetry = partitions, telemetry
        self._told: set[tuple[str, bool]] = set()
        self._of: int | None = None
        self._expected: dict[str, int] = {}

    def look(self, placed: list[tuple[Raw, Event]]) -> None:
        """Check the placement of a batch's records against their events."""
        if (partitions := self._partitions()) != self._of:
            self._of, self._expected = partitions, {}
        expected, misplaced = self._expected, Counter[str]()
        for record, event in placed:
            key, at = record.key, record.at
            foreign = key != event.user_id.encode("utf-8", "surrogatepass")
            if not foreign:
                partition = expected.get(event.user_id)
                if partition is None:
                    partition = self._expect(event.user_id, at.partition)
                if partition == at.partition:
                    continue
            misplaced[at.topic] += 1
            if (at.topic, foreign) not in self._told:
                self._told.add((at.topic, foreign))
                self._warn(at.topic, foreign=foreign)
        if misplaced:
            self._telemetry.add("misplaced", misplaced)

    def _expect(self, user_id: str, found: int) -> int:
        """Return the partition of a user and cache it; return `found` while the number of partitions is unknown."""
        if self._of is None:
            return found
        if len(self._expected) >= REMEMBERED:
            self._expected.clear()
        partition = self._expected[user_id] = partition_among(user_id, self._of)
        return partition

    @staticmethod
    def _warn(topic: str, *, foreign: bool) -> None:
        what = "with another key than their user's id" if foreign else "in another partition than their key asks for"
        log.warning("Topic %s has records %s. %s", topic, what, REMEDY)
