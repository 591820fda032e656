"""The live sink against a real broker: everything arrives where it belongs, or the flow stops and says so."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from bytewax import operators as op
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.testing import TestingSource, cluster_main, run_main
from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from dataflows.config.settings import KafkaSettings, Settings
from dataflows.kafka.partitioner import partition_of
from dataflows.kafka.topics import BrokerError
from dataflows.live.sinks import DeliveredSink, kafka_sinks
from dataflows.operators import deliver
from dataflows.operators.deliver import DeliverLogic
from dataflows.runtime.clock import now_ms
from dataflows.sinks.kafka.producer import CheckedProducer, DeliveryFailed, KafkaSink, Outgoing, producer_config
from detectors.base.points import DecisionPoint
from detectors.base.state import StateVersionError
from detectors.features.catalogue import NAMES
from detectors.features.signals import key_of
from detectors.scoring.served import ServedBatch
from schemas.codec.outputs import Decoder
from schemas.records.base import Position
from schemas.records.decisions import Tier
from tests.kit.kafka.broker import Broker
from tests.kit.kafka.logs import read_back

pytestmark = pytest.mark.kafka

JVM_PARTITIONS = {
    "21": 0,
    "foobar": 6,
    "a-little-bit-long-string": 8,
    "a-little-bit-longer-string": 11,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": 5,
    "abc": 3,
    "u1": 4,
    "用户": 0,
}
"""What `toPositive(murmur2(key)) % 12` of Kafka's own Java client 4.1.0 gives."""


@pytest.mark.parametrize(("user", "partition"), JVM_PARTITIONS.items())
def test_a_replay_deals_users_as_a_jvm_producer_does(user: str, partition: int) -> None:
    """So that it can say what a run over so many partitions would."""
    assert partition_of(user, 12) == partition


@pytest.fixture
def busy() -> Iterator[None]:
    """A machine that has too much to do, so that a broker takes its time."""
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    yield
    for burner in burners:
        burner.kill()
        burner.wait()


@pytest.mark.usefixtures("busy")
def test_what_is_written_to_topics_just_made_is_there(kafka: str) -> None:
    """A partition that gets its leader while the first messages are under way has all that it acknowledged.

    With several requests under way it lost the first batch of some partition in three of 25 rounds.
    """
    settings = KafkaSettings(bootstrap_servers=kafka)
    admin = AdminClient({"bootstrap.servers": kafka})
    for number in range(6):
        topic, acknowledged = f"fresh-{uuid.uuid4().hex[:8]}-{number}", set[bytes | None]()

        def note(error: KafkaError | None, message: Message, heard: set[bytes | None] = acknowledged) -> None:
            assert error is None
            heard.add(message.value())

        producer = Producer({**producer_config(settings), "linger.ms": 0, "batch.num.messages": 3})
        admin.create_topics([NewTopic(topic, 64, 1)])[topic].result()
        for value, partition in itertools.product(range(30), range(64)):
            producer.produce(topic, b"%d-%d" % (partition, value), partition=partition, on_delivery=note)
            if not partition:
                producer.poll(0)
        assert producer.flush(60) == 0
        assert len(acknowledged) == 30 * 64
        assert acknowledged == {message.value() for message in read_back(kafka, topic)}


def _flow(items: list[Outgoing], sink: KafkaSink, step: Callable[[Outgoing], Outgoing] = lambda item: item) -> Dataflow:
    flow = Dataflow("test")
    stream = op.input("in", flow, TestingSource(items, batch_size=10))
    op.output("out", op.map("step", stream, step), sink)
    return flow


def test_every_message_arrives_as_it_was_given(kafka: str, topics: Callable[..., str]) -> None:
    """Key, value, timestamp, headers and tombstones reach the topic, once each and in order within a partition."""
    topic = topics("out", 3)
    items = [Outgoing(b"u%d" % (n % 20), b"v%d" % n, 1_000 + n, (("schema", b"7"),)) for n in range(500)]
    items.append(Outgoing(b"u1", None, 2_000))
    run_main(_flow(items, KafkaSink(KafkaSettings(bootstrap_servers=kafka), topic)))
    found = read_back(kafka, topic)
    assert sorted((m.key(), m.value() or b"", m.timestamp()[1]) for m in found) == sorted(
        (item.key, item.value or b"", item.timestamp) for item in items
    )
    assert [m.key() for m in found if m.value() is None] == [b"u1"]
    assert all((m.headers() or []) == ([] if m.value() is None else [("schema", b"7")]) for m in found)
    for _, messages in itertools.groupby(found, key=lambda m: m.partition()):
        times = [m.timestamp()[1] for m in messages]
        assert times == sorted(times)


def test_a_message_without_a_time_gets_the_time_of_writing(kafka: str, topics: Callable[..., str]) -> None:
    """Records about now, such as dead letters, need no event time."""
    topic = topics("out")
    before = now_ms()
    producer = CheckedProducer(KafkaSettings(bootstrap_servers=kafka), topic)
    producer.send([Outgoing(b"k", b"v", None)])
    producer.close()
    (found,) = read_back(kafka, topic)
    assert before <= found.timestamp()[1] <= now_ms()


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_rows_are_published_of_a_share_of_the_users(kafka: str, topics: Callable[..., str], share: float) -> None:
    """Each as it was served, whatever batches they came in; whether a user is of the share is up to the id alone."""
    topic = topics("features", 2)
    settings = Settings.model_validate(
        {
            "kafka": {"bootstrap_servers": kafka},
            "topics": {"risk_features": topic},
            "run": {"feature_sample": share},
        }
    )
    users = [f"u{number % 20}" for number in range(60)]
    at = Position("chat", 0, 0, 0)
    points = [DecisionPoint(user, n, f"e{n}", (float(n),) * len(NAMES), 1, at) for n, user in enumerate(users)]
    matrix = np.array([point.vector for point in points])
    scores = np.where(np.arange(60) % 3, 0.25, np.nan)
    none = np.empty((0, 30))
    batches = [
        ServedBatch(points[part], matrix[part], scores[part], [Tier.WATCH] * 30, ["v"] * 30, none)
        for part in (slice(0, 30), slice(30, 60))
    ]
    part: Any = kafka_sinks(settings).features
    part.build("features", 0, 1).write_batch(batches)
    decoder = Decoder("feature_row")
    rows = [decoder.decode(message.value() or b"") for message in read_back(kafka, topic)]
    chosen = {user for user in users if key_of(user) % 2**20 < share * 2**20}
    assert len(chosen) == 0 if not share else 0 < len(chosen) <= 20
    assert sorted((row.as_of, row.user_id, row.event_id, row.score) for row in rows) == [
        (n, user, f"e{n}", 0.25 if n % 3 else None) for n, user in enumerate(users) if user in chosen
    ]
    assert all(row.features == dict.fromkeys(NAMES, float(row.as_of)) for row in rows)


def delivered(kafka: str, topic: str, **options: Any) -> DeliveredSink[Outgoing]:
    """A sink for messages that are encoded already, and that the client would rather gather for a minute."""
    settings = KafkaSettings(bootstrap_servers=kafka, options={"linger.ms": 60_000, **options})
    return DeliveredSink(settings, topic, lambda items: items)


def test_a_lane_goes_on_while_its_rows_are_written_and_a_snapshot_waits_for_them(
    kafka: str, topics: Callable[..., str]
) -> None:
    """A run that resumes from the snapshot begins behind them, so they have to be there."""
    topic = topics("rows", 2)
    sink, items = delivered(kafka, topic), [Outgoing(b"u%d" % n, b"v%d" % n, None) for n in range(300)]
    sink.build("rows", 0, 1)
    lanes = [DeliverLogic(sink.delivery(), None), DeliverLogic(sink.delivery(), None)]
    for number, lane in enumerate(lanes):
        assert lane.on_batch(items[number::2]) == ([], False)
    assert read_back(kafka, topic) == []
    snapshot = lanes[1].snapshot()
    assert len(read_back(kafka, topic)) == 300
    assert snapshot == lanes[0].snapshot()
    assert DeliverLogic(sink.delivery(), snapshot).snapshot() == snapshot
    with pytest.raises(StateVersionError, match="delivery state version 2 is unknown"):
        DeliverLogic(sink.delivery(), bytes([2]) + snapshot[1:])


@pytest.mark.parametrize("soon", [True, False])
def test_a_row_that_is_refused_stops_its_lane_with_the_snapshot_or_as_soon_as_it_goes_on(
    kafka: str, topics: Callable[..., str], soon: bool
) -> None:
    """Whichever comes first; it is told once, and the engine may close what failed."""
    topic = topics("rows", **{"max.message.bytes": "20000"})
    sink = delivered(kafka, topic, **{"linger.ms": 0})
    part = sink.build("rows", 0, 1)
    lane = DeliverLogic(sink.delivery(), None)

    def go_on() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            lane.on_batch([])

    lane.on_batch([Outgoing(b"k", random.Random(1).randbytes(40_000), None)])
    with pytest.raises(DeliveryFailed, match=r"did not take 1 messages .*max\.message\.bytes has room"):
        go_on() if soon else lane.snapshot()
    part.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_all_that_lanes_deliver_is_there_when_a_flow_has_ended(
    kafka: str, topics: Callable[..., str], workers: int
) -> None:
    """Once each, whichever worker a lane is with."""
    topic = topics("rows", 2)
    items = [(f"{n % 5:03d}", Outgoing(b"u%d" % n, b"v", None)) for n in range(200)]
    flow = Dataflow("test")
    deliver("out", op.input("in", flow, TestingSource(items, batch_size=10)), delivered(kafka, topic))
    cluster_main(flow, [], 0, worker_count_per_proc=workers)
    assert sorted(m.key() or b"" for m in read_back(kafka, topic)) == sorted(item.key for _, item in items)


def test_two_workers_write_side_by_side(kafka: str, topics: Callable[..., str]) -> None:
    """Each worker has a producer of its own, and together they write everything once."""
    topic = topics("out", 2)
    items = [Outgoing(b"u%d" % n, b"v", 1_000) for n in range(200)]
    sink = KafkaSink(KafkaSettings(bootstrap_servers=kafka), topic)
    cluster_main(_flow(items, sink), [], 0, worker_count_per_proc=2)
    assert sorted(m.key() or b"" for m in read_back(kafka, topic)) == sorted(item.key for item in items)


def test_keys_go_to_the_partitions_a_jvm_producer_would_choose(kafka: str, topics: Callable[..., str]) -> None:
    """Our records and a platform's own meet in the same partition of co-partitioned topics."""
    topic = topics("out", 12)
    producer = CheckedProducer(KafkaSettings(bootstrap_servers=kafka), topic)
    producer.send([Outgoing(key.encode(), b"v", 1_000) for key in JVM_PARTITIONS])
    assert {(m.key() or b"").decode(): m.partition() for m in read_back(kafka, topic)} == JVM_PARTITIONS


def test_a_full_queue_waits_for_room(kafka: str, topics: Callable[..., str]) -> None:
    """More messages than the client's queue holds are written all the same, once each."""
    topic = topics("out")
    settings = KafkaSettings(bootstrap_servers=kafka, options={"queue.buffering.max.messages": 10})
    CheckedProducer(settings, topic).send(Outgoing(b"k", b"%d" % n, 1_000) for n in range(300))
    assert [m.value() for m in read_back(kafka, topic)] == [b"%d" % n for n in range(300)]


def test_a_message_the_broker_refuses_stops_the_flow_without_quoting_it(
    kafka: str, topics: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    """A record larger than the topic takes is a failure in one sentence, which never shows what was in it."""
    topic = topics("out", **{"max.message.bytes": "20000"})
    # No two bytes alike in a row, so that compression does not bring it under the limit.
    secret = b"hush-hush " + b"".join(n.to_bytes(4, "big") for n in range(3_000_000, 3_020_000))
    items = [Outgoing(b"k", b"fits", 1_000), Outgoing(b"k", secret, 1_000)]
    with pytest.raises(BytewaxRuntimeError) as caught:
        run_main(_flow(items, KafkaSink(KafkaSettings(bootstrap_servers=kafka), topic)))
    error = _root(caught.value)
    assert isinstance(error, DeliveryFailed)
    assert str(error).startswith(f"Topic {topic} did not take ")
    assert "Message size too large" in str(error)
    assert "max.message.bytes has room" in str(error)
    assert "hush-hush" not in str(error) + capfd.readouterr().err


def test_a_missing_topic_is_not_made_up_by_writing_to_it(kafka: str) -> None:
    """A broker would create it with its defaults; the sink asks first."""
    for _ in range(2):
        with pytest.raises(BrokerError, match=r"^Topic nobody\.made\.it does not exist at .*topics create`\.$"):
            KafkaSink(KafkaSettings(bootstrap_servers=kafka), "nobody.made.it").build("out", 0, 1)


def test_a_dead_broker_fails_the_flow_rather_than_losing_a_message(broker: Broker, topics: Callable[..., str]) -> None:
    """When the broker dies under a running flow, the flow ends with an error that says what to do."""
    if not broker.can_restart:
        pytest.skip("the broker is not ours to stop")
    topic = topics("out")
    # what is sent before the plug is pulled has to arrive in that time, on a busy machine too
    settings = KafkaSettings(bootstrap_servers=broker.address, delivery_timeout_ms=10_000)
    items = [Outgoing(b"k", b"%d" % n, 1_000) for n in range(30)]

    def pull_the_plug(item: Outgoing) -> Outgoing:
        if item.value == b"15":
            broker.kill()
        return item

    with pytest.raises(BytewaxRuntimeError) as caught:
        run_main(_flow(items, KafkaSink(settings, topic), pull_the_plug))
    broker.start()
    error = _root(caught.value)
    assert isinstance(error, DeliveryFailed)
    assert str(error).startswith(f"Topic {topic} did not take 10 messages (")
    assert str(error).endswith("then start again; nothing is skipped.")
    assert [m.value() for m in read_back(broker.address, topic)] == [b"%d" % n for n in range(10)]


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error
