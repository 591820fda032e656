"""Production of a log to the input topics: one message for each record, with the records and ids of a replay.

Records that the receiver would reject are not sent. The receiver compares an event's time with its record's timestamp,
so a row is checked against the timestamp that its record would have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, cast

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from dataflows.ingest.log_time import LogTime
from dataflows.runtime.clock import monotonic_ms, now_ms
from dataflows.sinks.kafka.producer import RELIABLE
from dataflows.sources.files.log import Item
from schemas.codec.inputs import EARLIEST_TIME, Codec
from schemas.errors import ExpectedError
from schemas.records.base import CHAT, MODERATION, Raw, Subject
from schemas.records.events import ChatMessage, Event
from schemas.records.rejects import Reject, RejectReason

Topics = Mapping[Subject, str] | Mapping[str, str]
"""The topic of each subject."""

DAY = 86_400_000
"""Maximum lead (ms) of an event over the log's clock with which it still counts."""
PROGRESS_EVERY = 1_000
"""Number of items between two calls of `on_progress`."""

AHEAD_OF_LOG = "event_time: ahead of the users behind it (a log that is not in the order of time needs sort = true)"

FAR_BEHIND_MS = 86_400_000
"""Delay (ms) between an event's time and its arrival beyond which the event is decoded again with its arrival time."""

REPORTED_REJECTS = 20
"""Number of unsent rows that are reported in a line each."""


class ProduceError(ExpectedError, RuntimeError):
    """The log could not be sent completely; the text has the number of events known to have arrived and the remedy."""


class Encodes(Protocol):
    """The interface of an encoder: one record to the bytes of one message."""

    def encode(self, record: Event) -> bytes:
        """Return the bytes of a record."""


@dataclass(slots=True)
class Produced:
    """Numbers of messages and moderation events that the broker has acknowledged, and of rejects that were not sent."""

    chat_messages: int = 0
    moderation_events: int = 0
    rejects: int = 0


class Pace:
    """The rate of a producer: `rate` events per second, or `speed` times as fast as event time passed in the log.

    Without either, events are sent as fast as possible. Late and disordered events are sent as soon as their turn
    comes.
    """

    def __init__(self, *, rate: float | None = None, speed: float | None = None) -> None:
        if rate is not None and speed is not None:
            raise ValueError("rate and speed are both given: choose events per second or multiples of event time")
        if (rate is not None and rate <= 0) or (speed is not None and speed <= 0):
            raise ValueError("rate and speed are above zero: leave both out to send as fast as possible")
        self._rate, self._speed = rate, speed
        self._sent = 0
        self._first_event: int | None = None

    def due_ms(self, event_time: int) -> float:
        """Return the time at which the next event is due, in milliseconds after the first one."""
        if self._first_event is None:
            self._first_event = event_time
        number, self._sent = self._sent, self._sent + 1
        if self._rate is not None:
            return number * 1000 / self._rate
        if self._speed is not None:
            return (event_time - self._first_event) / self._speed
        return 0.0


def produce(
    items: Iterable[Item],
    *,
    producer_config: Mapping[str, Any],
    topics: Topics,
    encoder: Callable[[Subject], Encodes],
    pace: Pace | None = None,
    on_progress: Callable[[int], None] | None = None,
    on_reject: Callable[[str], None] | None = None,
    codec: Codec | None = None,
    max_record_bytes: int = 1_048_576,
    allowed_skew_ms: int = 300_000,
    new_producer: Callable[[dict[str, Any]], Producer] = Producer,
    now: Callable[[], int] = monotonic_ms,
    today: Callable[[], int] = now_ms,
) -> Produced:
    """Send every event of a log to the topic of its subject, keyed by user, in the order of the log.

    A record's timestamp is its time of arrival: its event time or, if that is not later than the latest timestamp, a
    millisecond after the latest timestamp. The source merges the two topics by timestamp, in the order of the log. The
    timestamps follow the times that several users confirm (see `LogTime`). Events more than `allowed_skew_ms` ahead of
    `today` are not sent.

    Each record is validated as in the dataflow. Rows that are not events are counted. The first `REPORTED_REJECTS` are
    passed to `on_reject` in a line each with their coordinates, then the number of the others. `on_progress` is called
    with the number of items read from the log.

    Raises:
        ProduceError: as soon as a delivery is known to have failed; some of the log is then on the topics already.
    """
    sender = _Sender({**producer_config, **RELIABLE}, topics, encoder, new_producer)
    if codec is None:
        codec = Codec(max_bytes=max_record_bytes, allowed_skew_ms=allowed_skew_ms, earliest_ms=EARLIEST_TIME)
    taken, not_sent = 0, _NotSent(on_reject)

    def events() -> Iterator[tuple[Event, Raw]]:
        nonlocal taken
        for taken, item in enumerate(items, start=1):
            event = item if isinstance(item, Reject) else codec.decode(item)
            if isinstance(event, Reject):
                not_sent.refused(event)
            else:
                yield event, cast("Raw", item)
            if on_progress is not None and taken % PROGRESS_EVERY == 0:
                on_progress(taken)

    begin: int | None = None
    for event, raw, arrived in LogTime(allowed_skew_ms).stamped(events()):
        if arrived is None:
            not_sent.refused(raw, RejectReason.FUTURE_TIMESTAMP, AHEAD_OF_LOG)
            continue
        if event.event_time - today() > allowed_skew_ms:
            not_sent.refused(raw, RejectReason.FUTURE_TIMESTAMP, "event_time: has not come yet")
            continue
        if arrived - event.event_time > FAR_BEHIND_MS and isinstance(
            refused := codec.decode(raw._replace(received=arrived)), Reject
        ):
            not_sent.refused(refused)
            continue
        if pace is not None:
            begin = now() if begin is None else begin
            due = begin + pace.due_ms(event.event_time)
            while (early := due - now()) > 0:
                sender.serve(early / 1000)
        if not sender.send(event, arrived, max_record_bytes):
            not_sent.refused(raw, RejectReason.TOO_LARGE, f"more than {max_record_bytes} bytes")
    sender.finish()
    if on_progress is not None:
        on_progress(taken)
    sender.counts.rejects = not_sent.finish()
    return sender.counts


class _NotSent:
    """Report on rows that were not sent: a line for each of the first ones, and counts by reason for the others."""

    def __init__(self, say: Callable[[str], None] | None) -> None:
        self._say = say
        self._rejects = 0
        self._more: Counter[str] = Counter()

    def refused(self, row: Raw | Reject, reason: RejectReason | None = None, detail: str = "") -> None:
        """Count a row that was not sent: a reject, or a record with a reason."""
        if isinstance(row, Reject):
            log, number, reason, detail = row.topic, row.offset, row.reason, row.detail
        else:
            log, number = row.at.topic, row.at.offset
        self._rejects += 1
        if self._rejects > REPORTED_REJECTS:
            self._more[str(reason)] += 1
        elif self._say is not None:
            self._say(f"{log}, row {number}: not sent, {reason}: {detail}")

    def finish(self) -> int:
        """Report the counts of the others, and return the total number of rows that were not sent."""
        if self._more and self._say is not None:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(self._more.items()))
            self._say(f"{self._more.total():,} more rows not sent: {reasons}")
        return self._rejects


class _Sender:
    """A producer that checks every delivery; the first failure ends the sending."""

    def __init__(
        self,
        config: dict[str, Any],
        topics: Topics,
        encoder: Callable[[Subject], Encodes],
        new_producer: Callable[[dict[str, Any]], Producer],
    ) -> None:
        self.counts = Produced()
        self._failed: KafkaError | None = None
        self._producer = new_producer(config)
        self._chat = (topics[CHAT], encoder(CHAT).encode, self._delivered_chat)
        self._moderation = (topics[MODERATION], encoder(MODERATION).encode, self._delivered_moderation)

    def send(self, event: Event, arrived: int, max_bytes: int) -> bool:
        """Pass an event to the producer, waiting for room in its queue; return False if it exceeds `max_bytes`."""
        topic, encode, delivered = self._chat if isinstance(event, ChatMessage) else self._moderation
        value, key = encode(event), event.user_id.encode()
        if len(value) > max_bytes:
            return False
        while True:
            try:
                self._producer.produce(topic, value, key, on_delivery=delivered, timestamp=arrived)
            except BufferError:
                self.serve(1.0)
            except KafkaException as error:
                self._fail(error.args[0])
            else:
                break
        self.serve(0.0)
        return True

    def serve(self, seconds: float) -> None:
        """Process the delivery reports, waiting up to `seconds` for one."""
        self._producer.poll(seconds)
        if self._failed is not None:
            self._fail(self._failed)

    def finish(self) -> None:
        """Wait for every delivery; the wait is bounded, since the producer gives up on undeliverable messages."""
        while self._producer.flush(1.0) and self._failed is None:
            pass
        if self._failed is not None:
            self._fail(self._failed)

    def _fail(self, error: KafkaError) -> NoReturn:
        arrived = self.counts.chat_messages + self.counts.moderation_events
        raise ProduceError(
            f"Kafka did not take an event ({error.name()}: {error.str()}); {arrived} are known to have arrived: "
            "correct the cause and produce the whole log again, to empty topics"
        )

    def _delivered_chat(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failed = self._failed or error
        else:
            self.counts.chat_messages += 1

    def _delivered_moderation(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failed = self._failed or error
        else:
            self.counts.moderation_events += 1
