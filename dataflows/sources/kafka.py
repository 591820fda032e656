"""The live source: chat and moderation of one partition number, merged by record time, with offsets in recovery.

A producer's contract: the record timestamp is the event time, and a user's records are in the same partition number of
both topics. Then a user's chat and sanctions reach the profile in order, even when catching up after downtime.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from bytewax.inputs import FixedPartitionedSource
from confluent_kafka import Consumer, KafkaException, TopicPartition

from dataflows.broker_errors import away_or_denied
from dataflows.clock import now_ms
from dataflows.settings import KafkaSettings, TopicSettings, kafka_client_config
from dataflows.sources.kafka_partition import (
    START_AGAIN,
    Input,
    InputError,
    MergedPartition,
    Pace,
    ResumeState,
    gone,
)
from dataflows.topics import ANSWER_SECONDS, existing_partitions
from schemas.records import CHAT, MODERATION, Raw, Subject

__all__ = ["InputError", "MergedKafkaSource", "MergedPartition", "ResumeState", "input_partitions"]

FETCH_BYTES = 65_536
"""What the broker lets gather before it answers, for as long as a partition waits before it looks again."""
FETCH_MS = 100
"""And no longer than this: an answer also says where a topic ends, and then the other is not held back."""
READ_AHEAD = 10_000
"""Records of one topic held back, at most, while the other topic is waited for."""


def input_partitions(kafka: KafkaSettings, topics: TopicSettings) -> int:
    """The partition count that both input topics have.

    Errors: `InputError` when one is missing or the counts differ.
    """
    chat, moderation = topics.chat_messages, topics.moderation_events
    counts = existing_partitions(kafka, (chat, moderation), InputError)
    if counts[chat] != counts[moderation]:
        raise InputError(
            f"Topic {chat} has {counts[chat]} partitions and {moderation} has {counts[moderation]}, so that a user's "
            "chat and sanctions are not side by side: give both the same number and produce their records again."
        )
    return counts[chat]


class MergedKafkaSource(FixedPartitionedSource[Raw, ResumeState]):
    """Both input topics; source partition p is partition p of each.

    The first start reads from the earliest record there is. With `stop_at_end` every partition completes at the end
    the topics had when it was built; once `stop` is set every partition completes without reading on, and what
    recovery then holds is exact. `poll_ms` is how long a partition that had little waits before it looks again;
    `on_stall` is told how long (ms) it stood still for each snapshot.

    Errors, raised when the flow is built: `InputError` on a missing topic, unequal partition counts, offsets that are
    no longer there, a resume state of other topics; `BrokerError` when Kafka does not answer.
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
        on_stall: Callable[[int], None] | None = None,
    ) -> None:
        self._kafka, self._topics = kafka, topics
        self._stop_at_end = stop_at_end
        self._pace = Pace(batch_size, poll_ms, read_ahead, kafka.queued_max_kbytes * 1_024, stop, on_stall)

    def list_parts(self) -> list[str]:
        """The partition numbers, padded so that the engine's sorting deals neighbours to different workers."""
        return [f"{number:05d}" for number in range(input_partitions(self._kafka, self._topics))]

    def build_part(self, step_id: str, for_part: str, resume_state: ResumeState | None) -> MergedPartition:
        """Partition `for_part`, from where it left off or else from the earliest records."""
        del step_id
        partition = int(for_part)
        names = (self._topics.chat_messages, self._topics.moderation_events)
        starts, seq = _resumed(resume_state, names)
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
            # A queue that was full, and a topic that was held back, are fetched again soon, not after a second.
            "fetch.queue.backoff.ms": 50,
            # An answer for every few records took the broker and this client's thread longer than all else here.
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
        """The partition's first offset and the one after its last; a topic just created may take a moment to say."""
        deadline = now_ms() + ANSWER_SECONDS * 1_000
        while True:
            try:
                return asking.get_watermark_offsets(at, ANSWER_SECONDS)
            except KafkaException as error:
                if now_ms() > deadline:
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
            raise InputError(
                f"{where} ends at offset {high}, before offset {start} where this flow left off, so it was made anew "
                f"or cut: restore it, or {START_AGAIN}."
            )
        return Input(topic, subject, low if start is None else start, high if self._stop_at_end else None)


def _resumed(state: ResumeState | None, names: tuple[str, str]) -> tuple[tuple[int | None, int | None], int]:
    """Where each topic goes on, and with which `seq`; from the start without a state."""
    if state is None:
        return (None, None), 0
    if state[0] != 1:
        raise InputError(
            f"The recovery store holds source positions of format {state[0]}: run the version that wrote it."
        )
    (chat, chat_start), (moderation, moderation_start) = state[1]
    if (chat, moderation) != names:
        raise InputError(
            f"The recovery store was written for the topics {chat} and {moderation}, but the settings name {names[0]} "
            f"and {names[1]}: change the settings back, or start with a new recovery directory."
        )
    return (chat_start, moderation_start), state[2]
