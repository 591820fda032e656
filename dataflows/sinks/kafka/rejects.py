"""Dead letters: a reject that its topic does not take whole goes there without its value, and the flow goes on.

The topic's limit may be too small for what an input brings, and may change while a run goes on. So nothing is asked in
advance: what the broker refuses as too large is sent once more record by record, and then without the value, with
headers that say how long it was and what its hash is. The record itself is still where it came from: topic, partition
and offset are in the reject.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from hashlib import sha256

from bytewax.outputs import DynamicSink, StatelessSinkPartition

from dataflows.config.settings import KafkaSettings
from dataflows.sinks.kafka.producer import CheckedProducer, MessageTooLarge, Outgoing
from schemas.records.rejects import Reject

log = logging.getLogger(__name__)

LEFT_OUT = "left-out-bytes"
"""Header of a dead letter without its value: how long the value was."""
LEFT_OUT_HASH = "left-out-sha256"
"""Header of the same: the value's SHA-256, in hexadecimal digits."""
KEY_BYTES = 1_024
"""A longer key is left out with the value."""


class RejectSink(DynamicSink[Reject]):
    """Writes rejects to the dead-letter topic, every worker through a producer of its own."""

    def __init__(self, kafka: KafkaSettings, topic: str, encode: Callable[[Reject], bytes]) -> None:
        self._kafka, self._topic, self._encode = kafka, topic, encode

    def build(self, step_id: str, worker_index: int, worker_count: int) -> RejectSinkPart:
        """A part for one worker."""
        del step_id, worker_index, worker_count
        return RejectSinkPart(lambda: CheckedProducer(self._kafka, self._topic), self._topic, self._encode)


class RejectSinkPart(StatelessSinkPartition[Reject]):
    """One worker's writer. A producer that was refused something is done with, so another takes its place."""

    def __init__(
        self, new_producer: Callable[[], CheckedProducer], topic: str, encode: Callable[[Reject], bytes]
    ) -> None:
        self._new_producer, self._topic, self._encode = new_producer, topic, encode
        self._producer = new_producer()

    def write_batch(self, items: list[Reject]) -> None:
        """Return when the broker has every reject.

        Some may be there twice if one of them was too large: redrive sends each of them once.
        """
        try:
            self._producer.send([self._whole(item) for item in items])
        except MessageTooLarge:
            for item in items:
                self._write(item)

    def _write(self, item: Reject) -> None:
        try:
            self._send(self._whole(item))
        except MessageTooLarge:
            value = item.value or b""
            log.warning(
                "Topic %s does not take a reject of %d bytes whole: it is written without its value, which is still at "
                "%s partition %d offset %d.",
                self._topic,
                len(value),
                item.topic,
                item.partition,
                item.offset,
            )
            self._send(self._without_value(item))

    def _send(self, message: Outgoing) -> None:
        self._producer = self._new_producer() if self._producer.failed else self._producer
        self._producer.send([message])

    def _whole(self, item: Reject) -> Outgoing:
        return Outgoing(item.key or b"", self._encode(item), None)

    def _without_value(self, item: Reject) -> Outgoing:
        value = item.value or b""
        key = item.key if item.key is None or len(item.key) <= KEY_BYTES else None
        headers = ((LEFT_OUT, b"%d" % len(value)), (LEFT_OUT_HASH, sha256(value).hexdigest().encode()))
        return Outgoing(key or b"", self._encode(item.model_copy(update={"value": None, "key": key})), None, headers)

    def close(self) -> None:
        """Leave nothing unanswered."""
        self._producer.close()
