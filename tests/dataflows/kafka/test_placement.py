"""Records that lie where their users do not belong are counted, and told once."""

from __future__ import annotations

import logging

import pytest

from dataflows.kafka.partitioner import partition_of
from dataflows.kafka.placement import Placement
from dataflows.runtime.telemetry import Telemetry
from schemas.records.base import CHAT, Position, Raw
from schemas.records.events import ChatMessage, Event

PARTITIONS = 4


def record(user_id: str, *, key: bytes | None = None, off: int = 0, topic: str = "chat") -> tuple[Raw, Event]:
    """A user's message with a key of its own, or so many partitions off."""
    event = ChatMessage(event_id="e", event_time=1, user_id=user_id, channel="lobby")
    partition = (partition_of(user_id, PARTITIONS) + off) % PARTITIONS
    return Raw(CHAT, b"", user_id.encode() if key is None else key, Position(topic, partition, 0, 0), 1), event


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


def test_records_in_their_place_are_not_counted(telemetry: Telemetry, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever their users are called."""
    Placement(lambda: PARTITIONS, telemetry).look([record(user) for user in ("ann", "用户", "x" * 256)])
    assert telemetry.counts("misplaced") == {}
    assert caplog.messages == []


def test_another_partitioner_and_another_key_are_counted_by_topic_and_told_once_each(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    """The line says what is wrong and what producers have to do; there is no second one."""
    placement = Placement(lambda: PARTITIONS, telemetry)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            placement.look(
                [
                    record("ann"),
                    record("ann", off=1),
                    record("bob", key=b"channel-7", topic="moderation"),
                    record("cid", key=b"", topic="moderation"),
                ]
            )
    assert telemetry.counts("misplaced") == {"chat": 3, "moderation": 6}
    assert [line.partition(". ")[0] for line in caplog.messages] == [
        "Topic chat has records in another partition than their key asks for",
        "Topic moderation has records with another key than their user's id",
    ]
    assert all("partitioner=murmur2_random" in line for line in caplog.messages)


def test_a_number_of_partitions_that_is_not_known_yet_is_not_guessed(telemetry: Telemetry) -> None:
    """Keys can be looked at all the same."""
    Placement(lambda: None, telemetry).look([record("ann", off=1), record("ann", key=b"bob")])
    assert telemetry.counts("misplaced") == {"chat": 1}
