"""Reading of a topic to its present end, for callers that need its content before they continue."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from dataflows.config.settings import KafkaSettings, kafka_client_config
from dataflows.kafka.broker_errors import DENIED, AccessRefused, BrokerAway, TopicError
from dataflows.runtime.clock import monotonic_ms
from dataflows.sources.kafka.partition import STOPPING

FETCH = 1_000
"""Records requested from the client per call."""


def read_to_end(
    kafka: KafkaSettings, topic: str, starts: dict[int, int], patience_ms: int, ends: dict[int, int] | None = None
) -> Iterator[Message]:
    """Yield every committed record of the partitions, each from its start in `starts` to its present end.

    `ends`, if given, receives the end offset of each partition.

    Raises:
        BrokerError: if reading is not allowed, or nothing arrives for `patience_ms`.
    """
    config = {
        **kafka_client_config(kafka),
        "group.id": kafka.group_id,
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "fetch.wait.max.ms": 50,
    }
    with contextlib.closing(Consumer(config)) as consumer:
        consumer.assign([TopicPartition(topic, partition, start) for partition, start in starts.items()])
        unread, deadline = set(starts), monotonic_ms() + patience_ms
        while unread:
            batch = consumer.consume(FETCH, 0.1)
            for message in batch:
                error, partition = message.error(), message.partition() or 0
                if error is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the public constant's name
                    unread.discard(partition)
                    if ends is not None:
                        ends[partition] = message.offset() or 0
                elif error.fatal() or error.code() in STOPPING:
                    advice = STOPPING.get(error.code(), error.str())
                    kind = AccessRefused if error.code() in DENIED else TopicError
                    raise kind(f"Topic {topic} cannot be read to its end: {advice}.")
            deadline = monotonic_ms() + patience_ms if batch else deadline
            if monotonic_ms() > deadline:
                raise BrokerAway(
                    f"Topic {topic} cannot be read to its end: nothing was heard for {patience_ms / 1_000:g} s; "
                    f"check that Kafka runs at {kafka.bootstrap_servers}, then start again."
                )
