"""The risk sink: whatever is killed and whenever, each id is on the topic once.

A writer holds the deployment's transactional id, so that Kafka refuses an earlier writer from that moment on. It
snapshots how far it has written each output partition. When it is built again it first takes the transactional id,
then reads back what was written since the snapshot, and leaves out what the flow then gives it a second time. Without
a snapshot it reads the whole topic back, so that not even a new recovery directory doubles a warning.

All risk events of a deployment go through one writer: they are few, and one transaction then carries all that a
cluster of processes has to say. It is committed on a thread of its own while the flow goes on: a snapshot waits for it,
and so does the next batch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Generic, TypeVar

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from confluent_kafka import OFFSET_BEGINNING, Message

from dataflows.recovery_lock import StoreError
from dataflows.settings import KafkaSettings
from dataflows.sinks.kafka import GRACE_MS, Outgoing, not_taken
from dataflows.sinks.transactions import Draft, Transactions
from dataflows.sources.to_end import read_to_end
from dataflows.topics import existing_partitions

log = logging.getLogger(__name__)

X = TypeVar("X")

ID = "id"
"""The header that every record of the topic carries: what it is told from others by."""
WRITER = "writer"
"""The one part of the sink."""
MOST_IDS = 10_000
"""More ids than this, read back and not yet given again, are not snapshot but read back once more."""

State = tuple[int, dict[int, int], list[str]]
"""Format 1: the offset from which to read each output partition back, and ids from before still to be left out."""


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
            raise StoreError(
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
        partitions = existing_partitions(kafka, [topic])[topic]
        self._transactions = Transactions(
            kafka,
            transactional_id,
            patience_ms=kafka.delivery_timeout_ms,
            lease_ms=kafka.delivery_timeout_ms + GRACE_MS,
            fenced=(
                f"Another instance of this deployment (kafka.group_id of {transactional_id}) now writes {topic}, so "
                "this one stops; it has doubled nothing. Run one instance per group_id, or give this one its own."
            ),
            failed=partial(not_taken, kafka, topic),
        )
        self._thread = ThreadPoolExecutor(1, f"write-{topic}")
        self._open: Future[dict[tuple[str, int], int]] | None = None  # the batch that is being written
        self._positions: dict[int, int] = {}
        self._written = set(self._waiting)
        starts = {partition: self._since.get(partition, OFFSET_BEGINNING) for partition in range(partitions)}
        for message in read_to_end(kafka, topic, starts, kafka.delivery_timeout_ms, self._positions):
            self._written.update(_id_of(message))
        if self._since and self._written:
            log.info("%d messages were written after the last snapshot; they are not repeated.", len(self._written))

    def write_batch(self, items: list[X]) -> None:
        """Begin to write every item that the broker did not have yet, all of them or none, after those before them.

        Raises:
            BrokerError: what became of those before, if they were not taken.
        """
        batch = []
        for item in items:
            name = self._identify(item)
            if name in self._written:
                self._written.remove(name)
            else:
                message = self._encode(item)
                headers = [*message.headers, (ID, name.encode())]
                batch.append(Draft(self._topic, message.value, message.key, headers, timestamp=message.timestamp or 0))
        if batch:
            self.settle()
            self._open = self._thread.submit(self._transactions.write, batch)

    def settle(self) -> None:
        """Return when the broker has everything that was given.

        Raises:
            BrokerError: if it did not take it; told once.
        """
        if self._open is not None:
            written, self._open = self._open, None
            for (_, partition), offset in written.result().items():
                self._positions[partition] = max(self._positions.get(partition, 0), offset)

    def close(self) -> None:
        """Leave nothing under way.

        Where the flow has ended, the last snapshot has said what became of it; where it failed, the engine closes while
        it is still unwinding, and a second error would abort the process.
        """
        self._thread.shutdown()

    def snapshot(self) -> State:
        """From where to read back, and what of earlier is still to be left out.

        What was read back and has not been given again yet is given by a later life of the flow if this one ends now.

        Raises:
            BrokerError: if what was given was not taken.
        """
        self.settle()
        if len(self._written) > MOST_IDS:
            return 1, dict(self._since), sorted(self._written.intersection(self._waiting))
        return 1, dict(self._positions), sorted(self._written)


def _id_of(message: Message) -> list[str]:
    """The id a record carries; none where somebody else wrote it."""
    headers: Any = message.headers() or ()
    return [value.decode() for key, value in headers if key == ID and isinstance(value, bytes)]
