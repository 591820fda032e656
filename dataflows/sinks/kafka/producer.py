"""The live sink: the broker confirms every message before its epoch ends, or the flow stops with an error."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, NamedTuple

from bytewax.outputs import DynamicSink, StatelessSinkPartition
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from dataflows.config.settings import KafkaSettings, kafka_client_config
from dataflows.kafka.broker_errors import DENIED, BrokerError
from dataflows.kafka.connection import CONNECTION
from dataflows.kafka.topics import existing_partitions
from dataflows.runtime.clock import monotonic_ms

GRACE_MS = 10_000
"""Time that librdkafka may take to report on a message after its own time-out (ms)."""
WAIT_SECONDS = 0.5
"""Duration of one wait for delivery reports (s), so that signals are handled in between."""


class Outgoing(NamedTuple):
    """A message to write; no value is a tombstone.

    `timestamp` is the record's (ms), None for the time of writing. A negative `partition` is that of the key.
    """

    key: bytes | None
    value: bytes | None
    timestamp: int | None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int = -1


class DeliveryFailed(BrokerError):  # noqa: N818 - it is what happened
    """Messages are not, or not certainly, on the broker; the error states number, reason and remedy."""


class DeliveryRefused(DeliveryFailed):
    """The broker rejects the messages, and will reject them again until the cause is fixed."""

    transient: ClassVar[bool] = False


class MessageTooLarge(DeliveryRefused):
    """A message exceeds the size limit of its topic."""


REFUSED = DENIED | {
    KafkaError.INVALID_RECORD,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - the name of the public constant
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    KafkaError.POLICY_VIOLATION,
}
"""Error codes of a permanently rejected message."""
TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
"""Error codes of a message above the size limit."""


def delivery_error(code: int | None) -> type[DeliveryFailed]:
    """Return the error class for a message that was not written; `code` is Kafka's error code, None without one."""
    return MessageTooLarge if code in TOO_LARGE else DeliveryRefused if code in REFUSED else DeliveryFailed


def not_taken(kafka: KafkaSettings, topic: str, messages: int, why: str, code: int | None = None) -> DeliveryFailed:
    """Return the error for messages that a topic did not take, with the remedy; `code` is Kafka's, None without one."""
    return delivery_error(code)(
        f"Topic {topic} did not take {messages} messages ({why}): check that Kafka runs at {kafka.bootstrap_servers} "
        "with room on its disks, "
        "that this user may write, and that the topic's max.message.bytes has room, then start again; nothing is "
        "skipped."
    )


RELIABLE: dict[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    # With several requests in flight, a partition that gets its leader between the first and the second request takes
    # the second as the start of the sequence. It then treats the retried first request as a duplicate: the request is
    # acknowledged but not stored. Seen on Kafka 4.1, on newly created topics.
    "max.in.flight.requests.per.connection": 1,
    "partitioner": "murmur2_random",
}
"""Settings that delivery guarantees need, over any user setting: once each, in order, partitioned as by JVM clients."""


def producer_config(kafka: KafkaSettings) -> dict[str, Any]:
    """Return the configuration that every producer of the flow is built from."""
    return {
        "compression.type": "lz4",
        **kafka_client_config(kafka),
        **RELIABLE,
        "message.timeout.ms": kafka.delivery_timeout_ms,
        "message.max.bytes": 100_000_000,  # the topic's own limit decides, not this client's lower default
    }


class CheckedProducer:
    """Producer for one topic that verifies the delivery of every message.

    It is idempotent (the broker drops what a retry repeats) and waits for all replicas; keys map to the partitions that
    a JVM producer would choose. The client reports each message that failed, and counts the messages without an answer:
    if none failed and none is left, the broker has them all. A callback for each delivered message would cost as much
    as handing it over (`pytest tests/kafka/test_sink.py`). While no call waits, messages are batched for `linger_ms`;
    None leaves that to the client. Use it from one thread.
    """

    def __init__(self, kafka: KafkaSettings, topic: str, linger_ms: int | None = None) -> None:
        existing_partitions(kafka, [topic])
        self._kafka, self._topic = kafka, topic
        self._failures = failures = list[KafkaError]()

        def on_delivery(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                failures.append(error)

        reports = {"delivery.report.only.error": True, "on_delivery": on_delivery, "error_cb": CONNECTION.on_error}
        batching = {} if linger_ms is None else {"linger.ms": linger_ms}
        self._producer = Producer({**batching, **producer_config(kafka), **reports})

    def send(self, messages: Iterable[Outgoing]) -> None:
        """Write the messages and wait until the broker has them all.

        Raises:
            DeliveryFailed: if it rejected one or gave no answer in `delivery_timeout_ms`; some may have arrived.
        """
        self.hand_over(messages)
        self.settle()

    def hand_over(self, messages: Iterable[Outgoing]) -> None:
        """Start to write the messages.

        Raises:
            DeliveryFailed: if the client or the broker rejected one of them, or one that was handed over before.
        """
        deadline = monotonic_ms() + self._kafka.delivery_timeout_ms + GRACE_MS
        produce, topic = self._producer.produce, self._topic
        for message in messages:
            key, value, timestamp, headers, partition = message
            try:
                if timestamp is None and not headers and partition < 0:  # fewer arguments take half the time
                    produce(topic, value, key)
                else:
                    produce(topic, value, key, partition, timestamp=timestamp or 0, headers=[*headers])
            except BufferError:
                self._produce(message, deadline)
            except KafkaException as error:
                raise self._refused(error) from None
        self._producer.poll(0)
        if self._failures:
            raise self._failure()

    def settle(self) -> None:
        """Wait until the broker has all messages.

        Raises:
            DeliveryFailed: if it rejected one or gave no answer in `delivery_timeout_ms`.
        """
        deadline = monotonic_ms() + self._kafka.delivery_timeout_ms + GRACE_MS
        open_ = begun = len(self._producer)
        while open_ and monotonic_ms() < deadline:
            open_ = self._producer.flush(WAIT_SECONDS)
        if self._failures or open_:
            raise self._failure()
        if begun:
            CONNECTION.heard()

    @property
    def failed(self) -> bool:
        """Return whether a message failed; the producer is then of no further use."""
        return bool(self._failures)

    def close(self) -> None:
        """Wait for all messages in flight, and raise if one of them fails.

        After a failure it does nothing: the engine closes a failed sink while it is still unwinding, and a second error
        would then abort the process.

        Raises:
            DeliveryFailed: as by `settle`.
        """
        if not self._failures:
            self.settle()

    def _produce(self, message: Outgoing, deadline: int) -> None:
        """Write a message for which the client's queue is full; delivery reports free room."""
        key, value, timestamp, headers, partition = message
        while True:
            if monotonic_ms() > deadline:
                raise self._failure()
            self._producer.poll(WAIT_SECONDS)
            try:
                self._producer.produce(self._topic, value, key, partition, timestamp=timestamp or 0, headers=[*headers])
            except BufferError:
                continue
            except KafkaException as error:
                raise self._refused(error) from None
            return

    def _refused(self, error: KafkaException) -> DeliveryFailed:
        self._failures.append(error.args[0])
        return self._failure()

    def _failure(self) -> DeliveryFailed:
        unanswered = len(self._producer)
        error = self._failures[-1] if self._failures else KafkaError(KafkaError._MSG_TIMED_OUT)  # noqa: SLF001
        why = error.str() if self._failures else f"no answer within {self._kafka.delivery_timeout_ms} ms"
        lost = len(self._failures) + unanswered
        self._producer.purge()  # nothing may arrive after it was reported as lost
        if not self._failures:
            self._failures.append(error)
        return not_taken(self._kafka, self._topic, lost, why, error.code())


class KafkaSink(DynamicSink[Outgoing]):
    """Sink that writes to one topic, with one producer per worker; a batch is done when the broker has all of it.

    Any error ends the flow, which then resumes from its last snapshot.

    Raises:
        BrokerError: if the topic is missing or Kafka does not answer when the flow is built.
        DeliveryFailed: if a message may not have arrived.
    """

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        self._kafka, self._topic = kafka, topic

    def build(self, step_id: str, worker_index: int, worker_count: int) -> KafkaSinkPartition:
        """Return the part of this worker, with a producer of its own."""
        del step_id, worker_index, worker_count
        return KafkaSinkPartition(CheckedProducer(self._kafka, self._topic))


class KafkaSinkPartition(StatelessSinkPartition[Outgoing]):
    """One worker's writer."""

    def __init__(self, producer: CheckedProducer) -> None:
        self._producer = producer

    def write_batch(self, items: list[Outgoing]) -> None:
        """Write all items, and return when the broker has them."""
        self._producer.send(items)

    def close(self) -> None:
        """Wait for all messages in flight."""
        self._producer.close()
