"""What every broker for tests is: startable, stoppable, killable, and set up alike."""

from __future__ import annotations

import contextlib
import secrets
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, TopicMetadata

VERSION = "4.1.0"
LOOPBACK = "127.0.0.1"
READY_SECONDS = 90.0
STOP_SECONDS = 30.0
FIRST_PORT = 10_000
GIVEN = Path("/proc/sys/net/ipv4/ip_local_port_range")


class NoBrokerError(Exception):
    """No broker can be had here; the sentence says what was tried."""


class Broker(ABC):
    """A broker that can be started, stopped, killed and started again with the same address and data.

    `close` (or leaving the `with`) ends it for good and removes what it kept.
    """

    description: str
    """What it is, for the test report."""
    can_restart = True
    """Whether `stop`, `kill` and a second `start` work: not for a broker that somebody else runs."""

    def __init__(self) -> None:
        self.address = ""

    @property
    def pid(self) -> int | None:
        """Its process, where it is one of this machine that we know."""
        return None

    @abstractmethod
    def start(self) -> None:
        """Start, or start again; returns when the broker answers."""

    @abstractmethod
    def stop(self) -> None:
        """Shut down in order, as an operator does; data and address stay."""

    @abstractmethod
    def kill(self) -> None:
        """End without any warning, as a power cut does; data and address stay."""

    @abstractmethod
    def close(self) -> None:
        """End it and remove everything it kept."""

    def _alive(self) -> str | None:
        """None while there is something to wait for, else why waiting is in vain."""
        return None

    def _wait_until_ready(self) -> None:
        admin = AdminClient(
            {"bootstrap.servers": self.address, "reconnect.backoff.max.ms": 200, "log_level": 0, "client.id": "ready"}
        )
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                if (known := admin.list_topics(timeout=1.0)).brokers and has_leaders(known.topics.values()):
                    return
                time.sleep(0.05)
            except KafkaException:
                if reason := self._alive():
                    raise NoBrokerError(reason) from None
            if time.monotonic() > deadline:
                raise NoBrokerError(f"{self.description} did not answer within {READY_SECONDS:g} s")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def has_leaders(topics: Iterable[TopicMetadata]) -> bool:
    """Return whether every partition of the topics has a leader, which takes a moment after a restart."""
    return all(one.leader >= 0 for topic in topics for one in topic.partitions.values())


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now; held together while chosen, so that they differ.

    None that the system gives to who asks for any, if it leaves some: a broker that is down must find its port again.
    """
    with contextlib.ExitStack() as stack:
        left = _first_given() - FIRST_PORT
        ports: list[int] = []
        while len(ports) < count:
            one = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                one.bind((LOOPBACK, FIRST_PORT + secrets.randbelow(left) if left > 0 else 0))
                ports.append(one.getsockname()[1])
        return ports


def _first_given() -> int:
    """The first port that the system gives by itself."""
    try:
        return int(GIVEN.read_text().split()[0])
    except FileNotFoundError:
        return 49_152  # RFC 6335, section 6


def properties(*, listen: str, advertise: str, controller: str, log_dir: str) -> dict[str, str]:
    """A broker of one node that is also its controller, with internal topics small enough to start fast."""
    return {
        "node.id": "1",
        "process.roles": "broker,controller",
        "controller.quorum.voters": f"1@{controller}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"{listen},CONTROLLER://{controller}",
        "advertised.listeners": advertise,
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": log_dir,
        # Record timestamps are event times, and the tests' events are years old: nothing may expire by itself.
        "log.retention.ms": "-1",
        # After a kill the controller waits this long before it lets the same broker in again.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        "group.initial.rebalance.delay.ms": "0",
        # What a test removes is gone soon, not in a minute.
        "log.segment.delete.delay.ms": "1000",
        # By default half of the heap, which a restart behind many topics no longer finds.
        "log.cleaner.dedupe.buffer.size": "8388608",
        "offsets.topic.num.partitions": "1",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
    }
