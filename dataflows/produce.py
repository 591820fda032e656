"""Sends a log to the input topics: the very records and ids a replay of it would read, one message each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from dataflows.clock import now_ms
from dataflows.sinks.kafka import RELIABLE
from dataflows.sources.log import Item
from detectors.log_clock import LogClock
from schemas.codec import Codec
from schemas.records import CHAT, MODERATION, ChatMessage, Event, Reject, Subject

Topics = Mapping[Subject, str] | Mapping[str, str]
"""The topic of each subject."""

DAY = 86_400_000
"""An event may be dated so far ahead of the log's clock (ms) and still count for it."""
PROGRESS_EVERY = 1_000
"""Items between two calls of `on_progress`."""


class ProduceError(RuntimeError):
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
    new_producer: Callable[[dict[str, Any]], Producer] = Producer,
    now: Callable[[], int] = now_ms,
) -> Produced:
    """Send every event of a log to the topic of its subject, keyed by user, in the order of the log.

    A record's timestamp is when it would have arrived: its event time or, for an event behind the ones before it or
    beside them, a millisecond after the latest. By it the two topics are merged again as they were in the log.

    Each record is validated as the dataflow would; what is not an event is counted and told to `on_reject` in a line
    with its coordinates. `on_progress` is called with the number of items taken from the log.

    Raises:
        ProduceError: as soon as a delivery is known to have failed; some of the log is then on the topics already.
    """
    sender = _Sender({**producer_config, **RELIABLE}, topics, encoder, new_producer)
    codec = Codec() if codec is None else codec
    begin: int | None = None
    taken = 0
    for taken, item in enumerate(items, start=1):
        event = item if isinstance(item, Reject) else codec.decode(item)
        if isinstance(event, Reject):
            sender.counts.rejects += 1
            if on_reject is not None:
                on_reject(f"{event.topic}, row {event.offset}: not sent, {event.reason}: {event.detail}")
        else:
            if pace is not None:
                begin = now() if begin is None else begin
                due = begin + pace.due_ms(sender.time_of(event))
                while (early := due - now()) > 0:
                    sender.serve(early / 1000)
            sender.send(event)
        if on_progress is not None and taken % PROGRESS_EVERY == 0:
            on_progress(taken)
    sender.finish()
    if on_progress is not None:
        on_progress(taken)
    return sender.counts


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
        self._clock, self._log = -1, LogClock()
        self._producer = new_producer(config)
        self._chat = (topics[CHAT], encoder(CHAT).encode, self._delivered_chat)
        self._moderation = (topics[MODERATION], encoder(MODERATION).encode, self._delivered_moderation)

    def time_of(self, event: Event) -> int:
        """Return the event time (ms), or the latest one before it where it is dated beyond what the log supports."""
        self._log.advance(event.user_id, event.event_time)
        reach = self._log.reach(DAY)
        return event.event_time if reach < 0 or event.event_time <= reach else max(self._clock, 0)

    def send(self, event: Event) -> None:
        """Hand one event to the producer, waiting for room in its queue."""
        topic, encode, delivered = self._chat if isinstance(event, ChatMessage) else self._moderation
        # strictly rising, so that the source, which merges the topics by record timestamp, gives the log's own order;
        # but for events dated beyond what the log supports, which must not date all records after them
        stamp = event.event_time
        if self.time_of(event) == stamp:
            reach = self._log.reach(DAY)
            if 0 <= reach < self._clock:  # what came before two users were heard of was dated beyond
                self._clock = -1
            stamp = self._clock = max(self._clock + 1, stamp)
        value, key = encode(event), event.user_id.encode()
        while True:
            try:
                self._producer.produce(topic, value, key, on_delivery=delivered, timestamp=stamp)
            except BufferError:
                self.serve(1.0)
            except KafkaException as error:
                self._fail(error.args[0])
            else:
                break
        self.serve(0.0)

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
