"""The risk sink: whatever is killed and whenever, each id is on the topic once.

A writer holds the deployment's transactional id, so that Kafka refuses an earlier writer from that moment on. It
snapshots how far it has written each output partition. When it is built again it first takes the transactional id,
then reads back what was written since the snapshot, and leaves out what the flow then gives it a second time. Without
a snapshot it reads the whole topic back, so that not even a new recovery directory doubles a warning.

All risk events of a deployment go through one writer: they are few, and one transaction then carries all that a
cluster of processes has to say.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, Message, Producer

from dataflows.clock import now_ms
from dataflows.settings import KafkaSettings
from dataflows.sinks.kafka import GRACE_MS, DeliveryFailed, Outage, Outgoing, not_taken, producer_config
from dataflows.sources.to_end import read_to_end
from dataflows.topics import BrokerError, existing_partitions

log = logging.getLogger(__name__)

X = TypeVar("X")

ID = "id"
"""The header that every record of the topic carries: what it is told from others by."""
WRITER = "writer"
"""The one part of the sink."""
_TRY_SECONDS = 5.0
"""How long one call of the client may block, so that signals are noticed in between."""

MOST_IDS = 10_000
"""More ids than this, read back and not yet given again, are not snapshot but read back once more."""

State = tuple[int, dict[int, int], list[str]]
"""Format 1: the offset from which to read each output partition back, and ids from before still to be left out."""

FENCED = frozenset(
    {
        KafkaError._FENCED,  # noqa: SLF001 - so is the public constant named
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
    }
)
HOPELESS = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
"""What the broker says of a message that it will not take however often it is asked."""


class FencedOutError(BrokerError):
    """Another instance of this deployment has taken over; nothing of this batch was written here."""


class ExactlyOnceSink(FixedPartitionedSink[X, State], Generic[X]):
    """Writes keyed items to one topic, each id once, through the one writer that holds `transactional_id`.

    `identify` gives an item's id: the same for the same item in every life of the flow. `encode` makes the message.

    Errors: `BrokerError` when the flow is built and the topic is missing or Kafka does not answer; `FencedOutError`
    when another instance took over; `DeliveryFailed` when a batch did not arrive.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        topic: str,
        transactional_id: str,
        identify: Callable[[X], str],
        encode: Callable[[X], Outgoing],
    ) -> None:
        self._kafka, self._topic, self._transactional_id = kafka, topic, transactional_id
        self._identify, self._encode = identify, encode

    def list_parts(self) -> list[str]:
        """The one writer."""
        return [WRITER]

    def build_part(self, step_id: str, for_part: str, resume_state: State | None) -> Writer[X]:
        """The writer, after it has fenced out any other and read back what was written since `resume_state`."""
        del step_id, for_part
        if resume_state is not None and resume_state[0] != 1:
            raise BrokerError(
                f"The recovery store holds output positions of format {resume_state[0]}: run the version that wrote it."
            )
        state: State = (1, {}, []) if resume_state is None else resume_state
        return Writer(self._kafka, self._topic, self._transactional_id, state, self._identify, self._encode)


class Writer(StatefulSinkPartition[X, State], Generic[X]):
    """The one writer of a topic."""

    def __init__(
        self,
        kafka: KafkaSettings,
        topic: str,
        transactional_id: str,
        state: State,
        identify: Callable[[X], str],
        encode: Callable[[X], Outgoing],
    ) -> None:
        self._kafka, self._topic = kafka, topic
        _, self._since, self._waiting = state
        self._identify, self._encode = identify, encode
        self._group = transactional_id
        partitions = existing_partitions(kafka, [topic])[topic]
        self._outage = Outage()
        self._producer = Producer(
            {
                **producer_config(kafka),
                "transactional.id": transactional_id,
                "transaction.timeout.ms": kafka.delivery_timeout_ms + GRACE_MS,
                "error_cb": self._outage.on_error,
            }
        )
        self._over = False
        self._refusal: KafkaError | None = None
        try:
            self._insist(self._producer.init_transactions)
        except KafkaException as error:
            self._over = True
            raise BrokerError(
                f"Topic {topic} cannot be written as {transactional_id} ({error.args[0].str()}): check that Kafka runs "
                f"at {kafka.bootstrap_servers} and that this user may write transactions."
            ) from None
        self._positions: dict[int, int] = {}
        self._written = set(self._waiting)
        starts = {partition: self._since.get(partition, OFFSET_BEGINNING) for partition in range(partitions)}
        for message in read_to_end(kafka, topic, starts, kafka.delivery_timeout_ms, self._positions):
            self._written.update(_id_of(message))
        if self._since and self._written:
            log.info("%d messages were written after the last snapshot; they are not repeated.", len(self._written))

    def write_batch(self, items: list[X]) -> None:
        """Return when the broker has every item that it did not have yet, all of them or none."""
        outgoing = []
        for item in items:
            name = self._identify(item)
            if name in self._written:
                self._written.remove(name)
            else:
                outgoing.append((name, self._encode(item)))
        if not outgoing:
            return
        deadline = now_ms() + self._kafka.delivery_timeout_ms
        while True:
            reached: dict[int, int] = {}
            self._refusal = None
            try:
                self._producer.begin_transaction()
                for name, message in outgoing:
                    self._produce(name, message, reached)
                self._insist(self._producer.commit_transaction, deadline)
            except (KafkaException, SystemError) as error:
                # the client raises SystemError where a fatal error meets a delivery callback; to abort says which it is
                self._abort(error.args[0] if isinstance(error, KafkaException) else None, len(outgoing), deadline)
            else:
                for partition, offset in reached.items():
                    self._positions[partition] = max(self._positions.get(partition, 0), offset)
                return

    def snapshot(self) -> State:
        """From where to read back, and what of earlier is still to be left out.

        What was read back and has not been given again yet is given by a later life of the flow if this one ends now.
        """
        if len(self._written) > MOST_IDS:
            return 1, dict(self._since), sorted(self._written.intersection(self._waiting))
        return 1, dict(self._positions), sorted(self._written)

    def close(self) -> None:
        """Nothing is open between batches.

        It raises nothing: after an error the engine closes while it is unwinding, and a second one aborts the process.
        """
        if not self._over:
            self._producer.flush(_TRY_SECONDS)

    def _produce(self, name: str, message: Outgoing, reached: dict[int, int]) -> None:
        def on_delivery(error: KafkaError | None, told: Message) -> None:
            partition, offset = told.partition(), told.offset()
            if error is None and partition is not None and offset is not None and offset >= 0:
                reached[partition] = max(reached.get(partition, 0), offset + 1)
            elif error is not None and error.code() in HOPELESS:
                self._refusal = error

        while True:
            try:
                self._producer.produce(
                    self._topic,
                    value=message.value,
                    key=message.key,
                    timestamp=message.timestamp or 0,
                    headers=[*message.headers, (ID, name.encode())],
                    on_delivery=on_delivery,
                )
            except BufferError:  # the queue is full: wait for answers, which make room
                self._producer.poll(0.5)
            else:
                return

    def _insist(self, call: Callable[[float], None], deadline: int | None = None) -> None:
        """Make a call of the transaction protocol until it is answered for good."""
        deadline = now_ms() + self._kafka.delivery_timeout_ms if deadline is None else deadline
        while True:
            try:
                call(_TRY_SECONDS)
            except KafkaException as error:
                refusal: KafkaError = error.args[0]
                if refusal.code() in FENCED:
                    self._over = True
                    raise self._fenced() from None
                if not refusal.retriable() or now_ms() > deadline:
                    raise
            else:
                self._outage.over()
                return

    def _abort(self, why: KafkaError | None, messages: int, deadline: int) -> None:
        """End a transaction that failed; return if it may be tried again, or say why not."""
        if why is not None:
            if why.code() in FENCED:
                self._over = True
                raise self._fenced()
            if why.fatal() or self._refusal is not None or now_ms() > deadline:
                self._over = True
                raise self._failed(self._refusal or why, messages)
        try:
            self._insist(self._producer.abort_transaction, deadline)
        except KafkaException as error:
            self._over = True
            raise self._failed(error.args[0], messages) from None

    def _fenced(self) -> FencedOutError:
        return FencedOutError(
            f"Another instance of this deployment (kafka.group_id of {self._group}) now writes {self._topic}, so this "
            "one stops; it has doubled nothing. Run one instance per group_id, or give this one its own."
        )

    def _failed(self, why: KafkaError, messages: int) -> DeliveryFailed:
        with contextlib.suppress(KafkaException):
            self._producer.purge()
        return not_taken(self._kafka, self._topic, messages, why.str())


def _id_of(message: Message) -> list[str]:
    """The id a record carries; none where somebody else wrote it."""
    headers: Any = message.headers() or ()
    return [value.decode() for key, value in headers if key == ID and isinstance(value, bytes)]
