"""The risk sink: each id is on the topic exactly once, even if processes are killed at any time.

A writer holds the deployment's transactional id, so that Kafka rejects an earlier writer from then on. Its snapshot
contains the position that it has reached in each output partition. When it is built again, it takes the transactional
id, reads back the records written since the snapshot, and skips those that the flow then produces a second time.
Without a snapshot it reads back the whole topic, so that even a new recovery directory duplicates no warning. If
compaction has removed a record that the flow produces again, its id is missing on the topic. The newest record of each
key that was read back is therefore stored, and nothing older is written after it (`dataflows.sinks.kafka.newest`).

All risk events of a deployment go through one writer: they are few, and one transaction then carries the output of all
processes of a cluster. It is committed on a thread of its own while the flow continues: a snapshot waits for the
commit, and so does the next batch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import MappingProxyType
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from confluent_kafka import OFFSET_BEGINNING, Message

from dataflows.config.settings import KafkaSettings
from dataflows.kafka.topics import existing_partitions
from dataflows.recovery.lock import StoreError
from dataflows.sinks.kafka.newest import Newest, Order
from dataflows.sinks.kafka.producer import GRACE_MS, Outgoing, not_taken
from dataflows.sinks.kafka.transactions import Transactions
from dataflows.sources.kafka.to_end import read_to_end

log = logging.getLogger(__name__)

X = TypeVar("X")

ID = "id"
"""The header of every record of the topic that contains its unique id."""
WRITER = "writer"
"""Name of the sink's only part."""
MOST_IDS = 10_000
"""Above this number of ids and keys not yet produced again, a snapshot has them read back instead of storing them."""

STATE_VERSION = 2
"""Version of a state. Version 1 had only positions and ids."""


class State(NamedTuple):
    """The writer's resume state, as plain data.

    Each output partition is read back from `since`, except the offset ranges in `given`, which the flow produced before
    the snapshot. `ids` are earlier ids that must still be skipped. `newest` are earlier newest records, after which
    nothing older may be written. `topic_id` is the topic's id, empty if unknown: offsets are meaningless in another
    topic.
    """

    version: int
    since: dict[int, int]
    ids: list[str]
    given: Mapping[int, Sequence[tuple[int, int]]] = MappingProxyType({})
    newest: Sequence[tuple[bytes, bytes, str]] = ()
    topic_id: str = ""


Plain = tuple[Any, ...]
"""A state in the form that a snapshot contains."""


LeftOut = Literal["repeated", "older"]
"""The reason why an item is not written: its id is on the topic, or a newer record of its key is."""


class Placing(NamedTuple, Generic[X]):
    """Functions for the order of items and of records; None for a record without order information."""

    of_item: Callable[[X], Order]
    of_record: Callable[[Message], Order | None]


class How(NamedTuple, Generic[X]):
    """Functions by which a writer handles its items: see `ExactlyOnceSink`."""

    identify: Callable[[X], str]
    encode: Callable[[X], Outgoing]
    placing: Placing[X] | None
    on_left_out: Callable[[LeftOut], None] | None


class ExactlyOnceSink(FixedPartitionedSink[X, Plain], Generic[X]):
    """Sink that writes keyed items to one topic, each id once, through the one writer that holds `transactional_id`.

    `identify` returns an item's id, which must be the same in every life of the flow. `encode` returns the message.
    With a `placing`, no item is written that is older than the topic's newest record of its key. `topic_id` returns the
    topic's id. `on_left_out` is called for every item that is not written.

    Raises:
        BrokerError: if the topic is missing or Kafka does not answer when the flow is built.
        FencedOutError: if another instance took over.
        DeliveryFailed: if a batch did not arrive.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        topic: str,
        transactional_id: str,
        identify: Callable[[X], str],
        encode: Callable[[X], Outgoing],
        *,
        placing: Placing[X] | None = None,
        topic_id: Callable[[], str] = str,
        on_left_out: Callable[[LeftOut], None] | None = None,
    ) -> None:
        self._kafka, self._topic, self._transactional_id = kafka, topic, transactional_id
        self._how = How(identify, encode, placing, on_left_out)
        self._topic_id = topic_id

    def list_parts(self) -> list[str]:
        """Return the name of the only writer."""
        return [WRITER]

    def build_part(self, step_id: str, for_part: str, resume_state: Plain | None) -> Writer[X]:
        """Return the writer, after it has fenced out any other and read back the records since `resume_state`.

        Raises:
            StoreError: if the version of `resume_state` is unknown.
        """
        del step_id, for_part
        if resume_state is not None and not 1 <= resume_state[0] <= STATE_VERSION:
            raise StoreError(
                f"The recovery store holds output positions of format {resume_state[0]}: run the version that wrote it."
            )
        state, topic_id = State(*(resume_state or (STATE_VERSION, {}, []))), self._topic_id()
        if state.topic_id and topic_id and state.topic_id != topic_id:
            log.warning("Topic %s was made anew: it is read back from its beginning.", self._topic)
            state = State(STATE_VERSION, {}, [])
        return Writer(
            self._kafka,
            self._topic,
            self._transactional_id,
            state,
            self._how,
            resumed=resume_state is not None,
            topic_id=topic_id or state.topic_id,
        )


class Writer(StatefulSinkPartition[X, Plain], Generic[X]):
    """The only writer of a topic."""

    def __init__(
        self,
        kafka: KafkaSettings,
        topic: str,
        transactional_id: str,
        state: State,
        how: How[X],
        *,
        resumed: bool,
        topic_id: str,
    ) -> None:
        self._topic, self._how, self._topic_id = topic, how, topic_id
        self._state, self._resumed = state, resumed
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
        self._open: Future[dict[tuple[str, int], int]] | None = None  # the batch being written
        self._positions: dict[int, int] = {}
        self._written, self._newest = set(state.ids), Newest(state.newest)
        self._older = 0
        starts = {partition: state.since.get(partition, OFFSET_BEGINNING) for partition in range(partitions)}
        for message in read_to_end(kafka, topic, starts, kafka.delivery_timeout_ms, self._positions):
            self._read_back(message)
        self._ends = dict(self._positions)
        if state.since and self._written:
            log.info("%d messages were written after the last snapshot; they are not repeated.", len(self._written))

    def _read_back(self, message: Message) -> None:
        """Store the id and order of a record on the topic, unless the flow produced it before the snapshot."""
        offset = message.offset() or 0
        if any(begin <= offset < end for begin, end in self._state.given.get(message.partition() or 0, ())):
            return
        placing, key = self._how.placing, message.key()
        for name in _id_of(message):
            self._written.add(name)
            if placing is not None and isinstance(key, bytes) and (order := placing.of_record(message)) is not None:
                self._newest.read(key, name, order)

    def write_batch(self, items: list[X]) -> None:
        """Start to write the items that the topic lacks, in one transaction, after the previous batch is written.

        Raises:
            BrokerError: if the previous batch was not written.
        """
        batch = []
        for item in items:
            name = self._how.identify(item)
            message = self._how.encode(item)
            if name in self._written:
                self._written.remove(name)
                if message.key is not None:
                    self._newest.passes(message.key, name)
                self._leave_out("repeated")
            elif self._is_older(item, message):
                self._leave_out("older")
            else:
                headers = (*message.headers, (ID, name.encode()))
                batch.append((self._topic, message._replace(headers=headers)))
        if batch:
            self.settle()
            self._open = self._thread.submit(self._transactions.write, batch)

    def _is_older(self, item: X, message: Outgoing) -> bool:
        """Return whether the topic holds a newer record of the item's key.

        A tombstone erases a user. A flow that resumes from a snapshot may produce a tombstone that was never written,
        so only a flow that started without a snapshot skips tombstones.
        """
        placing, key = self._how.placing, message.key
        if placing is None or key is None or (message.value is None and self._resumed):
            return False
        return key in self._newest and self._newest.is_older(key, placing.of_item(item))

    def _leave_out(self, why: LeftOut) -> None:
        if self._how.on_left_out is not None:
            self._how.on_left_out(why)
        if why == "older":
            if not self._older:
                log.warning(
                    "Topic %s holds newer records of some users than this flow gives, which began further back: older "
                    "ones are left out, and counted as left_out.",
                    self._topic,
                )
            self._older += 1

    def settle(self) -> None:
        """Wait until the broker has all items.

        Raises:
            BrokerError: if the items were not written; raised once.
        """
        if self._open is not None:
            written, self._open = self._open, None
            for (_, partition), offset in written.result().items():
                self._positions[partition] = max(self._positions.get(partition, 0), offset)

    def close(self) -> None:
        """Wait for the batch in flight, without raising its error.

        If the flow has ended, the last snapshot has raised any error. If the flow failed, the engine closes the writer
        while it is still unwinding, and a second error would abort the process.
        """
        self._thread.shutdown()
        if self._older:
            log.info("%d records were older than what topic %s holds, and were left out.", self._older, self._topic)

    def snapshot(self) -> Plain:
        """Return the positions to read back from, and the earlier entries that must still be skipped.

        Records that were read back and not yet produced again are produced by a later life of the flow if this one ends
        now. If these are more than `MOST_IDS`, the snapshot contains only the positions to read them back from once
        more.

        Raises:
            BrokerError: if the items before it were not written.
        """
        self.settle()
        before, since, ids, given = self._state, self._positions, self._written, {}
        if len(ids) + len(self._newest) <= MOST_IDS:
            newest = self._newest.state()
        else:
            since, ids = before.since, ids.intersection(before.ids)
            newest = [entry for entry in before.newest if entry[0] in self._newest]
            given = {
                partition: [*before.given.get(partition, ()), (self._ends.get(partition, 0), end)]
                for partition, end in self._positions.items()
            }
        return tuple(State(STATE_VERSION, dict(since), sorted(ids), given, newest, self._topic_id))


def _id_of(message: Message) -> list[str]:
    """Return the id that a record carries; an empty list if another program wrote the record."""
    headers: Any = message.headers() or ()
    return [value.decode() for key, value in headers if key == ID and isinstance(value, bytes)]
