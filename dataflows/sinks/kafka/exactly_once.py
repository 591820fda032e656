"""The risk sink: whatever is killed and whenever, each id is on the topic once.

A writer holds the deployment's transactional id, so that Kafka refuses an earlier writer from that moment on. It
snapshots how far it has written each output partition. When it is built again it first takes the transactional id,
then reads back what was written since the snapshot, and leaves out what the flow then gives it a second time. Without
a snapshot it reads the whole topic back, so that not even a new recovery directory doubles a warning. Where compaction
has removed what the flow gives again, its id is not there to be left out. So of each key that was read back the newest
record is remembered, and nothing older is written behind it (`dataflows.sinks.kafka.newest`).

All risk events of a deployment go through one writer: they are few, and one transaction then carries all that a
cluster of processes has to say. It is committed on a thread of its own while the flow goes on: a snapshot waits for it,
and so does the next batch.
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
from dataflows.sinks.kafka.transactions import Draft, Transactions
from dataflows.sources.kafka.to_end import read_to_end

log = logging.getLogger(__name__)

X = TypeVar("X")

ID = "id"
"""The header that every record of the topic carries: what it is told from others by."""
WRITER = "writer"
"""The one part of the sink."""
MOST_IDS = 10_000
"""More ids than this, read back and not yet given again, are not snapshot but read back once more."""

STATE_VERSION = 2
"""Version of a state. Version 1 had no more than positions and ids."""


class State(NamedTuple):
    """Where the writer goes on, as plain data.

    From `since` each output partition is read back, but for the stretches `given`, which the flow has given already.
    `ids` from before are still to be left out, and `newest` of before is what nothing older is to be written behind.
    `topic_id` is the topic's, empty if unknown: in another topic the offsets mean nothing.
    """

    version: int
    since: dict[int, int]
    ids: list[str]
    given: Mapping[int, Sequence[tuple[int, int]]] = MappingProxyType({})
    newest: Sequence[tuple[bytes, bytes, str]] = ()
    topic_id: str = ""


Plain = tuple[Any, ...]
"""A state as a snapshot holds it."""


LeftOut = Literal["repeated", "older"]
"""Why an item is not written: its id is on the topic, or something newer of its key is."""


class Placing(NamedTuple, Generic[X]):
    """When items and records came about; None of a record that says nothing of it."""

    of_item: Callable[[X], Order]
    of_record: Callable[[Message], Order | None]


class How(NamedTuple, Generic[X]):
    """How a writer treats its items: see `ExactlyOnceSink`."""

    identify: Callable[[X], str]
    encode: Callable[[X], Outgoing]
    placing: Placing[X] | None
    on_left_out: Callable[[LeftOut], None] | None


class ExactlyOnceSink(FixedPartitionedSink[X, Plain], Generic[X]):
    """Writes keyed items to one topic, each id once, through the one writer that holds `transactional_id`.

    `identify` gives an item's id: the same for the same item in every life of the flow. `encode` makes the message.
    With a `placing`, nothing is written that is older than what the topic holds of its key. `topic_id` gives the id of
    the topic, `on_left_out` is told of every item that is not written.

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
        *,
        placing: Placing[X] | None = None,
        topic_id: Callable[[], str] = str,
        on_left_out: Callable[[LeftOut], None] | None = None,
    ) -> None:
        self._kafka, self._topic, self._transactional_id = kafka, topic, transactional_id
        self._how = How(identify, encode, placing, on_left_out)
        self._topic_id = topic_id

    def list_parts(self) -> list[str]:
        """The one writer."""
        return [WRITER]

    def build_part(self, step_id: str, for_part: str, resume_state: Plain | None) -> Writer[X]:
        """The writer, after it has fenced out any other and read back what was written since `resume_state`."""
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
    """The one writer of a topic."""

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
        self._open: Future[dict[tuple[str, int], int]] | None = None  # the batch that is being written
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
        """Take in a record that is on the topic, unless the flow had given it before it left off."""
        offset = message.offset() or 0
        if any(begin <= offset < end for begin, end in self._state.given.get(message.partition() or 0, ())):
            return
        placing, key = self._how.placing, message.key()
        for name in _id_of(message):
            self._written.add(name)
            if placing is not None and isinstance(key, bytes) and (order := placing.of_record(message)) is not None:
                self._newest.read(key, name, order)

    def write_batch(self, items: list[X]) -> None:
        """Begin to write every item that the topic lacks, all of them or none, after those before them.

        Raises:
            BrokerError: what became of those before, if they were not taken.
        """
        batch = []
        for item in items:
            name = self._how.identify(item)
            message = self._how.encode(item)
            if name in self._written:
                self._written.remove(name)
                self._newest.passes(message.key, name)
                self._leave_out("repeated")
            elif self._is_older(item, message):
                self._leave_out("older")
            else:
                headers = [*message.headers, (ID, name.encode())]
                batch.append(Draft(self._topic, message.value, message.key, headers, timestamp=message.timestamp or 0))
        if batch:
            self.settle()
            self._open = self._thread.submit(self._transactions.write, batch)

    def _is_older(self, item: X, message: Outgoing) -> bool:
        """Return whether the topic holds something newer of the item's key.

        A tombstone erases somebody. A flow that goes on from a snapshot may give one that never came to be written, so
        it is left out only by a flow that began anew.
        """
        placing, key = self._how.placing, message.key
        if message.value is None and self._resumed:
            return False
        return placing is not None and key in self._newest and self._newest.is_older(key, placing.of_item(item))

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
        if self._older:
            log.info("%d records were older than what topic %s holds, and were left out.", self._older, self._topic)

    def snapshot(self) -> Plain:
        """Return from where to read back, and what of earlier is still to be left out.

        What was read back and has not been given again yet is given by a later life of the flow if this one ends now.
        Where that is much, the snapshot says only where it is read back once more.

        Raises:
            BrokerError: if what was given was not taken.
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
    """The id a record carries; none where somebody else wrote it."""
    headers: Any = message.headers() or ()
    return [value.decode() for key, value in headers if key == ID and isinstance(value, bytes)]
