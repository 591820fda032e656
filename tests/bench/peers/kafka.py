"""Both input topics in the order of their record times, and an output topic: what the peers have in common.

Each topic has one partition. A user's messages and sanctions have to be counted in the order in which they happened,
so a record waits until the other topic has come as far, or has nothing more.
"""

from __future__ import annotations

import argparse
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from tests.bench.peers.checks import CHAT, MODERATION
from tests.bench.peers.job import Answer

BATCH = 1_000
COMMIT_SECONDS = 5.0


class Place(NamedTuple):
    """What a peer is told: the broker, the topics, and a folder for its state."""

    broker: str
    chat: str
    moderation: str
    risk: str
    state: str
    group: str


def place() -> Place:
    """The place given on the command line."""
    parser = argparse.ArgumentParser()
    for field in Place._fields:
        parser.add_argument(f"--{field}", required=True)
    return Place(**vars(parser.parse_args()))


class Record(NamedTuple):
    """A record as the broker has it."""

    subject: str
    time: int
    value: bytes | None


class Inputs:
    """Reads both topics to their end, from the offsets committed or those given for each subject."""

    def __init__(self, where: Place, start: dict[str, int] | None = None) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": where.broker,
                "group.id": where.group,
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
            }
        )
        self._topics = {where.chat: CHAT, where.moderation: MODERATION}
        self._queues: dict[str, deque[Record]] = {topic: deque() for topic in self._topics}
        self._at_end = dict.fromkeys(self._topics, False)
        self._next = dict.fromkeys(self._topics, 0)
        wanted = [TopicPartition(topic, 0) for topic in self._topics]
        if start is None:
            self._consumer.assign(self._consumer.committed(wanted))
        else:
            self._consumer.assign([TopicPartition(topic, 0, start[subject]) for topic, subject in self._topics.items()])
        self._commit_due = time.monotonic() + COMMIT_SECONDS

    def batches(self) -> Iterator[list[Record]]:
        """Records in order, as many as there are; what was given is committed now and then."""
        while not all(self._at_end.values()) or any(self._queues.values()):
            for message in self._consumer.consume(BATCH, 0.1):
                self._take(message)
            due = self._due()
            if due:
                yield due
                if time.monotonic() > self._commit_due:
                    self._commit()
        self._commit(wait=True)
        self._consumer.close()

    def _take(self, message: Message) -> None:
        topic, error = message.topic(), message.error()
        if error is None:
            self._at_end[topic] = False
            self._queues[topic].append(Record(self._topics[topic], message.timestamp()[1], message.value()))
        elif error.code() == KafkaError._PARTITION_EOF:
            self._at_end[topic] = True
        else:
            raise KafkaException(error)

    def _due(self) -> list[Record]:
        """The records that nothing earlier can come before any more."""
        chat, moderation = self._queues.values()
        chat_ends, moderation_ends = self._at_end.values()
        due: list[Record] = []
        while (chat or chat_ends) and (moderation or moderation_ends) and (chat or moderation):
            first = not moderation or (bool(chat) and chat[0].time <= moderation[0].time)
            due.append((chat if first else moderation).popleft())
        for topic, subject in self._topics.items():
            self._next[topic] += sum([record.subject == subject for record in due])
        return due

    def _commit(self, *, wait: bool = False) -> None:
        """Commit what was handled; the first offset of a benchmark's topics is 0."""
        offsets = [TopicPartition(topic, 0, offset) for topic, offset in self._next.items() if offset]
        if offsets:
            self._consumer.commit(offsets=offsets, asynchronous=not wait)
        self._commit_due = time.monotonic() + COMMIT_SECONDS


class Output:
    """Writes risk events, each under its user; a tombstone has no value."""

    def __init__(self, where: Place) -> None:
        self._topic = where.risk
        self._producer = Producer(
            {"bootstrap.servers": where.broker, "enable.idempotence": True, "compression.type": "lz4", "linger.ms": 20}
        )

    def send(self, answer: Answer) -> None:
        """Send one."""
        value = None if "tombstone" in answer else orjson.dumps(answer)
        self._producer.produce(self._topic, value, answer["user_id"].encode("utf-8", "surrogatepass"))
        self._producer.poll(0)

    def finish(self) -> None:
        """Wait until all are on the broker."""
        if self._producer.flush(30):
            raise TimeoutError("not everything was delivered")


def report(**counts: Any) -> None:
    """Tell the runner what was counted."""
    print(orjson.dumps(counts).decode())
