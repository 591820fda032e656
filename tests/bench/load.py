"""The load of the latency benchmark, in a process of its own: prepared records, a few calls for all that is due.

What it is to do comes as a line of JSON on standard input, an empty line begins it, and what it did goes to standard
output. So that it takes little of a processor, it looks at the clock every few milliseconds and sends all that is due
by then; when each record was sent, to that tick, goes to a file. Records gather for as long as Kafka's clients let them
by default, 5 ms, which counts as time that a risk event took.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from confluent_kafka import KafkaError, Message, Producer
from numpy.typing import NDArray

from schemas.records.base import CHAT
from tests.bench.workload import Workload, events

TICK = 0.005
"""Seconds between two looks at the clock."""


class Prepared:
    """A workload's records by topic, and how many of each are among the first so many of all."""

    def __init__(self, workload: Workload, topics: dict[str, str]) -> None:
        self.count = workload.events
        self._messages: dict[str, list[dict[str, Any]]] = {topic: [] for topic in topics.values()}
        chat = np.zeros(self.count + 1, np.int64)
        for number, event in enumerate(events(workload), 1):
            message = {"key": event["user_id"].encode(), "value": orjson.dumps(event)}
            self._messages[topics[event["subject"]]].append(message)
            chat[number] = event["subject"] == CHAT
        told = np.cumsum(chat)
        self._until = {
            topic: told if topic == topics[CHAT] else np.arange(self.count + 1) - told for topic in topics.values()
        }

    def send(self, producer: Producer, begin: int, end: int) -> None:
        """Hand the producer the records from `begin` to `end`, in one call a topic."""
        for topic, messages in self._messages.items():
            until = self._until[topic]
            due = messages[until[begin] : until[end]]
            assert producer.produce_batch(topic, due) == len(due), "the producer's queue is full"


def send(producer: Producer, prepared: Prepared, rate: float) -> NDArray[np.float64]:
    """Send everything at so many records a second; when each was sent (`time.time`)."""
    sent = np.empty(prepared.count)
    begin, done = time.time(), 0
    while done < prepared.count:
        now = time.time()
        due = min(prepared.count, int((now - begin) * rate) + 1)
        if due > done:
            prepared.send(producer, done, due)
            sent[done:due] = now
            done = due
        producer.poll(0)
        time.sleep(max(0.0, now + TICK - time.time()))
    assert not producer.flush(60), "the broker did not take all"
    return sent


def tell(line: bytes) -> None:
    """Say a line to whoever started this."""
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    """Prepare, say so, and send when told to."""
    order = orjson.loads(sys.stdin.buffer.readline())
    prepared = Prepared(Workload(**order["workload"]), order["topics"])

    def failed(error: KafkaError, _message: Message) -> None:
        raise AssertionError(error.str())

    # a call for every record that arrived would cost more than sending it
    config = {"bootstrap.servers": order["address"], "partitioner": "murmur2_random"}
    producer = Producer({**config, "delivery.report.only.error": True, "on_delivery": failed})
    producer.list_topics(timeout=30)
    tell(b"prepared")
    sys.stdin.buffer.readline()
    rate, cpu, begin = order["rate"], time.process_time(), time.monotonic()
    sent = send(producer, prepared, rate)
    took = time.monotonic() - begin
    late = sent - sent[0] - np.arange(prepared.count) / rate
    np.save(Path(order["out"]), sent)
    told = {"cpu": time.process_time() - cpu, "seconds": took, "late": float(np.quantile(late, 0.99))}
    tell(orjson.dumps(told))


if __name__ == "__main__":
    main()
