"""A broker that goes away and comes back under source and sink: nothing lost, nothing doubled, and one line said."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import pytest

from dataflows.kafka.connection import CONNECTION
from dataflows.sinks.kafka.producer import CheckedProducer, Outgoing
from dataflows.sources.kafka.source import MergedKafkaSource
from schemas.records.base import Raw
from tests.kit.kafka.broker import Broker
from tests.kit.kafka.logs import Inputs, Written

pytestmark = pytest.mark.kafka


def test_source_and_sink_carry_on_when_the_broker_is_back(
    broker: Broker, make_inputs: Callable[..., Inputs], caplog: pytest.LogCaptureFixture
) -> None:
    """A restart of the broker is waited out on both sides; until a topic's end is found anew it counts as unread."""
    if not broker.can_restart:
        pytest.skip("the broker is not ours to stop")
    CONNECTION.reset(lambda _away: None)
    inputs = make_inputs()
    inputs.chat([Written("u1", 1_000, b"before")])
    part = MergedKafkaSource(*inputs).build_part("in", "00000", None)
    got: list[Raw] = []

    def until(what: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not what():
            assert time.monotonic() < deadline
            got.extend(part.next_batch())

    feeds = list(part._feeds.values())
    until(lambda: len(got) == 1 and all(feed.at_end for feed in feeds))
    producer = CheckedProducer(inputs.kafka, inputs.topics.chat_messages)
    items = [Outgoing(b"u1", b"%d" % n, 2_000 + n) for n in range(100)]
    sending = threading.Thread(target=producer.send, args=(items,))
    with caplog.at_level(logging.WARNING):
        broker.stop()
        sending.start()
        until(lambda: not any(feed.at_end for feed in feeds))
        broker.start()
        sending.join(30)
        assert not sending.is_alive()
        until(lambda: len(got) == 101)
        until(lambda: all(feed.at_end for feed in feeds))
    part.close()
    producer.close()
    CONNECTION.reset(lambda _away: None)
    assert [raw.value for raw in got] == [b"before", *(b"%d" % n for n in range(100))]
    assert [raw.at.seq for raw in got] == list(range(101))
    said = [(record.name, record.getMessage()) for record in caplog.records]
    begun = [said for name, said in said if name == "dataflows.kafka.connection" and "is not answering" in said]
    assert len(begun) == 1
    assert len(said) <= 3, said
