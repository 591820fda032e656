"""One partition of the live source: the records of both topics, merged by time, through one consumer."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from bytewax.inputs import StatefulSourcePartition
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaError, KafkaException, Message, TopicPartition

from dataflows.kafka.broker_errors import BrokerAway, BrokerError
from dataflows.kafka.connection import CONNECTION
from dataflows.kafka.headers import of_interest
from dataflows.kafka.topics import ANSWER_SECONDS
from dataflows.runtime.clock import Steps, monotonic_ms, now_ms
from dataflows.sources.kafka.merge import Feed, take
from dataflows.sources.kafka.rest import Rest
from dataflows.sources.kafka.slow_clock import SlowClock
from dataflows.sources.kafka.watch import InputError, TopicWatch
from schemas.records.base import Position, Raw, Subject

log = logging.getLogger(__name__)

FETCH = 1_000
"""Records requested from librdkafka per call, unless the batch size is larger."""
FEW = 20
"""A batch is small if it has at most 1/`FEW` of `batch_size` records; then it pays to wait for more.

A batch costs as much as dozens of events, however few it contains, because each lane scores separately.
"""
AT_ONCE = datetime.fromtimestamp(0, tz=UTC)
"""Time of the next call, as reported to the engine: always in the past, for the reason given in `Rest`."""
COMMIT_MS = 5_000
STEP_MS = 10_000
"""Minimum setback of the wall clock (ms) that is logged."""
CLOSE_MS = 2_000
"""Maximum wait (ms) for the last commit at close; only dashboards need it, so an absent broker is not waited for."""

START_AGAIN = "start with a new recovery directory to go on from what is left"

STOPPING = {
    KafkaError.UNKNOWN_TOPIC_OR_PART: "it was deleted while being read; restore it and start again",
    KafkaError._UNKNOWN_TOPIC: "it was deleted while being read; restore it and start again",  # noqa: SLF001
    KafkaError._UNKNOWN_PARTITION: "it was deleted while being read; restore it and start again",  # noqa: SLF001
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "this user may not read it; grant read on the topic",
    KafkaError._BAD_MSG: "a record there is damaged; restore the partition from a replica",  # noqa: SLF001
    KafkaError._BAD_COMPRESSION: "a record there cannot be unpacked; produce it again",  # noqa: SLF001
    KafkaError._NOT_IMPLEMENTED: "this client cannot unpack a record there; compress with lz4 or zstd",  # noqa: SLF001
}
"""Errors that waiting does not fix, or after which librdkafka would continue without a record."""

STATE_VERSION = 2
"""Version of the resume state. Version 1 had no topic ids."""
ResumeState = tuple[Literal[2], tuple[tuple[str, int, str], tuple[str, int, str]], int]
"""Version; topic, next offset and topic id (empty if unknown) for chat, then for moderation; and the next `seq`."""


def gone(where: str, offset: int) -> str:
    """Return the sentence for records that retention removed before they were read."""
    return (
        f"{where} no longer holds offset {offset}, where this flow left off, because retention removed it unread: "
        f"{START_AGAIN}, and keep records longer than the longest stop."
    )


def cut(where: str, end: int, offset: int) -> str:
    """Return the sentence for a partition that ends before the next offset to read."""
    return (
        f"{where} ends at offset {end}, before offset {offset} where this flow left off, so it was made anew "
        f"or cut: restore it, or {START_AGAIN}."
    )


class Input(NamedTuple):
    """One topic of a source partition, to be read from `start` up to `stop` (exclusive; None for no end).

    `topic_id` is empty if unknown.
    """

    topic: str
    subject: Subject
    start: int
    stop: int | None
    topic_id: str = ""


class ReadOptions(NamedTuple):
    """Read options shared by all source partitions.

    A batch has at most `batch_size` records. After a small batch a partition looks again within `poll_ms`. At most
    `ahead_records` and `ahead_bytes` of one topic are held while the other is waited for. Once `stop` is set, the
    partition ends. A record more than `skew_ms` ahead of the clock is held until it is clear which clock is wrong.
    `watch` reports changes of the topics. `on_lead` is called with the topic and the lead (ms) of its latest record
    over the clock, `on_stall` with the time (ms) for which a partition stood still for a snapshot.
    """

    batch_size: int
    poll_ms: int
    ahead_records: int
    ahead_bytes: int
    stop: threading.Event | None
    rest: Rest
    skew_ms: int
    steps: Steps
    watch: TopicWatch | None = None
    on_lead: Callable[[str, int], None] | None = None
    on_stall: Callable[[int], None] | None = None


class _TopicFeed(Feed[Message]):
    """The records read ahead from one topic's partition, and the read position."""

    __slots__ = (
        "clock",
        "ended",
        "fetched",
        "held",
        "held_bytes",
        "lead",
        "partition",
        "paused",
        "stop",
        "subject",
        "topic",
        "topic_id",
    )

    def __init__(self, part: Input, partition: int, clock: SlowClock) -> None:
        super().__init__()
        self.clock = clock
        self.held: deque[Message] = deque()
        """Records held until it is clear which clock is wrong; meanwhile the topic counts as at its end."""
        self.held_bytes = 0
        self.lead: int | None = None  # lead (ms) of the latest record, until it is reported
        self.topic, self.topic_id, self.subject, self.partition = part.topic, part.topic_id, part.subject, partition
        self.fetched = part.start
        """The offset after the last record read, or the partition's end if it ends in undelivered records."""
        self.stop = part.stop
        self.paused = False
        self.ended = self.at_end = self.done

    @property
    def done(self) -> bool:
        return self.stop is not None and self.fetched >= self.stop

    @property
    def position(self) -> int:
        """Return the offset to read first after a resume; all records before it have been emitted."""
        if self.items:
            return int(self.items[0][2].offset() or 0)
        return int(self.held[0].offset() or 0) if self.held else self.fetched

    @property
    def load(self) -> tuple[int, int]:
        """Return the numbers of records and bytes read ahead."""
        return len(self.items) + len(self.held), self.bytes + self.held_bytes

    def take_in(self, message: Message, now: int, *, judging: bool = True) -> None:
        """Append a record that was read, or hold it for the clock check; `judging=False` skips the check."""
        kind, time = message.timestamp()
        if kind == TIMESTAMP_NOT_AVAILABLE:
            time = now
        else:
            self.lead = time - now
        if judging and (self.held or self.clock.is_ahead(time, now)):
            self.clock.see(message.key(), time, now, monotonic_ms())
            self.held.append(message)
            self.held_bytes += len(message)
            self.at_end = True
        else:
            # A record dated in the future must not hold its successors back until then.
            self.push(min(time, now), len(message), message)

    def let_go(self, now: int, *, full: bool) -> None:
        """Append the held records that need not be held any longer, dated no later than the current clock.

        Raises:
            InputError: if the clock is slow.
        """
        doubts = self.clock.doubts(now, monotonic_ms(), last=self.done, full=full)
        while self.held and not (doubts and self.clock.is_ahead(self.held[0].timestamp()[1], now)):
            message = self.held.popleft()
            self.held_bytes -= len(message)
            self.take_in(message, now, judging=False)
        self.at_end = self.ended or bool(self.held)

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
        pace: ReadOptions,
    ) -> None:
        self._first, self._second = (
            _TopicFeed(part, partition, SlowClock(f"Topic {part.topic} partition {partition}", pace.skew_ms))
            for part in (chat, moderation)
        )
        self._feeds: dict[str | None, _TopicFeed] = {feed.topic: feed for feed in (self._first, self._second)}
        self._number, self._seq, self._pace = partition, seq, pace
        self._snapped: int | None = None
        self._told: set[int] = set()
        self._commit_refused = False
        self._outage = False
        self._commits_open = 0
        self._committed: list[int] = []
        self._commit_due = monotonic_ms() + COMMIT_MS
        self._consumer = Consumer({**consumer_config, "error_cb": self._on_error, "on_commit": self._on_commit})
        self._consumer.assign([feed.at(feed.fetched) for feed in self._feeds.values()])

    def next_batch(self) -> list[Raw]:
        """Return the next records in time order; empty if there are none, or while one topic is waited for.

        Raises:
            StopIteration: once `stop` is set, or when both topics have been read to their `stop` offset.
            BrokerError: if the topics have changed or cannot be read, or the clock of this machine is slow.
        """
        pace = self._pace
        if self._snapped is not None and pace.on_stall is not None:
            pace.on_stall(monotonic_ms() - self._snapped)
        self._snapped = None
        if pace.stop is not None and pace.stop.is_set():
            raise StopIteration
        if pace.watch is not None:
            pace.watch.check()
        if not pace.rest.is_due(self._number):
            return []
        taken = take(self._first, self._second, pace.batch_size)
        if len(taken) < pace.batch_size:
            self._fetch()
            taken += take(self._first, self._second, pace.batch_size - len(taken))
        if not taken and all(feed.done and not feed.held for feed in self._feeds.values()):
            raise StopIteration
        now = monotonic_ms()
        # all partitions look again at the same times, so that lanes score their records together
        pace.rest.until(
            self._number,
            0 if len(taken) * FEW > pace.batch_size else now - now % pace.poll_ms + pace.poll_ms,
            worked=bool(taken),
        )
        batch = self._emit(taken)
        if now >= self._commit_due:
            self._commit()
            if by := pace.steps.back(STEP_MS):
                log.warning(
                    "The clock of this machine was set back by %.0f s. Reading goes on, but the engine takes no "
                    "snapshot until the clock is again where it was: restart the run if that is long.",
                    by / 1_000,
                )
        return batch

    def next_awake(self) -> datetime:
        """Return a time in the past: `next_batch` itself waits when there is little to read."""
        return AT_ONCE

    def snapshot(self) -> ResumeState:
        """Return the position after the last emitted record; records read ahead do not count."""
        self._snapped = monotonic_ms()
        first, second = self._first, self._second
        return (
            2,
            ((first.topic, first.position, first.topic_id), (second.topic, second.position, second.topic_id)),
            self._seq,
        )

    def close(self) -> None:
        """Commit the final position for the group, waiting at most `CLOSE_MS`, and close the consumer.

        Never raise: after an error the engine closes while it is unwinding, and a second error aborts the process.
        """
        if not self._told:
            self._commit()
        self._pace.rest.leave(self._number)
        deadline = monotonic_ms() + CLOSE_MS
        while self._commits_open and monotonic_ms() < deadline:
            self._consumer.consume(1, 0.05)
        if self._commits_open:
            # Closing blocks for most of a minute if the broker is absent, so it runs on a thread of its own.
            log.warning("Kafka did not take the last offsets for group dashboards; nothing else depends on them.")
            threading.Thread(target=self._consumer.close, daemon=True).start()
        else:
            self._consumer.close()

    def _emit(self, taken: list[tuple[Feed[Message], int, Message]]) -> list[Raw]:
        # a named tuple's own constructor is a Python function, and costs twice as much
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
        found = self._consumer.consume(max(FETCH, self._pace.batch_size), 0)
        for message in found:
            feed = feeds[message.topic()]
            offset = message.offset() or 0
            if (error := message.error()) is not None:
                self._on_partition_error(feed, offset, error)
            elif offset >= feed.fetched:  # after a seek librdkafka may deliver a record again
                if feed.stop is not None and offset >= feed.stop:
                    feed.fetched, feed.ended, feed.at_end = feed.stop, True, True
                    continue
                feed.take_in(message, now)
                feed.fetched = offset + 1
                feed.ended = feed.done
                feed.at_end = feed.ended or bool(feed.held)
                self._told.clear()
        if found and not self._told:
            CONNECTION.heard()
        for feed in feeds.values():
            if feed.held:
                feed.let_go(now, full=self._share(feed) >= 1)
            if feed.lead is not None and self._pace.on_lead is not None:
                self._pace.on_lead(feed.topic, feed.lead)
                feed.lead = None
        self._hold_back()
        if self._outage:
            self._prove_ends_again()

    def _hold_back(self) -> None:
        """Pause topics at their read-ahead limit and resume them at half of it, so that memory stays bounded."""
        for feed in self._feeds.values():
            share = self._share(feed)
            if not feed.paused and share >= 1:
                self._consumer.pause([feed.at(feed.fetched)])
                feed.paused = True
            elif feed.paused and share <= 1 / 2:
                self._consumer.resume([feed.at(feed.fetched)])
                feed.paused = False

    def _share(self, feed: _TopicFeed) -> float:
        """Return the used fraction of a topic's read-ahead limits."""
        records, size = feed.load
        return max(records / self._pace.ahead_records, size / self._pace.ahead_bytes)

    def _prove_ends_again(self) -> None:
        """Discard the known ends of the topics after an outage, and read on from there to find the current ends."""
        self._outage = False
        for feed in self._feeds.values():
            if feed.ended and not feed.done:
                feed.ended, feed.at_end = False, bool(feed.held)
                if not feed.paused:
                    self._consumer.seek(feed.at(feed.fetched))

    def _on_partition_error(self, feed: _TopicFeed, offset: int, error: KafkaError) -> None:
        code = error.code()
        where = f"Topic {feed.topic} partition {feed.partition}"
        if code == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the public constant's name
            feed.fetched = max(feed.fetched, offset)
            feed.ended = feed.at_end = True
            self._told.clear()
        elif code == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
            raise self._lost(feed, where, offset)
        elif error.fatal() or code in STOPPING:
            self._look()
            advice = STOPPING.get(code, "the client cannot go on; start again")
            kind = InputError if code in STOPPING else BrokerAway
            raise kind(f"{where} cannot be read at offset {offset} ({error.str()}): {advice}.")
        else:
            self._on_error(error)

    def _look(self) -> None:
        """Check the topics now and raise the problem found; ignore a broker that does not answer."""
        if self._pace.watch is not None:
            with contextlib.suppress(BrokerError):
                self._pace.watch.look()
            self._pace.watch.check()

    def _lost(self, feed: _TopicFeed, where: str, offset: int) -> InputError:
        """Return the error for an offset that the partition no longer has: recreated, cut, or removed by retention."""
        self._look()
        try:
            _, end = self._consumer.get_watermark_offsets(feed.at(offset), ANSWER_SECONDS)
        except KafkaException:
            end = offset
        return InputError(gone(where, offset) if offset <= end else cut(where, end, offset))

    def _on_error(self, error: KafkaError) -> None:
        """Record an error after which librdkafka retries by itself."""
        self._outage = True
        self._told.add(error.code())
        CONNECTION.on_error(error)

    def _commit(self) -> None:
        self._commit_due = monotonic_ms() + COMMIT_MS
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
