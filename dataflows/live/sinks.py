"""The sinks of a live run, which encode the flow's outputs for their topics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
from hashlib import blake2b
from itertools import compress
from typing import Any, Generic, TypeVar

import numpy as np
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from confluent_kafka import Message

from dataflows.config.settings import KafkaSettings, Settings, TopicSettings
from dataflows.detect import Sinks
from dataflows.operators.deliver import Delivery, DeliverySink
from dataflows.operators.profile import Late
from dataflows.runtime.telemetry import Telemetry
from dataflows.runtime.worker_local import WorkerLocal
from dataflows.sinks.kafka.exactly_once import ExactlyOnceSink, Placing
from dataflows.sinks.kafka.newest import Order
from dataflows.sinks.kafka.producer import CheckedProducer, KafkaSink, Outgoing
from dataflows.sinks.kafka.rejects import RejectSink
from dataflows.sinks.memory import NullSink
from dataflows.sources.kafka.watch import TopicWatch
from detectors.features.catalogue import NAMES
from detectors.features.signals import key_of
from detectors.profiles.results import Outcome
from detectors.scoring.served import ServedBatch
from detectors.scoring.shard import ModelUpdate, Publication
from schemas.codec.feature_rows import FeatureRowEncoder
from schemas.codec.outputs import Decoder, Encoder
from schemas.records.decisions import RiskEvent
from schemas.records.events import ChatMessage
from schemas.records.refusal import UnreadableError

X = TypeVar("X")

EVERYBODY = 2**20
"""Number of hash buckets of user ids, for sampling users."""

LINGER_MS = 50
"""Milliseconds for which rows gather before they are sent; nothing waits for them before the end of an epoch."""


class EncodedSink(DynamicSink[X], Generic[X]):
    """Kafka sink that encodes a batch of items as any number of outgoing messages."""

    def __init__(self, sink: KafkaSink, encode: Callable[[list[X]], Iterable[Outgoing]]) -> None:
        self._sink, self._encode = sink, encode

    def build(self, step_id: str, worker_index: int, worker_count: int) -> StatelessSinkPartition[X]:
        """Return the sink partition of one worker."""
        return _EncodedPart(self._sink.build(step_id, worker_index, worker_count), self._encode)


class _EncodedPart(StatelessSinkPartition[X]):
    def __init__(self, part: StatelessSinkPartition[Outgoing], encode: Callable[[list[X]], Iterable[Outgoing]]) -> None:
        self._part, self._encode = part, encode

    def write_batch(self, items: list[X]) -> None:
        self._part.write_batch([*self._encode(items)])

    def close(self) -> None:
        self._part.close()


class DeliveredSink(DeliverySink[X], Generic[X]):
    """Encoding Kafka sink for a stream that does not wait for each batch; every worker has its own producer."""

    def __init__(self, kafka: KafkaSettings, topic: str, encode: Callable[[list[X]], Iterable[Outgoing]]) -> None:
        self._parts = WorkerLocal(lambda: _DeliveredPart(CheckedProducer(kafka, topic, LINGER_MS), encode))

    def build(self, step_id: str, worker_index: int, worker_count: int) -> StatelessSinkPartition[X]:
        """Return the current worker's sink partition."""
        del step_id, worker_index, worker_count
        return self._parts.get()

    def delivery(self) -> Delivery[X]:
        """Return the current worker's delivery handle."""
        return self._parts.get()


class _DeliveredPart(StatelessSinkPartition[X]):
    """Sink partition of one worker.

    If a flow fails, the next start writes undelivered messages again, so closing the partition does not wait for them.
    """

    def __init__(self, producer: CheckedProducer, encode: Callable[[list[X]], Iterable[Outgoing]]) -> None:
        self._producer, self._encode = producer, encode

    def hand_over(self, items: list[X]) -> None:
        self._producer.hand_over(self._encode(items))

    def settle(self) -> None:
        self._producer.settle()

    def write_batch(self, items: list[X]) -> None:
        self.hand_over(items)
        self.settle()


def registered_as(topics: TopicSettings) -> dict[str, str]:
    """Return the registry's subject of each schema of this project."""
    return {
        "risk_event": f"{topics.risk_events}-value",
        "model_version": f"{topics.risk_models}-value",
        "feature_row": f"{topics.risk_features}-value",
        "reject": f"{topics.dead_letters}-value",
        "chat_message": f"{topics.late}-chat_message",
        "moderation_event": f"{topics.late}-moderation_event",
    }


def check_subjects(settings: Settings) -> None:
    """Look up the schema of everything that a run may write; register it if the settings permit.

    Raises:
        RegistryError: if a schema has no id.
        RegistryUnavailable: if the registry gives no useful answer.
    """
    if settings.registry is None:
        return
    for schema, subject in registered_as(settings.topics).items():
        with closing(Encoder(schema, settings.registry, registered_as=subject)) as encoder:
            encoder.prefix()


def kafka_sinks(settings: Settings, telemetry: Telemetry | None = None, watch: TopicWatch | None = None) -> Sinks:
    """Return the sinks of a live run's streams; `watch` provides the topics' ids."""
    topics, registry = settings.topics, settings.registry

    def sink(topic: str) -> KafkaSink:
        return KafkaSink(settings.kafka, topic)

    subjects = registered_as(topics)
    risk, version, reject, late_chat, late_moderation = (
        Encoder(schema, registry, registered_as=subjects[schema])
        for schema in ("risk_event", "model_version", "reject", "chat_message", "moderation_event")
    )
    rows = FeatureRowEncoder(NAMES, registry, registered_as=subjects["feature_row"])
    sampled = int(settings.run.feature_sample * EVERYBODY)

    def encode_publication(item: Publication) -> Outgoing:
        event = item.event
        value = risk.encode(event) if isinstance(event, RiskEvent) else None
        # The timestamp is the time of writing: compaction uses it, and would remove an event of a past year at once.
        return Outgoing(_key(event.user_id), value, None)

    def encode_served(batches: list[ServedBatch]) -> Iterable[Outgoing]:
        points = [point for batch in batches for point in batch.points]
        users = [point.user_id for point in points]
        matrix = np.concatenate([batch.matrix for batch in batches])
        columns: list[list[Any]] = [
            users,
            [point.as_of for point in points],
            [point.event_id for point in points],
            np.concatenate([batch.probabilities for batch in batches]).tolist(),
            [tier for batch in batches for tier in batch.tiers],
            [version for batch in batches for version in batch.versions],
        ]
        if sampled < EVERYBODY:
            chosen = [key_of(user_id) % EVERYBODY < sampled for user_id in users]
            matrix, columns = matrix[chosen], [[*compress(column, chosen)] for column in columns]
        values = rows.encode_rows(matrix, *columns)
        return [Outgoing(_key(user_id), value, None) for user_id, value in zip(columns[0], values, strict=True)]

    def encode_model_update(batch: list[ModelUpdate]) -> Iterable[Outgoing]:
        for update in batch:
            for published in update.published:
                yield Outgoing(_key(published.version.name), version.encode(published.version), None)

    def encode_lates(items: list[Late]) -> Iterable[Outgoing]:
        for item in items:
            event = item.event
            value = (late_chat if isinstance(event, ChatMessage) else late_moderation).encode(event)
            origin = (("topic", item.at.topic.encode()), ("offset", str(item.at.offset).encode()))
            yield Outgoing(_key(event.user_id), value, None, origin)

    return Sinks(
        risk=ExactlyOnceSink(
            settings.kafka,
            topics.risk_events,
            f"{settings.kafka.group_id}.{topics.risk_events}",
            identity,
            encode_publication,
            placing=placing(settings),
            topic_id=str if watch is None else partial(watch.id_of, topics.risk_events),
            on_left_out=None if telemetry is None else lambda why: telemetry.add("left_out", Counter([why])),
        ),
        features=DeliveredSink(settings.kafka, topics.risk_features, encode_served),
        models=EncodedSink(sink(topics.risk_models), encode_model_update),
        rejects=RejectSink(settings.kafka, topics.dead_letters, reject.encode),
        late=EncodedSink(sink(topics.late), encode_lates),
        outcomes=NullSink[Outcome](),
    )


def placing(settings: Settings) -> Placing[Publication]:
    """Return the functions that order publications and records of the risk topic.

    The time of a tombstone on the topic is its time of writing plus the allowed skew: no event that its user caused
    before is later.
    """
    moderation, decoder = settings.topics.moderation_events, Decoder("risk_event", settings.registry)
    skew = round(settings.run.allowed_skew_seconds * 1000)

    def of_item(item: Publication) -> Order:
        return Order(item.event.as_of, int(item.at.topic == moderation), item.at.offset)

    def of_record(message: Message) -> Order | None:
        value = message.value()
        if value is None:
            return Order(message.timestamp()[1] + skew, 1, 0)
        try:
            event = decoder.decode(value)
        except UnreadableError:
            return None  # not written by forewarn
        if not isinstance(event, RiskEvent):
            return None
        return Order(event.as_of, int(event.trigger.topic == moderation), event.trigger.offset)

    return Placing(of_item, of_record)


def identity(item: Publication) -> str:
    """Return the identity of a publication: a risk event's own id, or for a tombstone a hash of user and trigger."""
    event, at = item.event, item.at
    if isinstance(event, RiskEvent):
        return event.risk_event_id
    text = f"{event.user_id}\0{at.topic}\0{at.partition}\0{at.offset}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _key(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
