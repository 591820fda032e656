"""Dead letters: a reject that is too large for its topic is written without its value, and the flow continues.

The topic's limit may be too small for an input, and may change during a run. It is therefore not queried in advance. A
batch that the broker rejects as too large is sent again record by record. A record that is still too large is sent
without its value, with headers for the value's length and hash. The record itself is still in its source: the reject
contains topic, partition and offset.
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
"""Header of a dead letter without its value: the length of the value in bytes."""
LEFT_OUT_HASH = "left-out-sha256"
"""Header of a dead letter without its value: the value's SHA-256, in hexadecimal digits."""
KEY_BYTES = 1_024
"""A longer key is left out with the value."""


class RejectSink(DynamicSink[Reject]):
    """Sink that writes rejects to the dead-letter topic, with one producer per worker."""

    def __init__(self, kafka: KafkaSettings, topic: str, encode: Callable[[Reject], bytes]) -> None:
        self._kafka, self._topic, self._encode = kafka, topic, encode

    def build(self, step_id: str, worker_index: int, worker_count: int) -> RejectSinkPart:
        """Return the part of one worker."""
        del step_id, worker_index, worker_count
        return RejectSinkPart(lambda: CheckedProducer(self._kafka, self._topic), self._topic, self._encode)


class RejectSinkPart(StatelessSinkPartition[Reject]):
    """One worker's writer. A producer with a failed message cannot be used again, so it is replaced."""

    def __init__(
        self, new_producer: Callable[[], CheckedProducer], topic: str, encode: Callable[[Reject], bytes]
    ) -> None:
        self._new_producer, self._topic, self._encode = new_producer, topic, encode
        self._producer = new_producer()

    def write_batch(self, items: list[Reject]) -> None:
        """Write all rejects, and return when the broker has them.

        Some may be on the topic twice if one of them was too large: redrive sends each of them once.
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
        """Wait for all messages in flight."""
        self._producer.close()
