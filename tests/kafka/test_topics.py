"""Creating the topics on a real broker, twice, and wrongly."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource

from dataflows.config.settings import KafkaSettings, Settings, TopicSettings
from dataflows.kafka.topics import BrokerError, create_topics, partition_counts
from dataflows.sinks.kafka.producer import CheckedProducer, Outgoing
from dataflows.sources.kafka.source import MergedKafkaSource, input_partitions
from tests.kit.kafka.logs import read_back

pytestmark = pytest.mark.kafka


@pytest.fixture
def settings(kafka: str) -> Settings:
    """Settings whose topics nobody has created yet."""
    run = uuid.uuid4().hex[:8]
    names = {name: f"{default}.{run}" for name, default in TopicSettings().model_dump().items()}
    return Settings(kafka=KafkaSettings(bootstrap_servers=kafka), topics=TopicSettings(**names))


def _config(admin: AdminClient, topic: str) -> dict[str, str]:
    (future,) = admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, topic)]).values()
    return {name: entry.value for name, entry in future.result(10).items()}


def test_topics_are_created_once_and_found_the_second_time(settings: Settings) -> None:
    """Running it again changes nothing and says so; the inputs are side by side at once."""
    first = create_topics(settings, 3, 1)
    assert first[0] == f"{settings.topics.chat_messages}: created, 3 partitions"
    assert first[3] == f"{settings.topics.risk_models}: created, 1 partition"
    assert len(first) == 7
    assert input_partitions(settings.kafka, settings.topics) == 3
    assert create_topics(settings, 3, 1) == [line.replace("created", "exists") for line in first]


def test_a_flow_may_start_the_moment_its_topics_are_there(settings: Settings) -> None:
    """Partitions whose leaders are still taking office are waited for, not taken for an error."""
    create_topics(settings, 16, 1)
    source = MergedKafkaSource(settings.kafka, settings.topics)
    for name in source.list_parts():
        part = source.build_part("in", name, None)
        assert part.snapshot()[2] == 0
        part.close()


def test_another_partition_count_is_an_error_and_creates_nothing(
    settings: Settings, topics: Callable[..., str]
) -> None:
    """A count that does not match what exists is answered before anything is made."""
    existing = topics("late", 2)
    names = settings.topics.model_copy(update={"late": existing})
    wrong = settings.model_copy(update={"topics": names})
    with pytest.raises(BrokerError) as caught:
        create_topics(wrong, 4, 1)
    assert str(caught.value) == (
        f"Topic {existing} exists with 2 partitions where 4 are asked for: ask for 2, or give the topic another name "
        "in the settings."
    )
    assert partition_counts(settings.kafka, names.model_dump().values()) == {existing: 2}


def test_more_replicas_than_brokers_is_the_brokers_word_in_one_sentence(settings: Settings) -> None:
    """What Kafka refuses is passed on with its reason and with what to check."""
    with pytest.raises(
        BrokerError, match=r"^Topic \S+ could not be created \(.*replication.*\): check that Kafka runs"
    ):
        create_topics(settings, 1, 5)


def test_every_topic_is_kept_as_its_meaning_asks(settings: Settings, admin: AdminClient) -> None:
    """Verdicts and models are compacted with a time to read them back, and old logs can be kept for ever."""
    create_topics(settings, 2, 1, input_retention_ms=-1)
    names = settings.topics
    verdicts = _config(admin, names.risk_events)
    assert verdicts["cleanup.policy"] == "compact"
    assert verdicts["min.compaction.lag.ms"] == str(7 * 24 * 3_600_000)
    assert verdicts["max.compaction.lag.ms"] == str(14 * 24 * 3_600_000)
    models = _config(admin, names.risk_models)
    assert models["cleanup.policy"] == "compact"
    assert models["min.compaction.lag.ms"] == str(30 * 24 * 3_600_000)
    assert models["max.compaction.lag.ms"] == str(35 * 24 * 3_600_000)
    assert _config(admin, names.risk_features)["cleanup.policy"] == "delete"
    assert _config(admin, names.chat_messages)["retention.ms"] == "-1"


@pytest.mark.parametrize("limit", [None, 3_000_000])
def test_the_largest_record_an_input_takes_still_fits_as_a_dead_letter(
    settings: Settings, topics: Callable[..., str], kafka: str, limit: int | None
) -> None:
    """A poisoned record as large as the input allows, wrapped as a reject, does not stop the flow."""
    chat = topics("chat", 1, **({} if limit is None else {"max.message.bytes": str(limit)}))
    names = settings.topics.model_copy(update={"chat_messages": chat})
    create_topics(settings.model_copy(update={"topics": names}), 1, 1)
    incompressible = b"".join(n.to_bytes(4, "big") for n in itertools.islice(_noise(), (limit or 1_048_588) // 4 - 100))
    for topic, extra in ((chat, b""), (names.dead_letters, b"x" * 60_000)):
        producer = CheckedProducer(settings.kafka, topic)
        producer.send([Outgoing(b"k", incompressible + extra, 1_000)])
        producer.close()
    (found,) = read_back(kafka, names.dead_letters)
    assert found.value() == incompressible + b"x" * 60_000


def _noise() -> itertools.chain[int]:
    """Numbers without a pattern a compressor finds (a linear congruential generator's high bits)."""

    def numbers() -> itertools.accumulate[int]:
        return itertools.accumulate(
            itertools.repeat(0), lambda x, _: (6_364_136_223_846_793_005 * x + 1_442_695_040_888_963_407) % 2**64
        )

    return itertools.chain(number >> 32 for number in numbers())
