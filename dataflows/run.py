"""Runs the dataflow live: Kafka in, Kafka out."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from functools import partial
from threading import Event as Flag
from typing import NamedTuple

from bytewax.dataflow import Dataflow
from prometheus_client import start_http_server

from dataflows.detect import build_flow
from dataflows.engine import open_recovery, run_flow
from dataflows.manifest import StoreLock, manifest_of, open_store
from dataflows.recovery_faults import faults_told
from dataflows.recovery_parts import size, tidy
from dataflows.recovery_users import UserStores
from dataflows.settings import Settings
from dataflows.sinks.live import kafka_sinks
from dataflows.sources.kafka import MergedKafkaSource, input_partitions
from dataflows.telemetry import Telemetry
from detectors.models.catalogue import freeze
from detectors.policy import Policy
from detectors.text.scorer import TextScorer
from schemas.codec import EARLIEST_TIME, Codec
from schemas.records import ModelVersion

WATCH_SECONDS = 1.0
"""How often a process of a cluster looks whether its supervisor is still there."""


class Place(NamedTuple):
    """A process's place in a local cluster: which one it is, where all of them listen, and who supervises it."""

    process: int
    addresses: tuple[str, ...]
    supervisor: int

    def __str__(self) -> str:
        return f"{self.process}@{self.supervisor}@{','.join(self.addresses)}"

    @classmethod
    def parse(cls, text: str) -> Place:
        """A place from its text form."""
        process, supervisor, addresses = text.split("@")
        return cls(int(process), tuple(addresses.split(",")), int(supervisor))


class RunError(ValueError):
    """A run that cannot start, in a sentence."""


def run(
    settings: Settings,
    policy: Policy,
    *,
    model: ModelVersion | None = None,
    text: TextScorer | None = None,
    workers: int = 1,
    stop_at_end: bool = False,
    stop: Flag | None = None,
    place: Place | None = None,
) -> Telemetry:
    """Run until stopped, or with `stop_at_end` until the input topics' present end.

    SIGTERM and SIGINT, or setting `stop`, drain: what was read is finished, state is snapshot, and the call returns. A
    second signal ends the process at once, which is as safe as any crash. `place` makes it one process of a cluster.
    """
    telemetry, stop = Telemetry(), stop or Flag()
    process, addresses = (0, ()) if place is None else (place.process, place.addresses)
    if place is not None:
        threading.Thread(target=_watch, args=(place.supervisor,), daemon=True).start()
    if settings.run.metrics_port is not None:
        _serve_metrics(settings.run.metrics_port + process, telemetry)
    store = settings.recovery
    users = None if store.directory is None else UserStores(store.directory)
    flow = _flow(settings, policy, telemetry, model=model, text=text, stop_at_end=stop_at_end, stop=stop, users=users)
    if store.directory is not None:
        telemetry.store.set_function(partial(size, store.directory))
    lock = nullcontext() if store.directory is None else StoreLock(store.directory, place and place.process)
    with lock, _draining(stop, last=place is not None):
        if place is None:
            _check(settings, policy, flow, model)
        recovery = None if store.directory is None else open_recovery(store.directory, store.partitions)
        epoch = timedelta(seconds=store.epoch_interval_seconds)
        with faults_told(store.directory, users), users or nullcontext():
            run_flow(flow, workers, epoch=epoch, recovery=recovery, process=process, addresses=addresses)
    return telemetry


def prepare(settings: Settings, policy: Policy, model: ModelVersion | None) -> None:
    """What has to be right before the processes of a cluster start, each of which takes it for granted."""
    flow = _flow(settings, policy, Telemetry(), model=model, stop_at_end=False, stop=Flag())
    store = settings.recovery
    if store.directory is not None:
        with StoreLock(store.directory):
            _check(settings, policy, flow, model)


def clean_up(settings: Settings) -> None:
    """What has to be done before the processes of a cluster start again, of which none is left."""
    if settings.recovery.directory is not None:
        with StoreLock(settings.recovery.directory):
            tidy(settings.recovery.directory)


def _check(settings: Settings, policy: Policy, flow: Dataflow, model: ModelVersion | None) -> None:
    """Refuse to go on from a recovery store that was written for something else."""
    directory = settings.recovery.directory
    partitions = input_partitions(settings.kafka, settings.topics)  # or say why not before the engine has begun
    if directory is not None:
        pinned = None if model is None else model.name
        open_store(directory, manifest_of(flow, settings, policy, partitions, pinned=pinned))


def _flow(
    settings: Settings,
    policy: Policy,
    telemetry: Telemetry,
    *,
    model: ModelVersion | None,
    text: TextScorer | None = None,
    stop_at_end: bool,
    stop: Flag,
    users: UserStores | None = None,
) -> Dataflow:
    source = MergedKafkaSource(
        settings.kafka,
        settings.topics,
        batch_size=settings.run.batch_size,
        poll_ms=settings.run.poll_timeout_ms,
        stop_at_end=stop_at_end,
        stop=stop,
        on_stall=None if settings.recovery.directory is None else telemetry.snapped,
    )
    return build_flow(
        source,
        kafka_sinks(settings),
        policy,
        Codec(
            settings.registry,
            max_bytes=settings.run.max_record_bytes,
            allowed_skew_ms=round(settings.run.allowed_skew_seconds * 1000),
            earliest_ms=EARLIEST_TIME,
        ),
        telemetry=telemetry,
        lanes=settings.run.lanes,
        pinned=None if model is None else freeze(model),
        text=text,
        stores=users,
    )


@contextmanager
def _draining(stop: Flag, *, last: bool) -> Iterator[None]:
    """Let the first SIGTERM or SIGINT set `stop`, and the second end the process.

    With `last` nothing but the process's end is to follow, and that is not to be disturbed: a cluster's supervisor
    sends SIGTERM to all as soon as the first of them has ended.
    """

    def on_signal(number: int, _frame: object) -> None:
        if stop.is_set():
            os.write(2, b"Stopped at once; the next start goes on from the last snapshot.\n")
            os._exit(128 + number)
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if last else handler)


def _serve_metrics(port: int, telemetry: Telemetry) -> None:
    try:
        start_http_server(port, registry=telemetry.registry)
    except OSError as error:
        raise RunError(
            f"Metrics cannot be served on port {port} ({error.strerror}): end what listens there, or change "
            "run.metrics_port."
        ) from None


def _watch(supervisor: int) -> None:
    """End this process when its supervisor is gone: nobody would restart the cluster, or end it."""
    while True:
        try:
            os.kill(supervisor, 0)
        except ProcessLookupError:
            os._exit(1)
        threading.Event().wait(WATCH_SECONDS)
