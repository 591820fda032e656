"""How long a warning takes: from sending what causes it to a subscriber's hearing of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
from confluent_kafka import Consumer, Message, Producer

from schemas.encoder import Decoder
from schemas.records import CHAT, MODERATION
from tests.bench.workload import Workload, events
from tests.recovery.deployment import Deployment


class Latency:
    """Sends events at a rate, and hears of the risk events they make as a subscriber does."""

    def __init__(self, deployment: Deployment) -> None:
        topics = deployment.settings.topics
        self._topics = {CHAT: topics.chat_messages, MODERATION: topics.moderation_events}
        self._producer = Producer({"bootstrap.servers": deployment.address, "linger.ms": 2})
        self._sent: dict[tuple[str, int, int], float] = {}
        self._heard: list[tuple[tuple[str, int, int], float]] = []
        self._consumer = Consumer(
            {
                "bootstrap.servers": deployment.address,
                "group.id": f"{topics.risk_events}-latency",
                "auto.offset.reset": "latest",
                "isolation.level": "read_committed",
            }
        )
        self._over = threading.Event()
        ready = threading.Event()
        self._consumer.subscribe([topics.risk_events], on_assign=lambda *_: ready.set())
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()
        ready.wait(60)

    def _listen(self) -> None:
        decoder = Decoder("risk_event")
        while not self._over.is_set():
            message = self._consumer.poll(0.2)
            if message is not None and message.error() is None and (value := message.value()) is not None:
                now, trigger = time.time(), decoder.decode(value).trigger
                self._heard.append(((trigger.topic, trigger.partition, trigger.offset), now))

    def feed(self, workload: Workload, rate: float) -> list[tuple[float, float]]:
        """Send a workload at a rate; when its cause was sent and when it was heard of, for each risk event."""
        self._sent.clear()
        self._heard.clear()
        records = [
            (self._topics[one["subject"]], one["user_id"].encode(), orjson.dumps(one)) for one in events(workload)
        ]
        begin = time.monotonic()
        for number, (topic, key, value) in enumerate(records):
            due = begin + number / rate
            while (now := time.monotonic()) < due:
                self._producer.poll(min(0.01, due - now))
            self._producer.produce(topic, value, key, on_delivery=self._delivered(time.time()))
            self._producer.poll(0)
        self._producer.flush(60)
        settled = len(self._heard)
        while True:  # what is under way arrives within a poll or two
            time.sleep(2.0)
            if len(self._heard) == settled:
                break
            settled = len(self._heard)
        return [(self._sent[trigger], heard) for trigger, heard in self._heard if trigger in self._sent]

    def _delivered(self, sent: float) -> Callable[[Any, Message], None]:
        def note(error: Any, message: Message) -> None:
            assert error is None, error
            self._sent[str(message.topic()), message.partition() or 0, message.offset() or 0] = sent

        return note

    def close(self) -> None:
        """Stop listening."""
        self._over.set()
        self._listening.join()
        self._consumer.close()


def spread(waits: list[tuple[float, float]]) -> dict[str, Any]:
    """How long risk events took, and how many there were."""
    took = [heard - sent for sent, heard in waits]
    p50, p99, p999 = np.quantile(took, [0.5, 0.99, 0.999]).tolist() if took else (None, None, None)
    return {"risk events": len(took), "p50": p50, "p99": p99, "p99.9": p999}
