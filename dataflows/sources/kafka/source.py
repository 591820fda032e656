"""The live source: chat and moderation of one partition number, merged by record time, with offsets in recovery.

Producers must use the event time as the record timestamp, and put a user's records into the same partition number of
both topics. Then a user's chat and sanctions reach the profile in order, even when catching up after downtime.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from bytewax.inputs import FixedPartitionedSource
from confluent_kafka import Consumer, KafkaException, TopicPartition

from dataflows.config.settings import KafkaSettings, TopicSettings, kafka_client_config
from dataflows.kafka.broker_errors import away_or_denied
from dataflows.kafka.topics import ANSWER_SECONDS, existing_partitions
from dataflows.runtime.clock import Steps, monotonic_ms
from dataflows.sources.kafka.partition import (
    STATE_VERSION,
    Input,
    MergedPartition,
    ReadOptions,
    ResumeState,
    cut,
    gone,
)
from dataflows.sources.kafka.rest import Rest
from dataflows.sources.kafka.watch import InputError, TopicWatch, made_anew
from schemas.records.base import CHAT, MODERATION, Raw, Subject

__all__ = ["InputError", "MergedKafkaSource", "MergedPartition", "ResumeState", "input_partitions"]

log = logging.getLogger(__name__)

FETCH_BYTES = 65_536
"""Bytes that the broker collects before it answers, for at most `poll_ms` or `FETCH_MS`, whichever is less."""
FETCH_MS = 100
"""Maximum wait (ms) for these bytes: an answer also reports a topic's end, which releases the other topic."""
READ_AHEAD = 10_000
"""Maximum number of records of one topic that are held while the other topic is waited for."""


def input_partitions(kafka: KafkaSettings, topics: TopicSettings) -> int:
    """Return the partition count of both input topics.

    Raises:
        InputError: if a topic is missing or the counts differ.
        BrokerError: if Kafka does not answer.
    """
    chat, moderation = topics.chat_messages, topics.moderation_events
    counts = existing_partitions(kafka, (chat, moderation), InputError)
    if counts[chat] != counts[moderation]:
        raise InputError(
            f"Topic {chat} has {counts[chat]} partitions and {moderation} has {counts[moderation]}, so that a user's "
            "chat and sanctions are not side by side: give both the same number and produce their records again."
        )
    return counts[chat]


class Resumed(NamedTuple):
    """The stored read position of one topic of a source partition; format 1 had no ids."""

    topic: str
    offset: int
    topic_id: str = ""


class MergedKafkaSource(FixedPartitionedSource[Raw, ResumeState]):
    """Both input topics; source partition p is partition p of each.

    The first start reads from the earliest record. With `stop_at_end` every partition ends at the end that the topics
    had when it was built. Once `stop` is set, every partition ends without reading on, and the recovery state is then
    exact. `poll_ms` is the time a partition waits after a small batch before it looks again. A record more than
    `skew_ms` ahead of the clock means that the record's time or the clock is wrong (see
    `dataflows.sources.kafka.slow_clock`). `watch` has the topics' ids and reports changes. `on_lead` is called with the
    topic and the lead (ms) of its latest record over the clock, `on_stall` with the time (ms) for which a partition
    stood still for a snapshot.

    Raises:
        InputError: when the flow is built, for a missing topic, unequal partition counts, offsets that no longer exist,
            or a resume state of other topics.
        BrokerError: when the flow is built, if Kafka does not answer.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        topics: TopicSettings,
        *,
        batch_size: int = 1_000,
        poll_ms: int = 20,
        stop_at_end: bool = False,
        stop: threading.Event | None = None,
        read_ahead: int = READ_AHEAD,
        skew_ms: int = 300_000,
        watch: TopicWatch | None = None,
        on_lead: Callable[[str, int], None] | None = None,
        on_stall: Callable[[int], None] | None = None,
    ) -> None:
        self._kafka, self._topics = kafka, topics
        self._stop_at_end = stop_at_end
        self._watch = watch
        most = kafka.queued_max_kbytes * 1_024
        self._pace = ReadOptions(
            batch_size, poll_ms, read_ahead, most, stop, Rest(), skew_ms, Steps(), watch, on_lead, on_stall
        )

    def list_parts(self) -> list[str]:
        """Return the partition numbers, padded so that the engine's sorting gives neighbours to different workers."""
        partitions = input_partitions(self._kafka, self._topics)
        if self._watch is not None:
            self._watch.reads(partitions)
            self._watch.look()
        return [f"{number:05d}" for number in range(partitions)]

    def build_part(self, step_id: str, for_part: str, resume_state: ResumeState | None) -> MergedPartition:
        """Return partition `for_part`, from its stored position or else from the earliest records."""
        del step_id
        partition = int(for_part)
        names = (self._topics.chat_messages, self._topics.moderation_events)
        starts, seq = self._resumed(resume_state, names)
        config = self._consumer_config()
        asking = Consumer(config)
        try:
            chat = self._input(asking, names[0], CHAT, partition, starts[0])
            moderation = self._input(asking, names[1], MODERATION, partition, starts[1])
        finally:
            asking.close()
        return MergedPartition(config, partition, chat, moderation, seq, self._pace)

    def _consumer_config(self) -> dict[str, Any]:
        return {
            # After a full queue or a pause, a topic is fetched again soon, not after a second.
            "fetch.queue.backoff.ms": 50,
            # Answers with few records each cost the broker and this client's thread more than all other work here.
            "fetch.min.bytes": FETCH_BYTES,
            "fetch.wait.max.ms": min(self._pace.poll_ms, FETCH_MS),
            **kafka_client_config(self._kafka),
            "group.id": self._kafka.group_id,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "queued.max.messages.kbytes": self._kafka.queued_max_kbytes,
        }

    def _ends(self, asking: Consumer, where: str, at: TopicPartition) -> tuple[int, int]:
        """Return the partition's first offset and the one after its last; retry, since a new topic may answer late."""
        deadline = monotonic_ms() + ANSWER_SECONDS * 1_000
        while True:
            try:
                return asking.get_watermark_offsets(at, ANSWER_SECONDS)
            except KafkaException as error:
                if monotonic_ms() > deadline:
                    said, address = error.args[0].str(), self._kafka.bootstrap_servers
                    raise away_or_denied(error.args[0])(
                        f"{where} did not say where it begins and ends ({said}): check that Kafka runs at {address} "
                        "and that this user may read the topic."
                    ) from None
            asking.poll(0.1)

    def _input(self, asking: Consumer, topic: str, subject: Subject, partition: int, start: int | None) -> Input:
        where = f"Topic {topic} partition {partition}"
        low, high = self._ends(asking, where, TopicPartition(topic, partition))
        if start is not None and start < low:
            raise InputError(gone(where, start))
        if start is not None and start > high:
            raise InputError(cut(where, high, start))
        topic_id = "" if self._watch is None else self._watch.id_of(topic)
        return Input(topic, subject, low if start is None else start, high if self._stop_at_end else None, topic_id)

    def _resumed(self, state: ResumeState | None, names: tuple[str, str]) -> tuple[tuple[int | None, int | None], int]:
        """Return the start offset of each topic (None: from the beginning) and the next `seq`."""
        if state is None:
            return (None, None), 0
        version: int = state[0]
        if not 1 <= version <= STATE_VERSION:
            raise InputError(
                f"The recovery store holds source positions of format {version}: run the version that wrote it."
            )
        chat, moderation = (Resumed(*topic) for topic in state[1])
        if (chat.topic, moderation.topic) != names:
            raise InputError(
                f"The recovery store was written for the topics {chat.topic} and {moderation.topic}, but the settings "
                f"name {names[0]} and {names[1]}: change the settings back, or start with a new recovery directory."
            )
        return (self._start(chat), self._start(moderation)), state[2]

    def _start(self, resumed: Resumed) -> int | None:
        """Return the offset to resume at; None for the beginning of a recreated topic that was accepted.

        Raises:
            InputError: if the topic was recreated and not accepted.
        """
        topic, offset, was = resumed
        now = "" if self._watch is None else self._watch.id_of(topic)
        if not was or not now or was == now:
            return offset
        if self._watch is None or not self._watch.accepted(topic):
            raise InputError(made_anew(topic, was, now, stored=True))
        log.warning("Topic %s was made anew, and that was accepted: it is read from its beginning.", topic)
        return None
