"""Reads a topic back to learn what was written to it since a snapshot."""

from __future__ import annotations

from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from dataflows.clock import now_ms
from dataflows.settings import KafkaSettings, kafka_client_config
from dataflows.topics import ANSWER_SECONDS, BrokerError

ID = "id"
"""The header that every record of the topic carries: what it is told from others by."""
FETCH = 10_000
"""Records asked of the client at a time."""


def read_back(
    kafka: KafkaSettings, topic: str, partitions: int, positions: dict[int, int]
) -> tuple[dict[int, int], set[str]]:
    """The ends of the topic's partitions, and the ids written from `positions` on (without one, from the beginning)."""
    consumer = Consumer(
        {
            **kafka_client_config(kafka),
            "group.id": kafka.group_id,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 50,
        }
    )
    ends: dict[int, int] = {}
    written: set[str] = set()
    try:
        starts = [TopicPartition(topic, p, positions.get(p, OFFSET_BEGINNING)) for p in range(partitions)]
        consumer.assign(starts)
        deadline = now_ms() + kafka.delivery_timeout_ms
        while len(ends) < partitions:
            batch = consumer.consume(FETCH, 0.1)
            for message in batch:
                error = message.error()
                if error is None:
                    written.update(_id_of(message))
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
                    ends[message.partition() or 0] = message.offset() or 0
                elif error.fatal() or error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                    raise BrokerError(
                        f"Topic {topic} cannot be read back ({error.str()}): grant this user read on it; what was "
                        "written since the last snapshot must be known before more is."
                    )
            if batch:
                deadline = now_ms() + kafka.delivery_timeout_ms
            elif now_ms() > deadline:
                raise BrokerError(
                    f"Topic {topic} cannot be read back: check that Kafka runs at {kafka.bootstrap_servers}, then "
                    f"start again (no answer in {round(max(kafka.delivery_timeout_ms / 1_000, ANSWER_SECONDS))} s)."
                )
    finally:
        consumer.close()
    return ends, written


def _id_of(message: Message) -> list[str]:
    """The id a record carries; none where somebody else wrote it."""
    headers: Any = message.headers() or ()
    return [value.decode() for key, value in headers if key == ID and isinstance(value, bytes)]
