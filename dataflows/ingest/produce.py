"""Sends a log to the input topics: the very records and ids a replay of it would read, one message each.

What the receiver would refuse is not sent: who receives goes by the record's timestamp, so a row is measured against
the time that its record would have.
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
"""An event may be dated so far ahead of the log's clock (ms) and still count for it."""
PROGRESS_EVERY = 1_000
"""Items between two calls of `on_progress`."""

AHEAD_OF_LOG = "event_time: ahead of the users behind it (a log that is not in the order of time needs sort = true)"

FAR_BEHIND_MS = 86_400_000
"""An event that would arrive so long after its time is shown to the codec as it would arrive."""

REJECTS_TOLD = 20
"""How many rows that are not sent are told in a line each."""


class ProduceError(ExpectedError, RuntimeError):
    """The log could not be sent whole; the text says how much is known to have arrived and what to do."""


class Encodes(Protocol):
    """What produce asks of an encoder: one record to the bytes of one message."""

    def encode(self, record: Event) -> bytes:
        """The record's bytes."""


@dataclass(slots=True)
class Produced:
    """How many messages and moderation events the broker has acknowledged, and how many rejects were not sent."""

    chat_messages: int = 0
    moderation_events: int = 0
    rejects: int = 0


class Pace:
    """How far a producer may be: `rate` events per second, or `speed` times as fast as event time passed in the log.

    Neither means as fast as possible. Late and disordered events are sent as soon as their turn comes.
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
        """When the next event is due, in milliseconds since the first one was."""
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

    A record's timestamp is when it would have arrived: its event time or, for an event behind the ones before it or
    beside them, a millisecond after the latest. By it the two topics are merged again as they were in the log. The
    timestamps follow what several users show (see `LogTime`), and nothing is sent that lies ahead of `today`.

    Each record is validated as the dataflow would; what is not an event is counted, and the first `REJECTS_TOLD` are
    told to `on_reject` in a line each with their coordinates, then how many more there were. `on_progress` is called
    with the number of items taken from the log.

    Raises:
        ProduceError: as soon as a delivery is known to have failed; some of the log is then on the topics already.
    """
    sender = _Sender({**producer_config, **RELIABLE}, topics, encoder, new_producer)
    if codec is None:
        codec = Codec(max_bytes=max_record_bytes, allowed_skew_ms=allowed_skew_ms, earliest_ms=EARLIEST_TIME)
    taken, told = 0, _Told(on_reject)

    def events() -> Iterator[tuple[Event, Raw]]:
        nonlocal taken
        for taken, item in enumerate(items, start=1):
            event = item if isinstance(item, Reject) else codec.decode(item)
            if isinstance(event, Reject):
                told.refused(event)
            else:
                yield event, cast("Raw", item)
            if on_progress is not None and taken % PROGRESS_EVERY == 0:
                on_progress(taken)

    begin: int | None = None
    for event, raw, arrived in LogTime(allowed_skew_ms).stamped(events()):
        if arrived is None:
            told.refused(raw, RejectReason.FUTURE_TIMESTAMP, AHEAD_OF_LOG)
            continue
        if event.event_time - today() > allowed_skew_ms:
            told.refused(raw, RejectReason.FUTURE_TIMESTAMP, "event_time: has not come yet")
            continue
        if arrived - event.event_time > FAR_BEHIND_MS and isinstance(
            refused := codec.decode(raw._replace(received=arrived)), Reject
        ):
            told.refused(refused)
            continue
        if pace is not None:
            begin = now() if begin is None else begin
            due = begin + pace.due_ms(event.event_time)
            while (early := due - now()) > 0:
                sender.serve(early / 1000)
        if not sender.send(event, arrived, max_record_bytes):
            told.refused(raw, RejectReason.TOO_LARGE, f"more than {max_record_bytes} bytes")
    sender.finish()
    if on_progress is not None:
        on_progress(taken)
    sender.counts.rejects = told.finish()
    return sender.counts


class _Told:
    """Says which rows were not sent: the first in a line each, the others as a count by reason."""

    def __init__(self, say: Callable[[str], None] | None) -> None:
        self._say = say
        self._rejects = 0
        self._more: Counter[str] = Counter()

    def refused(self, row: Raw | Reject, reason: RejectReason | None = None, detail: str = "") -> None:
        """Count a row that was not sent: a reject, or a record and why."""
        if isinstance(row, Reject):
            log, number, reason, detail = row.topic, row.offset, row.reason, row.detail
        else:
            log, number = row.at.topic, row.at.offset
        self._rejects += 1
        if self._rejects > REJECTS_TOLD:
            self._more[str(reason)] += 1
        elif self._say is not None:
            self._say(f"{log}, row {number}: not sent, {reason}: {detail}")

    def finish(self) -> int:
        """Tell of the others, and return how many there were in all."""
        if self._more and self._say is not None:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(self._more.items()))
            self._say(f"{self._more.total():,} more rows not sent: {reasons}")
        return self._rejects


class _Sender:
    """One producer whose every delivery is looked at; the first that failed ends the sending."""

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
        """Hand one event to the producer, waiting for room in its queue; False where it is larger than is received."""
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
        """Look at the deliveries that were reported, waiting up to `seconds` for one."""
        self._producer.poll(seconds)
        if self._failed is not None:
            self._fail(self._failed)

    def finish(self) -> None:
        """Wait for every delivery; each ends in time, since the producer gives up on a message it cannot deliver."""
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
