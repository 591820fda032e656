"""Producing a log: what is sent, how it is checked, and at what pace. A real broker is asked in tests/kafka."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from dataflows.ingest.produce import Pace, Produced, ProduceError, produce
from dataflows.mapping.mapping import LogMapping
from dataflows.sources.files.log import Item, read_log
from schemas.codec.inputs import Codec, Encoder
from schemas.records.base import CHAT, MODERATION, Position, Raw, Subject
from schemas.records.events import ChatMessage, ModerationEvent
from schemas.records.rejects import Reject, RejectReason
from tests.kit.paths import ROOT

TOPICS: dict[Subject, str] = {CHAT: "chat", MODERATION: "moderation"}
START = 1_704_067_200_000


class FakeProducer:
    """A producer whose queue holds `room` messages and whose deliveries are told when it is polled.

    `fate` gives the error a message ends in, or None; polling for a time moves `clock` by as much.
    """

    def __init__(self, fate: Callable[[int], KafkaError | None] = lambda _number: None, room: int = 3) -> None:
        self.config: dict[str, Any] = {}
        self.messages: list[tuple[str, bytes, bytes, int]] = []
        self.sent_at: list[int] = []
        self.clock = 1_000
        self._fate, self._room = fate, room
        self._waiting: list[Callable[[], None]] = []

    def __call__(self, config: dict[str, Any]) -> Any:
        self.config = config
        return self

    def produce(self, topic: str, value: bytes, key: bytes, on_delivery: Any, timestamp: int) -> None:
        if len(self._waiting) >= self._room:
            raise BufferError
        number = len(self.messages)
        self.messages.append((topic, value, key, timestamp))
        self.sent_at.append(self.clock)
        self._waiting.append(lambda: on_delivery(self._fate(number), None))

    def poll(self, timeout: float) -> int:
        self.clock += round(timeout * 1_000)
        # As librdkafka may: a poll that does not wait tells of nothing yet.
        return self._tell() if timeout else 0

    def flush(self, timeout: float) -> int:
        self.clock += round(timeout * 1_000)
        self._tell()
        return len(self._waiting)

    def _tell(self) -> int:
        waiting, self._waiting = self._waiting, []
        for tell in waiting:
            tell()
        return len(waiting)


def _message(number: int, time: int = 0, user: str = "ann") -> Raw:
    value = {"event_id": f"m{number}", "event_time": START + time, "user_id": user, "channel": "main"}
    return Raw(CHAT, value, user.encode(), Position("log", 0, number, number), None)


def _produce(items: list[Item], fake: FakeProducer, **more: Any) -> Produced:
    return produce(
        items,
        producer_config={"bootstrap.servers": "localhost:1"},
        topics=TOPICS,
        encoder=Encoder,
        new_producer=fake,
        now=lambda: fake.clock,
        **more,
    )


def test_every_event_is_sent_as_a_replay_would_read_it() -> None:
    """Topic by subject, key by user, timestamp by the log's clock, and bytes that decode to the replayed record."""
    mapping = LogMapping.load(ROOT / "deploy" / "mappings" / "example.toml")
    items = list(read_log(ROOT / "tests" / "data" / "community.csv", mapping))
    fake = FakeProducer()
    counts = _produce(items, fake)
    assert counts == Produced(chat_messages=5, moderation_events=6, rejects=0)
    codec = Codec()
    clock = -1
    for item, (topic, value, key, timestamp) in zip(items, fake.messages, strict=True):
        assert isinstance(item, Raw)
        event = codec.decode(item)
        assert codec.decode(Raw(item.subject, value, key, item.at, None)) == event
        assert not isinstance(event, Reject)
        clock = max(clock + 1, event.event_time)
        assert (topic, key, timestamp) == (TOPICS[item.subject], event.user_id.encode(), clock)


def test_what_the_promise_rests_on_cannot_be_configured_away() -> None:
    """Idempotence, all acknowledgements, one request at a time, and the partitioner that JVM producers agree with."""
    fake = FakeProducer()
    produce(
        [],
        producer_config={
            "bootstrap.servers": "b:1",
            "acks": 0,
            "enable.idempotence": False,
            "max.in.flight.requests.per.connection": 5,
            "linger.ms": 5,
        },
        topics=TOPICS,
        encoder=Encoder,
        new_producer=fake,
    )
    assert fake.config == {
        "bootstrap.servers": "b:1",
        "linger.ms": 5,
        "acks": "all",
        "enable.idempotence": True,
        "max.in.flight.requests.per.connection": 1,
        "partitioner": "murmur2_random",
    }


def test_rejects_are_told_and_not_sent() -> None:
    """Rows the source refused and records that validation refuses; the line has coordinates and no values."""
    invalid = Raw(CHAT, {"event_id": "m1", "event_time": START, "user_id": ""}, b"", Position("log", 0, 1, 1), None)
    refused = Reject(
        reason=RejectReason.INVALID_UTF8,
        stage="source",
        detail="the row is not UTF-8",
        subject=CHAT,
        topic="log",
        partition=0,
        offset=2,
        seq=2,
        received=None,
        key=None,
        value=b"\xffsecret",
    )
    fake, lines = FakeProducer(), list[str]()
    counts = _produce([_message(0), invalid, refused, _message(3)], fake, on_reject=lines.append)
    assert counts == Produced(chat_messages=2, moderation_events=0, rejects=2)
    assert len(fake.messages) == 2
    assert lines[0].startswith("log, row 1: not sent, ")
    assert lines[1] == "log, row 2: not sent, invalid_utf8: the row is not UTF-8"


def test_a_full_queue_is_waited_for() -> None:
    """Nothing is dropped because the producer has no room."""
    fake = FakeProducer(room=2)
    assert _produce([_message(number) for number in range(25)], fake).chat_messages == 25
    assert len(fake.messages) == 25


def test_a_delivery_that_fails_ends_the_producing_and_is_told() -> None:
    """Even if it is the last one, of which only the flush can tell."""
    error = KafkaError(KafkaError._MSG_TIMED_OUT)
    for failing in (0, 7, 24):
        fake = FakeProducer({failing: error}.get)
        with pytest.raises(ProduceError, match=r"_MSG_TIMED_OUT: .*; \d+ are known to have arrived: correct the cause"):
            _produce([_message(number) for number in range(25)], fake)
        assert len(fake.messages) < 25 or failing == 24


def test_a_message_the_client_refuses_ends_the_producing() -> None:
    """Such as one that is larger than the broker takes."""

    class Refusing(FakeProducer):
        def produce(self, *_message: Any, **_more: Any) -> None:
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))

    with pytest.raises(ProduceError, match="MSG_SIZE_TOO_LARGE"):
        _produce([_message(0)], Refusing())


def test_a_rate_spreads_events_evenly_and_a_speed_follows_event_time() -> None:
    """Ten a second are 100 ms apart; at a thousand times event time, an hour takes 3.6 seconds."""
    items: list[Item] = [_message(0), _message(1, 3_600_000), _message(2, 1_800_000), _message(3, 7_200_000)]
    even, following, free = FakeProducer(), FakeProducer(), FakeProducer()
    _produce(items, even, pace=Pace(rate=10))
    assert even.sent_at == [1_000, 1_100, 1_200, 1_300]
    _produce(items, following, pace=Pace(speed=1_000))
    assert following.sent_at == [1_000, 4_600, 4_600, 8_200]
    _produce(items[:3], free)
    assert free.sent_at == [1_000] * 3


@pytest.mark.parametrize("wrong", [{"rate": 1.0, "speed": 1.0}, {"rate": 0.0}, {"speed": -1.0}])
def test_a_pace_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    """One of the two, above zero, or neither."""
    with pytest.raises(ValueError, match="rate and speed are"):
        Pace(**wrong)


def test_progress_is_told_in_items_of_the_log() -> None:
    """Every thousand and at the end."""
    heard: list[int] = []
    _produce([_message(number) for number in range(2_500)], FakeProducer(room=5_000), on_progress=heard.append)
    assert heard == [1_000, 2_000, 2_500]


def test_the_real_client_takes_this_configuration_and_reports_its_deliveries() -> None:
    """Librdkafka with its mock cluster: proof of the wiring, not of delivery."""
    counts = produce(
        [_message(number, user=f"user-{number % 7}") for number in range(300)],
        producer_config={"bootstrap.servers": "none", "test.mock.num.brokers": 1, "log_level": 0},
        topics=TOPICS,
        encoder=Encoder,
        new_producer=Producer,
    )
    assert counts == Produced(chat_messages=300, moderation_events=0, rejects=0)


def test_a_dead_broker_is_an_error_and_not_a_silent_loss() -> None:
    """The real client gives up after its delivery timeout, and that is told."""
    config = {"bootstrap.servers": "127.0.0.1:9", "message.timeout.ms": 200, "log_level": 0, "linger.ms": 0}
    with pytest.raises(ProduceError, match="0 are known to have arrived"):
        produce([_message(0)], producer_config=config, topics=TOPICS, encoder=Encoder)


LATER = 10 * 365 * 86_400_000


def _talk(count: int) -> list[Item]:
    return [_message(number, number * 60_000, f"user-{number % 6}") for number in range(count)]


@pytest.mark.parametrize("stray", [LATER, 253_402_300_799_999 - START, 2 * 365 * 86_400_000])
@pytest.mark.parametrize("at", [0, 20, 40])
def test_a_row_with_a_clock_ahead_is_told_and_dates_no_other(stray: int, at: int) -> None:
    """Beyond today or beyond the rows behind it: one line with its number, and the others arrive as without it."""
    talk = _talk(40)
    without, fake, lines = FakeProducer(), FakeProducer(), list[str]()
    _produce(talk, without, today=lambda: START + LATER // 2)
    strange = Raw(CHAT, {**_value(_message(99, stray, "x"))}, b"x", Position("log", 0, 6_000, 6_000), None)
    counts = _produce([*talk[:at], strange, *talk[at:]], fake, today=lambda: START + LATER // 2, on_reject=lines.append)
    if at < 40 or stray > LATER // 2:
        assert counts == Produced(chat_messages=40, rejects=1)
        assert fake.messages == without.messages
        assert [line.partition(": event_time")[0] for line in lines] == ["log, row 6000: not sent, future_timestamp"]
    else:
        assert fake.messages[:40] == without.messages  # nobody behind it says otherwise


def _value(item: Item) -> dict[str, Any]:
    assert isinstance(item, Raw)
    assert isinstance(item.value, dict)
    return item.value


def test_an_event_is_measured_against_the_time_at_which_it_arrives() -> None:
    """One far behind its neighbours is shown to the codec as the receiver would see it, and told if that refuses it."""

    class Narrow(Codec):
        def decode(self, raw: Raw) -> ChatMessage | ModerationEvent | Reject:
            event = super().decode(raw)
            if isinstance(event, Reject) or raw.received is None or raw.received - event.event_time < 1_000:
                return event
            return super().decode(raw._replace(value={**_value(raw), "event_time": -1}))

    fake, lines = FakeProducer(), list[str]()
    items: list[Item] = [_message(0, 10 * 86_400_000, "a"), _message(1, 0, "b"), _message(2, 10 * 86_400_000 + 5, "c")]
    counts = _produce([*items, _message(3, 10 * 86_400_000, "d")], fake, on_reject=lines.append, codec=Narrow())
    assert counts == Produced(chat_messages=3, rejects=1)
    assert [line.partition(": event_time")[0] for line in lines] == ["log, row 1: not sent, negative_timestamp"]


def test_only_so_many_rejects_are_told_in_a_line_each() -> None:
    """The others are a count by reason."""
    wrong: list[Item] = [
        Raw(CHAT, {**_value(_message(number)), "user_id": ""}, b"", Position("log", 0, number, number), None)
        for number in range(100)
    ]
    future = [_message(number, LATER) for number in range(100, 105)]
    fake, lines = FakeProducer(), list[str]()
    counts = _produce([*wrong, *future, _message(200)], fake, on_reject=lines.append, today=lambda: START + 1_000)
    assert counts == Produced(chat_messages=1, rejects=105)
    assert len(lines) == 21
    assert lines[-1] == "85 more rows not sent: 5 future_timestamp, 80 invalid_field"


def test_a_record_larger_than_is_received_is_told_and_not_sent() -> None:
    """The receiver would reject it as too large."""
    long = Raw(CHAT, {**_value(_message(1)), "text": "x" * 5_000}, b"ann", Position("log", 0, 1, 1), None)
    fake, lines = FakeProducer(), list[str]()
    counts = _produce([_message(0), long, _message(2)], fake, on_reject=lines.append, max_record_bytes=4_000)
    assert counts == Produced(chat_messages=2, rejects=1)
    assert lines == ["log, row 1: not sent, too_large: more than 4000 bytes"]
