"""The live run of the dataflow, from Kafka to Kafka."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from threading import Event as Flag
from typing import Any, NamedTuple

from bytewax.dataflow import Dataflow
from prometheus_client import ProcessCollector

from dataflows.config.settings import RunSettings, Settings
from dataflows.detect import FlowOptions, build_flow
from dataflows.kafka.placement import Placement
from dataflows.kafka.topics import check_outputs, found_topics
from dataflows.live.cluster_door import Door
from dataflows.live.monitor import Monitor
from dataflows.live.sinks import check_subjects, kafka_sinks
from dataflows.live.supervision import beat
from dataflows.recovery.engine_store import resume_epoch, size, tidy
from dataflows.recovery.errors import errors_explained
from dataflows.recovery.guard import keep_private, private_files, refuse_code
from dataflows.recovery.lock import StoreError, StoreLock, unusable
from dataflows.recovery.manifest import accept_topics, accepted_ids, manifest_of, open_store
from dataflows.recovery.users import UserStores
from dataflows.runtime import errors
from dataflows.runtime.engine import open_recovery, run_flow
from dataflows.runtime.health import Health
from dataflows.runtime.metrics_server import MetricsServer
from dataflows.runtime.telemetry import Telemetry
from dataflows.sinks.kafka.producer import GRACE_MS
from dataflows.sources.kafka.source import MergedKafkaSource, input_partitions
from dataflows.sources.kafka.watch import TopicWatch
from detectors.models.catalogue import freeze
from detectors.models.river.trial import refusals
from detectors.policy.policy import Policy
from detectors.profiles.user import COMPILED
from detectors.text.scorer import TextScorer
from schemas.codec.inputs import EARLIEST_TIME, Codec
from schemas.errors import ExpectedError
from schemas.records.decisions import ModelVersion

log = logging.getLogger(__name__)

STUCK_SECONDS = 30.0
"""Seconds, beyond the longest delivery, after which a flow that does not move counts as stuck."""


class ClusterSlot(NamedTuple):
    """Place of a process in a local cluster: its index, the addresses of all processes, the supervisor's process id.

    `restarts` is the number of times that the supervisor has restarted the cluster.
    """

    process: int
    addresses: tuple[str, ...]
    supervisor: int
    restarts: int = 0

    def __str__(self) -> str:
        return f"{self.process}@{self.supervisor}@{','.join(self.addresses)}@{self.restarts}"

    @classmethod
    def parse(cls, text: str) -> ClusterSlot:
        """Parse the text form of a slot."""
        process, supervisor, addresses, restarts = text.split("@")
        return cls(int(process), tuple(addresses.split(",")), int(supervisor), int(restarts))


class RunError(ExpectedError, ValueError):
    """A run that cannot start."""


def run(
    settings: Settings,
    policy: Policy,
    *,
    model: ModelVersion | None = None,
    text: TextScorer | None = None,
    workers: int = 1,
    stop_at_end: bool = False,
    stop: Flag | None = None,
    place: ClusterSlot | None = None,
) -> Telemetry:
    """Run until stopped, or with `stop_at_end` until the current end of the input topics.

    SIGTERM, SIGINT, SIGHUP, or setting `stop`, drain the run: records already read are processed, a snapshot of the
    state is taken, and the call returns. A second signal ends the process immediately, which is as safe as any crash.
    `place` makes this process one of a cluster.
    """
    telemetry, stop, store = Telemetry(live=True), stop or Flag(), settings.recovery
    process, addresses = (0, ()) if place is None else (place.process, place.addresses)
    if place is not None:
        beat(place.supervisor)
        telemetry.restarts.inc(place.restarts if process == 0 else 0)
    _describe(telemetry, policy, model)
    for name in ("misplaced", "clock_ahead"):
        telemetry.expect(name, (settings.topics.chat_messages, settings.topics.moderation_events))
    health = Health(
        stuck_seconds=(settings.kafka.delivery_timeout_ms + GRACE_MS) / 1_000 + STUCK_SECONDS,
        epoch_seconds=None if store.directory is None else store.epoch_interval_seconds,
    )
    errors.clear()
    users = None if store.directory is None else UserStores(store.directory)
    door = None if place is None else Door(place.process, place.addresses, place.supervisor)
    watch = TopicWatch(
        settings.kafka,
        settings.topics,
        stored=store.directory is not None,
        counts=telemetry.input_partitions,
        unread=telemetry.unread_partitions,
    )
    flow = _flow(
        settings,
        policy,
        telemetry,
        model=model,
        text=text,
        stop_at_end=stop_at_end,
        stop=stop,
        users=users,
        door=door,
        watch=watch,
        on_snapshot=health.snapped,
    )
    errors.watch(flow, health)
    if store.directory is not None:
        telemetry.store.set_function(partial(size, store.directory))
    lock = nullcontext() if store.directory is None else StoreLock(store.directory, place and place.process)
    monitor = Monitor(settings, telemetry, health, stop)
    served = _served(settings.run, process, telemetry, health)
    with served, lock, private_files(), _draining(stop, last=place is not None):
        if place is None:
            _check(settings, policy, flow, model)
        recovery = None
        if store.directory is not None:
            refuse_code(store.directory)
            recovery = open_recovery(store.directory, store.partitions)
        epoch = timedelta(seconds=store.epoch_interval_seconds)
        if store.directory is not None:
            watch.accept(accepted_ids(store.directory))
        explained = errors_explained(store.directory, users)
        with monitor, explained, users or nullcontext(), door or nullcontext(), watch:
            run_flow(flow, workers, epoch=epoch, recovery=recovery, process=process, addresses=addresses)
    return telemetry


def prepare(settings: Settings, policy: Policy, model: ModelVersion | None) -> None:
    """Check the preconditions of a cluster before its processes start, which do not check them again."""
    flow = _flow(settings, policy, Telemetry(), model=model, stop_at_end=False, stop=Flag())
    directory = settings.recovery.directory
    with nullcontext() if directory is None else StoreLock(directory), private_files():
        _check(settings, policy, flow, model)
        if directory is not None:
            refuse_code(directory)


def clean_up(settings: Settings) -> None:
    """Clean the store before the restart of a cluster whose processes have all ended."""
    if settings.recovery.directory is not None:
        with StoreLock(settings.recovery.directory), private_files():
            tidy(settings.recovery.directory)


def accept(settings: Settings) -> list[str]:
    """Make the recovery store accept topics that were deleted and created again; return a line on each.

    Raises:
        RunError: if the settings name no recovery directory.
        BrokerError: if Kafka does not answer.
        StoreError: if there is no store, or a topic cannot be accepted.
    """
    directory = settings.recovery.directory
    if directory is None:
        raise RunError("The settings name no recovery.directory, so there is no store to accept topics for.")
    if not directory.is_dir():  # the lock would create it
        raise StoreError(f"Recovery directory {directory} does not exist: there is nothing to accept topics for.")
    found = found_topics(settings.kafka, settings.topics.model_dump().values())
    with StoreLock(directory), private_files():
        try:
            return accept_topics(directory, settings, found)
        except OSError as error:
            raise unusable(directory, error) from None


def _check(settings: Settings, policy: Policy, flow: Dataflow, model: ModelVersion | None) -> None:
    """Check the inputs, outputs, schemas and the recovery store before a record is read."""
    if model is None and (problems := refusals(policy, live=True)):
        raise RunError(*problems)
    directory = settings.recovery.directory
    if directory is not None:
        keep_private(directory)
    partitions = input_partitions(settings.kafka, settings.topics)
    check_outputs(settings)
    check_subjects(settings)
    pinned = None if model is None else model.name
    learning = policy.learning
    log.info(
        "forewarn %s starts: policy %s, models %s, %d input partitions, %d lanes.",
        version("forewarn"),
        policy.version,
        ", ".join((learning.champion, *learning.challengers)) if model is None else f"{model.name} {model.version}",
        partitions,
        settings.run.lanes,
    )
    if directory is None:
        log.info("No recovery directory: the inputs are read from their beginning.")
        return
    found = found_topics(settings.kafka, settings.topics.model_dump().values())
    open_store(directory, manifest_of(flow, settings, policy, partitions, pinned=pinned, found=found))
    epoch = resume_epoch(directory)
    if epoch is None:
        log.info("Recovery directory %s is new: the inputs are read from their beginning.", directory)
    else:
        log.info("Resumed from epoch %d of recovery directory %s.", epoch, directory)


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
    door: Door | None = None,
    watch: TopicWatch | None = None,
    on_snapshot: Callable[[], None] = lambda: None,
) -> Dataflow:
    def snapped(stall_ms: int) -> None:
        telemetry.snapped(stall_ms)
        on_snapshot()

    source = _GuardedSource(
        door,
        settings.kafka,
        settings.topics,
        batch_size=settings.run.batch_size,
        poll_ms=settings.run.poll_timeout_ms,
        stop_at_end=stop_at_end,
        stop=stop,
        skew_ms=round(settings.run.allowed_skew_seconds * 1000),
        watch=watch,
        on_lead=lambda topic, lead: telemetry.record_lead.labels(topic).set(lead / 1_000),
        on_stall=None if settings.recovery.directory is None else snapped,
    )
    return build_flow(
        source,
        kafka_sinks(settings, telemetry, watch),
        policy,
        Codec(
            settings.registry,
            max_bytes=settings.run.max_record_bytes,
            allowed_skew_ms=round(settings.run.allowed_skew_seconds * 1000),
            earliest_ms=EARLIEST_TIME,
        ),
        FlowOptions(
            telemetry=telemetry,
            lanes=settings.run.lanes,
            pinned=None if model is None else freeze(model),
            text=text,
            stores=users,
            placement=None if watch is None else Placement(watch.partitions, telemetry),
        ),
    )


class _GuardedSource(MergedKafkaSource):
    """Source of the input topics that first checks the connections to the cluster's other processes.

    The engine lists each worker's partitions after the processes are connected, and before any of them reads.
    """

    def __init__(self, door: Door | None, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._door = door

    def list_parts(self) -> list[str]:
        """Return the partitions; end the process instead if a stranger is connected."""
        if self._door is not None:
            self._door.check()
        return super().list_parts()


@contextmanager
def _draining(stop: Flag, *, last: bool) -> Iterator[None]:
    """Set `stop` at the first SIGTERM, SIGINT or SIGHUP, and end the process at the second.

    With `last`, only the end of the process follows the block, and the signals are ignored during it: a cluster's
    supervisor sends SIGTERM to all processes as soon as the first has ended.
    """

    def on_signal(number: int, _frame: object) -> None:
        if stop.is_set():
            os.write(2, b"Stopped at once; the next start goes on from the last snapshot.\n")
            os._exit(128 + number)
        stop.set()

    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # set by `nohup`
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if last else handler)


@contextmanager
def _served(settings: RunSettings, process: int, telemetry: Telemetry, health: Health) -> Iterator[None]:
    """Serve metrics and health if a port is set; process n of a cluster serves on that port plus n.

    Raises:
        RunError: if the address cannot be bound.
    """
    if settings.metrics_port is None:
        yield
        return
    ProcessCollector(registry=telemetry.registry)
    host, port = settings.metrics_host, settings.metrics_port + process
    try:
        server = MetricsServer(host, port, telemetry.registry, health)
    except (OSError, OverflowError) as error:
        raise RunError(
            f"Metrics cannot be served on {host} port {port} ({getattr(error, 'strerror', None) or error}): end what "
            "listens there, or change run.metrics_port or run.metrics_host."
        ) from None
    try:
        yield
    finally:
        server.close()


def _describe(telemetry: Telemetry, policy: Policy, model: ModelVersion | None) -> None:
    champion = policy.learning.champion if model is None else f"{model.name} {model.version}"
    telemetry.build.labels(version("forewarn"), "yes" if COMPILED else "no", policy.version, champion).set(1)
