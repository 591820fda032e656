"""Input topics for the tests that read them."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from dataflows.config.settings import KafkaSettings, TopicSettings
from tests.kit.kafka.logs import Inputs


@pytest.fixture
def make_inputs(kafka: str, topics: Callable[..., str]) -> Callable[..., Inputs]:
    """Make a pair of input topics nobody else uses, with a consumer group of their own."""

    def make(partitions: int = 1, **config: str) -> Inputs:
        names = TopicSettings(
            chat_messages=topics("chat", partitions, **config),
            moderation_events=topics("moderation", partitions, **config),
        )
        return Inputs(KafkaSettings(bootstrap_servers=kafka, group_id=f"test-{uuid.uuid4().hex[:8]}"), names)

    return make
