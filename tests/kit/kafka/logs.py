"""Writing input topics for tests, and reading any topic back, with plain clients."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from dataflows.config.settings import KafkaSettings, TopicSettings
from dataflows.sinks.kafka.producer import RELIABLE
from tests.kit.kafka.base import has_leaders

PATIENCE_SECONDS = 60.0


class Written(NamedTuple):
    """A record to write to a test topic."""

    user: str
    time: int
    value: bytes | None = b"{}"


class Inputs(NamedTuple):
    """Two input topics and how to reach them."""

    kafka: KafkaSettings
    topics: TopicSettings

    def chat(self, records: Iterable[Written]) -> None:
        write(self.kafka.bootstrap_servers, self.topics.chat_messages, records)

    def moderation(self, records: Iterable[Written]) -> None:
        write(self.kafka.bootstrap_servers, self.topics.moderation_events, records)


def write(address: str, topic: str, records: Iterable[Written]) -> None:
    """Write the records in order, keyed by user as a JVM producer would, with their times as record timestamps."""
    producer = Producer({"bootstrap.servers": address, **RELIABLE})
    failed: list[str] = []
    for number, record in enumerate(records):
        producer.produce(
            topic,
            value=record.value,
            key=record.user.encode(),
            timestamp=record.time,
            on_delivery=lambda error, _: failed.append(error.str()) if error is not None else None,
        )
        if number % 1_000 == 0:
            producer.poll(0)
    assert producer.flush(30) == 0
    assert failed == []


def led(consumer: Consumer, topic: str) -> set[int]:
    """The partitions of a topic that exists, once each has a leader: a broker that has just come back knows of none."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        known = consumer.list_topics(topic, timeout=PATIENCE_SECONDS).topics[topic]
        if known.partitions and has_leaders([known]):
            return set(known.partitions)
        assert time.monotonic() < deadline, f"{topic} has no leader: {known.error}"


def read_committed(address: str, topic: str) -> Iterator[Message]:
    """Every committed record of a topic."""
    config = {
        "bootstrap.servers": address,
        "group.id": "seen",
        "isolation.level": "read_committed",
        "log_level": 0,
        "fetch.wait.max.ms": 50,
    }
    consumer = Consumer({**config, "enable.partition.eof": True, "auto.offset.reset": "earliest"})
    try:
        unread = led(consumer, topic)
        consumer.assign([TopicPartition(topic, partition, 0) for partition in unread])
        while unread:
            message = consumer.poll(30)
            assert message is not None, f"{topic} was not read to its end"
            if message.error() is None:
                yield message
            else:
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                unread.discard(message.partition())
    finally:
        consumer.close()


def read_back(address: str, topic: str) -> list[Message]:
    """Every committed record of the topic, partition by partition."""
    return sorted(read_committed(address, topic), key=lambda message: (message.partition(), message.offset()))
