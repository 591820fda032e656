"""How long a warning takes: from sending what causes it to a subscriber's hearing of it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
from confluent_kafka import Consumer

from schemas.codec.outputs import Decoder
from schemas.records.base import CHAT, MODERATION
from tests.bench.workload import Workload
from tests.kit.deployment import PARTITIONS, ROOT, Deployment

SETTLED = 2.0
"""Seconds without a risk event after which no more is under way."""


class Fed(NamedTuple):
    """What came of a load: when the cause of each risk event was sent and when that was heard of (`time.time`).

    `cpu` is what sending took (s), `seconds` how long it took, `late` how far behind its time the slowest hundredth of
    the records was sent.
    """

    waits: list[tuple[float, float]]
    cpu: float
    seconds: float
    late: float


class Latency:
    """Has events sent at a rate by another process, and hears of the risk events they make as a subscriber does."""

    def __init__(self, deployment: Deployment) -> None:
        topics = deployment.settings.topics
        self._address = deployment.address
        self._topics = {CHAT: topics.chat_messages, MODERATION: topics.moderation_events}
        self._heard: list[tuple[bytes, float]] = []
        self._consumer = Consumer(
            {
                "bootstrap.servers": deployment.address,
                "group.id": f"{topics.risk_events}-latency",
                "auto.offset.reset": "latest",
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
            }
        )
        self._over, self._ready = threading.Event(), threading.Event()
        self._consumer.subscribe([topics.risk_events])
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()
        assert self._ready.wait(60), "the subscriber was given no partitions"

    def _listen(self) -> None:
        ended = set[int | None]()
        while not self._over.is_set():
            message = self._consumer.poll(0.2)
            if message is None:
                continue
            if message.error() is None and (value := message.value()) is not None:
                self._heard.append((value, time.time()))
            elif message.error() is not None:  # the end of a partition, which is then read as records come
                ended.add(message.partition())
                if len(ended) == PARTITIONS:
                    self._ready.set()

    def prepare(self, workload: Workload, rate: float) -> Load:
        """A load that is ready to be sent."""
        return Load(self._address, self._topics, workload, rate)

    def feed(self, load: Load) -> Fed:
        """Send a load, and wait until all that it causes is heard of."""
        self._heard.clear()
        numbers, told = load.send()
        settled = -1
        while settled != (settled := len(self._heard)):
            time.sleep(SETTLED)
        decoder = Decoder("risk_event")
        triggers = [(decoder.decode(value).trigger.event_id, heard) for value, heard in self._heard]
        waits = [(numbers[event_id], heard) for event_id, heard in triggers if event_id in numbers]
        return Fed(waits, **told)

    def close(self) -> None:
        """Stop listening."""
        self._over.set()
        self._listening.join()
        self._consumer.close()


class Load:
    """The process that sends a workload at a rate; made is prepared."""

    def __init__(self, address: str, topics: dict[str, str], workload: Workload, rate: float) -> None:
        self._workload = workload
        self._folder = tempfile.TemporaryDirectory(prefix="forewarn-load-")
        self._out = Path(self._folder.name) / "sent.npy"
        command = [sys.executable, "-m", "tests.bench.load"]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        order = {"address": address, "topics": topics, "workload": workload._asdict(), "rate": rate}
        self._tell(orjson.dumps({**order, "out": str(self._out)}))
        self._hear()

    def _tell(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def _hear(self) -> bytes:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the load ended with {self.process.wait()}"
        return line

    def send(self) -> tuple[dict[str, float], dict[str, float]]:
        """Send all of it: when each event was sent, by its id, and what that took."""
        self._tell(b"")
        told = orjson.loads(self._hear())
        self.process.communicate()
        with self._folder:
            sent = np.load(self._out).tolist()
        return {f"w{self._workload.seed}-{number:09d}": at for number, at in enumerate(sent)}, told


def spread(waits: list[tuple[float, float]]) -> dict[str, Any]:
    """How long risk events took (s), and how many there were."""
    took = [heard - sent for sent, heard in waits]
    p50, p99, p999 = np.quantile(took, [0.5, 0.99, 0.999]).tolist() if took else (None, None, None)
    return {"risk events": len(took), "p50": p50, "p99": p99, "p99.9": p999}
