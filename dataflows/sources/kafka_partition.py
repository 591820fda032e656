"""One partition of the live source: the two topics' records, merged by time, through one consumer."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from bytewax.inputs import StatefulSourcePartition
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaError, KafkaException, Message, TopicPartition

from dataflows.clock import now_ms
from dataflows.record_headers import of_interest
from dataflows.sources.merge import Feed, take
from dataflows.topics import BrokerError
from schemas.records import Position, Raw, Subject

log = logging.getLogger(__name__)

FETCH = 1_000
"""Records asked of librdkafka at a time."""
FEW = 20
"""A batch is small that holds no more than one in so many of what it could; then it is worth while to let some gather.

A batch costs as much as dozens of events, however few are in it: each lane scores by itself.
"""
COMMIT_MS = 5_000
CLOSE_MS = 2_000
"""How long closing waits for the last commit; it is for dashboards, so an absent broker is not waited for."""

START_AGAIN = "start with a new recovery directory to go on from what is left"

STOPPING = {
    KafkaError.UNKNOWN_TOPIC_OR_PART: "it was deleted while being read; create it again and start again",
    KafkaError._UNKNOWN_TOPIC: "it was deleted while being read; create it again and start again",  # noqa: SLF001
    KafkaError._UNKNOWN_PARTITION: "it was deleted while being read; create it again and start again",  # noqa: SLF001
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "this user may not read it; grant read on the topic",
    KafkaError._BAD_MSG: "a record there is damaged; restore the partition from a replica",  # noqa: SLF001
    KafkaError._BAD_COMPRESSION: "a record there cannot be unpacked; produce it again",  # noqa: SLF001
    KafkaError._NOT_IMPLEMENTED: "this client cannot unpack a record there; compress with lz4 or zstd",  # noqa: SLF001
}
"""Errors that waiting does not cure, or after which librdkafka would go on without a record."""

ResumeState = tuple[Literal[1], tuple[tuple[str, int], tuple[str, int]], int]
"""Format 1: each topic with the offset that is next, chat first, and the next `seq`."""


class InputError(BrokerError):
    """The input topics cannot be read as this flow needs them; the sentence says what to do."""


def gone(where: str, offset: int) -> str:
    """The sentence for records that retention removed before they were read."""
    return (
        f"{where} no longer holds offset {offset}, where this flow left off, because retention removed it unread: "
        f"{START_AGAIN}, and keep records longer than the longest stop."
    )


class Input(NamedTuple):
    """One topic of a source partition, as it is to be read: from `start`, to `stop` (exclusive) where there is one."""

    topic: str
    subject: Subject
    start: int
    stop: int | None


class Pace(NamedTuple):
    """How a source partition reads, alike for all.

    At most `batch_size` records are given at a time; after finding few it looks again within `poll_ms`; at most
    `ahead_records` and `ahead_bytes` of one topic are held while the other is waited for; once `stop` is set it ends.
    """

    batch_size: int
    poll_ms: int
    ahead_records: int
    ahead_bytes: int
    stop: threading.Event | None
    on_stall: Callable[[int], None] | None = None


class _TopicFeed(Feed[Message]):
    """One topic's partition: what was read ahead, and how far."""

    __slots__ = ("fetched", "partition", "paused", "stop", "subject", "topic")

    def __init__(self, part: Input, partition: int) -> None:
        super().__init__()
        self.topic, self.subject, self.partition = part.topic, part.subject, partition
        self.fetched = part.start
        """The offset after the last one read (or after the end, where the log ends in records that are not ours)."""
        self.stop = part.stop
        self.paused = False
        self.at_end = self.done

    @property
    def done(self) -> bool:
        return self.stop is not None and self.fetched >= self.stop

    @property
    def position(self) -> int:
        """The offset to read first after a resume: nothing before it is still to be emitted."""
        return int(self.items[0][2].offset() or 0) if self.items else self.fetched

    def at(self, offset: int) -> TopicPartition:
        return TopicPartition(self.topic, self.partition, offset)


class MergedPartition(StatefulSourcePartition[Raw, ResumeState]):
    """Partition p of both topics, through one consumer."""

    def __init__(
        self,
        consumer_config: dict[str, Any],
        partition: int,
        chat: Input,
        moderation: Input,
        seq: int,
        pace: Pace,
    ) -> None:
        self._first, self._second = _TopicFeed(chat, partition), _TopicFeed(moderation, partition)
        self._feeds: dict[str | None, _TopicFeed] = {feed.topic: feed for feed in (self._first, self._second)}
        self._seq, self._pace = seq, pace
        self._awake: int | None = None
        self._snapped: int | None = None
        self._told: set[int] = set()
        self._commit_refused = False
        self._outage = False
        self._commits_open = 0
        self._committed: list[int] = []
        self._commit_due = now_ms() + COMMIT_MS
        self._consumer = Consumer({**consumer_config, "error_cb": self._on_error, "on_commit": self._on_commit})
        self._consumer.assign([feed.at(feed.fetched) for feed in self._feeds.values()])

    def next_batch(self) -> list[Raw]:
        """The next records in time order; empty while there is nothing, or one topic is waited for."""
        pace = self._pace
        if self._snapped is not None and pace.on_stall is not None:
            pace.on_stall(now_ms() - self._snapped)
        self._snapped = None
        if pace.stop is not None and pace.stop.is_set():
            raise StopIteration
        taken = take(self._first, self._second, pace.batch_size)
        if len(taken) < pace.batch_size:
            self._fetch()
            taken += take(self._first, self._second, pace.batch_size - len(taken))
        if not taken and self._first.done and self._second.done:
            raise StopIteration
        now = now_ms()
        # all partitions look at the same moments, so that lanes score what they find together
        self._awake = None if len(taken) * FEW > pace.batch_size else now - now % pace.poll_ms + pace.poll_ms
        batch = self._emit(taken)
        if now >= self._commit_due:
            self._commit()
        return batch

    def next_awake(self) -> datetime | None:
        """At once after a batch; after a small or an empty one, when the poll interval is over."""
        return None if self._awake is None else datetime.fromtimestamp(self._awake / 1_000, tz=UTC)

    def snapshot(self) -> ResumeState:
        """Where to go on: after what was emitted, whatever was read ahead."""
        self._snapped = now_ms()
        first, second = self._first, self._second
        return (1, ((first.topic, first.position), (second.topic, second.position)), self._seq)

    def close(self) -> None:
        """Tell the group where we stopped, and leave; without a broker, just leave.

        It raises nothing: after an error the engine closes while it is unwinding, and a second one aborts the process.
        """
        if not self._told:
            self._commit()
        deadline = now_ms() + CLOSE_MS
        while self._commits_open and now_ms() < deadline:
            self._consumer.consume(1, 0.05)
        if self._commits_open:
            # The client would make us wait most of a minute for a broker that is not there; let it wait by itself.
            log.warning("Kafka did not take the last offsets for group dashboards; nothing else depends on them.")
            threading.Thread(target=self._consumer.close, daemon=True).start()
        else:
            self._consumer.close()

    def _emit(self, taken: list[tuple[Feed[Message], int, Message]]) -> list[Raw]:
        # a named tuple's own constructor is a frame of Python, and costs twice as much
        first, second, new, batch = self._first, self._second, tuple.__new__, []
        for seq, (feed, received, message) in enumerate(taken, self._seq):
            of = first if feed is first else second
            at = new(Position, (of.topic, of.partition, message.offset() or 0, seq))
            value, key, (named, redriven) = message.value(), message.key(), of_interest(message.headers())
            batch.append(new(Raw, (of.subject, value, key, at, received, named, redriven)))
        self._seq += len(taken)
        return batch

    def _fetch(self) -> None:
        now, feeds = now_ms(), self._feeds
        for message in self._consumer.consume(max(FETCH, self._pace.batch_size), 0):
            feed = feeds[message.topic()]
            offset = message.offset() or 0
            if (error := message.error()) is not None:
                self._on_partition_error(feed, offset, error)
            elif offset >= feed.fetched:  # after a seek librdkafka may hand out a record again
                if feed.stop is not None and offset >= feed.stop:
                    feed.fetched, feed.at_end = feed.stop, True
                    continue
                kind, time = message.timestamp()
                # A record stamped in the future must not hold its successors back until then.
                received = now if kind == TIMESTAMP_NOT_AVAILABLE or time > now else time
                feed.push(received, len(message), message)
                feed.fetched = offset + 1
                if feed.stop is not None:
                    feed.at_end = feed.done
                self._told.clear()
        self._hold_back()
        if self._outage:
            self._prove_ends_again()

    def _hold_back(self) -> None:
        """Stop reading a topic whose records pile up here, so that waiting for the other takes bounded memory."""
        for feed in self._feeds.values():
            share = max(len(feed.items) / self._pace.ahead_records, feed.bytes / self._pace.ahead_bytes)
            if not feed.paused and share >= 1:
                self._consumer.pause([feed.at(feed.fetched)])
                feed.paused = True
            elif feed.paused and share <= 1 / 2:
                self._consumer.resume([feed.at(feed.fetched)])
                feed.paused = False

    def _prove_ends_again(self) -> None:
        """After losing the broker, a topic's end as we knew it proves nothing: read on from there to find it anew."""
        self._outage = False
        for feed in self._feeds.values():
            if feed.at_end and not feed.done:
                feed.at_end = False
                if not feed.paused:
                    self._consumer.seek(feed.at(feed.fetched))

    def _on_partition_error(self, feed: _TopicFeed, offset: int, error: KafkaError) -> None:
        code = error.code()
        where = f"Topic {feed.topic} partition {feed.partition}"
        if code == KafkaError._PARTITION_EOF:  # noqa: SLF001 - so is the public constant named
            feed.fetched = max(feed.fetched, offset)
            feed.at_end = True
            self._told.clear()
        elif code == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
            raise InputError(gone(where, offset))
        elif error.fatal() or code in STOPPING:
            advice = STOPPING.get(code, "the client cannot go on; start again")
            raise InputError(f"{where} cannot be read at offset {offset} ({error.str()}): {advice}.")
        else:
            self._on_error(error)

    def _on_error(self, error: KafkaError) -> None:
        """Librdkafka tries again by itself; we say so once until something is read again."""
        self._outage = True
        if error.code() not in self._told:
            self._told.add(error.code())
            log.warning("Kafka is not answering (%s): trying again until it does.", error.name())

    def _commit(self) -> None:
        self._commit_due = now_ms() + COMMIT_MS
        positions = [feed.position for feed in self._feeds.values()]
        if positions != self._committed and not self._commits_open:
            offsets = [feed.at(feed.position) for feed in self._feeds.values()]
            try:
                self._consumer.commit(offsets=offsets, asynchronous=True)
            except KafkaException as error:
                self._on_commit(error.args[0], offsets)
            else:
                self._commits_open += 1
                self._committed = positions

    def _on_commit(self, error: KafkaError | None, _offsets: list[TopicPartition]) -> None:
        self._commits_open = 0
        if error is None:
            self._commit_refused = False
        else:
            self._committed = []
            if not self._commit_refused:
                self._commit_refused = True
                log.warning("Kafka does not take offsets for group dashboards (%s); reading goes on.", error.name())
