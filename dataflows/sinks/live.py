"""The live sinks: what leaves the flow, encoded for its topic."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b
from itertools import compress
from typing import Any, Generic, TypeVar

from bytewax.outputs import DynamicSink, StatelessSinkPartition

from dataflows.detect import Sinks
from dataflows.operators.profile import Late
from dataflows.settings import Settings
from dataflows.sinks.exactly_once import ExactlyOnceSink
from dataflows.sinks.kafka import KafkaSink, Outgoing
from dataflows.sinks.memory import NullSink
from detectors.features.catalogue import NAMES
from detectors.features.signals import key_of
from detectors.items import Outcome
from detectors.lane import News, Publication
from detectors.served import Served, ServedBatch
from schemas.encoder import Encoder
from schemas.records import ChatMessage, Reject, RiskEvent

X = TypeVar("X")


class EncodedSink(DynamicSink[X], Generic[X]):
    """A Kafka sink for items of our own: each becomes any number of outgoing messages."""

    def __init__(self, sink: KafkaSink, encode: Callable[[X], Iterable[Outgoing]]) -> None:
        self._sink, self._encode = sink, encode

    def build(self, step_id: str, worker_index: int, worker_count: int) -> StatelessSinkPartition[X]:
        """A part for one worker."""
        return _EncodedPart(self._sink.build(step_id, worker_index, worker_count), self._encode)


class _EncodedPart(StatelessSinkPartition[X]):
    def __init__(self, part: StatelessSinkPartition[Outgoing], encode: Callable[[X], Iterable[Outgoing]]) -> None:
        self._part, self._encode = part, encode

    def write_batch(self, items: list[X]) -> None:
        encode = self._encode
        self._part.write_batch([outgoing for item in items for outgoing in encode(item)])

    def close(self) -> None:
        self._part.close()


def kafka_sinks(settings: Settings) -> Sinks:
    """Where a live run's streams go."""
    topics, registry = settings.topics, settings.registry

    def sink(topic: str) -> KafkaSink:
        return KafkaSink(settings.kafka, topic)

    def encoder(subject: str, topic: str) -> Encoder:
        return Encoder(subject, registry, registered_as=f"{topic}-value")

    risk, row, version, reject = (
        encoder("risk_event", topics.risk_events),
        encoder("feature_row", topics.risk_features),
        encoder("model_version", topics.risk_models),
        encoder("reject", topics.dead_letters),
    )
    late_chat = Encoder("chat_message", registry, registered_as=f"{topics.late}-chat_message")
    late_moderation = Encoder("moderation_event", registry, registered_as=f"{topics.late}-moderation_event")
    sampled = int(settings.run.feature_sample * 2**20)

    def encode_publication(item: Publication) -> Outgoing:
        event = item.event
        value = risk.encode(event) if isinstance(event, RiskEvent) else None
        # dated by when it is written: compaction goes by record timestamps, and would take a past year's event at once
        return Outgoing(_key(event.user_id), value, None)

    def encode_served(batch: ServedBatch) -> Iterable[Outgoing]:
        chosen = [key_of(point.user_id) % 2**20 < sampled for point in batch.points]
        if any(chosen):
            for served in compress(batch, chosen):
                yield Outgoing(_key(served.point.user_id), row.encode_data(feature_row(served)), None)

    def encode_news(news: News) -> Iterable[Outgoing]:
        for published in news.published:
            yield Outgoing(_key(published.version.name), version.encode(published.version), None)

    def encode_reject(item: Reject) -> Iterable[Outgoing]:
        yield Outgoing(item.key or b"", reject.encode(item), None)

    def encode_late(item: Late) -> Iterable[Outgoing]:
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
        ),
        features=EncodedSink(sink(topics.risk_features), encode_served),
        models=EncodedSink(sink(topics.risk_models), encode_news),
        rejects=EncodedSink(sink(topics.dead_letters), encode_reject),
        late=EncodedSink(sink(topics.late), encode_late),
        outcomes=NullSink[Outcome](),
    )


def identity(item: Publication) -> str:
    """What a publication is told from others by: a risk event's own id; for a tombstone, one made of its trigger."""
    event, at = item.event, item.at
    if isinstance(event, RiskEvent):
        return event.risk_event_id
    text = f"{event.user_id}\0{at.topic}\0{at.partition}\0{at.offset}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def feature_row(served: Served) -> dict[str, Any]:
    """A served point as the fields of the `FeatureRow` that is published; valid by the way it was made."""
    point = served.point
    # value == value is false only for NaN, which stands for absent
    features = {n: (v if v == v else None) for n, v in zip(NAMES, point.vector, strict=True)}  # noqa: PLR0124
    return {
        "user_id": point.user_id,
        "as_of": point.as_of,
        "event_id": point.event_id,
        "score": served.probability,
        "insufficient_history": served.probability is None,
        "tier": served.tier,
        "model_version": served.model_version,
        "features": features,
    }


def _key(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
