"""Background monitor of a run: probes Kafka, and logs changes of the run's state."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import Any, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from dataflows.config.settings import Settings, kafka_client_config
from dataflows.kafka.connection import CONNECTION
from dataflows.runtime.health import Health
from dataflows.runtime.telemetry import Telemetry

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
"""Interval between two checks of a run."""
REJECTS_TICKS = 60
"""Ticks between two lines about rejects."""
PROBE_SECONDS = 5.0
"""Wait between two probes of Kafka, and time-out of a probe."""


class Monitor:
    """Monitor of one run, for the duration of a `with` block."""

    def __init__(
        self,
        settings: Settings,
        telemetry: Telemetry,
        health: Health,
        stop: threading.Event,
    ) -> None:
        self._settings, self._telemetry, self._health = settings, telemetry, health
        self._stop = stop
        self._over = threading.Event()
        self._ready = self._draining = False
        self._rejects: Counter[str] = Counter()
        self._ticks = 0

    def __enter__(self) -> Self:
        CONNECTION.reset(self._connection_changed)
        for work in (self._watch, self._probe):
            threading.Thread(target=work, name=f"monitor{work.__name__}", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._over.set()
        self._tell_rejects()
        if self._stop.is_set() and kind is None:
            self._tell_draining()
            log.info("Drained: the next start goes on from here.")

    def _watch(self) -> None:
        while not self._over.wait(TICK_SECONDS):
            self.tick()

    def tick(self) -> None:
        """Check the run once; called every second."""
        self._ticks += 1
        if not self._ready and self._health.unready() is None:
            self._ready = True
            log.info("Ready: the flow runs, and Kafka answers.")
        if self._stop.is_set():
            self._tell_draining()
        if self._ticks % REJECTS_TICKS == 0:
            self._tell_rejects()

    def _tell_draining(self) -> None:
        if not self._draining:
            self._draining = True
            log.info("Draining: what was read is finished, and a last snapshot is taken.")

    def _tell_rejects(self) -> None:
        counts = Counter(self._telemetry.counts("rejects"))
        new, self._rejects = counts - self._rejects, counts
        if new:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(new.items()))
            log.warning("Rejected since the last such line, to %s: %s.", self._settings.topics.dead_letters, reasons)

    def _probe(self) -> None:
        topic = self._settings.topics.chat_messages
        config: dict[str, Any] = {**kafka_client_config(self._settings.kafka), "error_cb": CONNECTION.on_error}
        admin = AdminClient(config)
        while not self._over.is_set():
            try:
                admin.list_topics(topic, timeout=PROBE_SECONDS)
            except KafkaException as error:
                if self._over.is_set():
                    return
                name = error.args[0].name()
                self._health.answered(name)
                self._telemetry.connected.set(0)
                CONNECTION.lost(name)
            else:
                self._health.answered(None)
                self._telemetry.connected.set(1)
                CONNECTION.heard()
            self._over.wait(PROBE_SECONDS)

    def _connection_changed(self, away: bool) -> None:
        if away:
            self._telemetry.outages.inc()
