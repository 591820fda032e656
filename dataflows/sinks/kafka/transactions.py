"""Atomic writes of batches by the single holder of a transactional id: the basis of exactly-once writing.

Initialisation takes the id: from then on Kafka rejects the previous holder, and a batch that it left open is aborted.
Readers of committed records see a batch once all of it is there.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import ClassVar

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from dataflows.config.settings import KafkaSettings
from dataflows.kafka.broker_errors import BrokerError, away_or_denied
from dataflows.kafka.connection import CONNECTION
from dataflows.runtime.clock import monotonic_ms
from dataflows.sinks.kafka.producer import DeliveryFailed, Outgoing, producer_config

TRY_SECONDS = 5.0
"""Time that one call of the client may block (s), so that signals are handled in between."""

FENCED = frozenset(
    {
        KafkaError._FENCED,  # noqa: SLF001 - the name of the public constant
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
"""Error codes of a message that the broker rejects on every attempt."""


class FencedOutError(BrokerError):
    """Another instance of this deployment has taken over; nothing of this batch was written here."""

    transient: ClassVar[bool] = False


class LeaseExpired(BrokerError):  # noqa: N818 - it is what happened
    """This process stalled for longer than Kafka keeps a transaction open; nothing of this batch was written."""


class Transactions:
    """Holder of a transactional id, with which it writes. One thread at a time may use it.

    `patience_ms` is the time limit of a batch; `lease_ms` is how long Kafka keeps a transaction open for a holder that
    died. `fenced` is the error sentence if another instance took over. `failed` makes the error for a batch that was
    not written, from its size, the reason and Kafka's error code.

    Raises:
        BrokerError: if the id cannot be taken.
        FencedOutError: if another instance holds the id.
        LeaseExpired: if this process stalled for too long.
        DeliveryFailed: made by `failed`, if a batch was not written.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        transactional_id: str,
        *,
        patience_ms: int,
        lease_ms: int,
        fenced: str,
        failed: Callable[[int, str, int | None], DeliveryFailed],
    ) -> None:
        self._patience_ms, self._lease_ms, self._sentence, self._failed = patience_ms, lease_ms, fenced, failed
        self._id, self._begun = transactional_id, time.monotonic()
        self._refusal: KafkaError | None = None
        config = {
            **producer_config(kafka),
            "transactional.id": transactional_id,
            "message.timeout.ms": patience_ms,
            "transaction.timeout.ms": lease_ms,
            "error_cb": CONNECTION.on_error,
        }
        self._producer = Producer(config)
        try:
            self._insist(self._producer.init_transactions, monotonic_ms() + patience_ms)
        except KafkaException as error:
            raise away_or_denied(error.args[0])(
                f"{transactional_id} cannot be taken as transactional id ({error.args[0].str()}): check that Kafka "
                f"runs at {kafka.bootstrap_servers} and that this user may write transactions."
            ) from None

    def write(self, batch: Sequence[tuple[str, Outgoing]]) -> dict[tuple[str, int], int]:
        """Write a batch, each message to its topic; return the offset after the last record of each partition.

        It returns when the broker has all of the batch. A transaction that fails transiently is aborted and retried.
        """
        deadline = monotonic_ms() + self._patience_ms
        while True:
            reached: dict[tuple[str, int], int] = {}
            self._refusal = None
            try:
                self._begun = time.monotonic()
                self._producer.begin_transaction()
                for topic, message in batch:
                    self._produce(topic, message, reached)
                self._insist(self._producer.commit_transaction, deadline)
            except (KafkaException, SystemError) as error:
                # the client raises SystemError if a fatal error meets a delivery report; the abort raises the cause
                self._undo(error.args[0] if isinstance(error, KafkaException) else None, len(batch), deadline)
            except BaseException:  # an interrupt: readers must not wait until the lease ends
                with contextlib.suppress(KafkaException, FencedOutError, LeaseExpired):
                    self._insist(self._producer.abort_transaction, monotonic_ms())
                raise
            else:
                return reached

    def _produce(self, topic: str, message: Outgoing, reached: dict[tuple[str, int], int]) -> None:
        def on_delivery(error: KafkaError | None, record: Message) -> None:
            partition, offset = record.partition(), record.offset()
            if error is None and partition is not None and offset is not None and offset >= 0:
                place = (topic, partition)
                reached[place] = max(reached.get(place, 0), offset + 1)
            elif error is not None and error.code() in HOPELESS:
                self._refusal = error

        key, value, timestamp, headers, partition = message
        while True:
            try:
                self._producer.produce(
                    topic, value, key, partition, on_delivery=on_delivery, timestamp=timestamp or 0, headers=[*headers]
                )
            except BufferError:  # the queue is full: delivery reports free room
                self._producer.poll(0.5)
            else:
                return

    def _insist(self, call: Callable[[float], None], deadline: int) -> None:
        """Repeat a call of the transaction protocol until it succeeds, fails permanently or exceeds the deadline."""
        while True:
            try:
                call(TRY_SECONDS)
            except KafkaException as error:
                refusal: KafkaError = error.args[0]
                if refusal.code() in FENCED:
                    raise self._fenced() from None
                if not refusal.retriable() or monotonic_ms() > deadline:
                    raise
            else:
                CONNECTION.heard()
                return

    def _undo(self, why: KafkaError | None, messages: int, deadline: int) -> None:
        """Abort a transaction that failed; return if it may be retried, otherwise raise the error."""
        if why is not None and why.code() in FENCED:
            raise self._fenced()
        try:
            self._insist(self._producer.abort_transaction, deadline)
        except KafkaException as error:
            said: KafkaError = self._refusal or why or error.args[0]
            raise self._failed(messages, said.str(), said.code()) from None
        if self._refusal is not None:
            raise self._failed(messages, self._refusal.str(), self._refusal.code())
        if monotonic_ms() > deadline:
            raise self._failed(messages, "no answer", None)

    def _fenced(self) -> BrokerError:
        """Return the error for a transaction that this holder lost, by time-out or to another instance."""
        stood = time.monotonic() - self._begun
        if stood * 1_000 <= self._lease_ms:
            return FencedOutError(self._sentence)
        return LeaseExpired(
            f"A transaction of {self._id} was open for {stood:.0f} s, and Kafka undoes it after "
            f"{self._lease_ms / 1_000:g} s: this process, its machine or Kafka stood still. Start again; nothing is "
            "lost or doubled."
        )
