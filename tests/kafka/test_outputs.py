"""Output topics and schemas are looked at before a start, and a reject that does not fit wedges nothing."""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections.abc import Callable, Iterator
from hashlib import sha256

import pytest
from confluent_kafka import OFFSET_BEGINNING
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from dataflows.config.settings import KafkaSettings, Settings, TopicSettings
from dataflows.ingest.redrive import Selection, redrive
from dataflows.kafka.topics import ENVELOPE_BYTES, TopicError, check_outputs, create_topics, partition_counts
from dataflows.live.sinks import check_subjects, registered_as
from dataflows.sinks.kafka.producer import MessageTooLarge
from dataflows.sinks.kafka.rejects import KEY_BYTES, LEFT_OUT, LEFT_OUT_HASH, RejectSink, RejectSinkPart
from dataflows.sources.kafka.to_end import read_to_end
from schemas.codec.inputs import RegistrySettings
from schemas.codec.outputs import Decoder, Encoder
from schemas.records.base import CHAT
from schemas.records.rejects import Reject, RejectReason
from schemas.registry.settings import RegistryError
from schemas.released.catalogue import released
from tests.kit.scripted_registry import Scripted, answering

pytestmark = pytest.mark.kafka

Alter = Callable[..., None]


@pytest.fixture
def settings(kafka: str) -> Settings:
    """Settings whose topics were just created."""
    run = uuid.uuid4().hex[:8]
    names = {name: f"{default}.{run}" for name, default in TopicSettings().model_dump().items()}
    made = Settings(kafka=KafkaSettings(bootstrap_servers=kafka, group_id=run), topics=TopicSettings(**names))
    create_topics(made, 1, 1)
    return made


@pytest.fixture
def alter(admin: AdminClient) -> Alter:
    """Set something of a topic: `alter("chat", **{"max.message.bytes": 8_000_000})`."""

    def change(topic: str, **config: object) -> None:
        entries = [
            ConfigEntry(name, str(value), incremental_operation=AlterConfigOpType.SET) for name, value in config.items()
        ]
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=entries)
        admin.incremental_alter_configs([resource])[resource].result(30)
        asked = ConfigResource(ConfigResource.Type.TOPIC, topic)
        deadline = time.monotonic() + 30
        while True:  # the controller knows it at once, the broker that is asked a little later
            found = admin.describe_configs([asked])[asked].result(30)
            if all(found[name].value == str(value) for name, value in config.items()):
                return
            assert time.monotonic() < deadline

    return change


def problems(settings: Settings) -> list[str]:
    """What a start would say of the outputs."""
    with pytest.raises(TopicError) as caught:
        check_outputs(settings)
    return str(caught.value).splitlines()


def test_topics_as_they_are_created_are_fit(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is said of them."""
    with caplog.at_level(logging.WARNING):
        check_outputs(settings)
    assert caplog.messages == []


def test_every_output_that_is_missing_is_named(settings: Settings, admin: AdminClient) -> None:
    """All at once, each with what to do."""
    gone = [settings.topics.risk_models, settings.topics.late]
    for removed in admin.delete_topics(gone).values():
        removed.result(30)
    while partition_counts(settings.kafka, gone):  # the broker hears of it a little after the controller
        pass
    address = settings.kafka.bootstrap_servers
    assert problems(settings) == [
        f"Topic {topic} does not exist at {address}: run `forewarn topics create`." for topic in gone
    ]


@pytest.mark.parametrize("output", ["dead_letters", "late"])
def test_an_output_that_is_too_small_for_an_input_is_refused_and_mended(
    settings: Settings, alter: Alter, output: str
) -> None:
    """The input's limit was raised after the topics were made; `topics create` tells it, and sets it when asked."""
    topic, needed = getattr(settings.topics, output), 8_000_000 + ENVELOPE_BYTES
    alter(settings.topics.chat_messages, **{"max.message.bytes": 8_000_000})
    alter(
        settings.topics.late if output == "dead_letters" else settings.topics.dead_letters,
        **{"max.message.bytes": needed},
    )
    was = 1_048_588 + ENVELOPE_BYTES
    remedy = "run `forewarn topics create --alter`, or set it there."
    assert problems(settings) == [f"Topic {topic} has max.message.bytes {was} where {needed} is needed: {remedy}"]
    told = f"{topic}: max.message.bytes {was} where {needed} is needed; --alter sets it"
    assert [line for line in create_topics(settings, 1, 1) if "max.message.bytes" in line] == [told]
    assert problems(settings)  # telling changed nothing
    told = f"{topic}: max.message.bytes was {was}, is {needed}"
    assert [line for line in create_topics(settings, 1, 1, alter=True) if "max.message.bytes" in line] == [told]
    check_outputs(settings)


def test_a_limit_that_is_larger_than_needed_is_fine(settings: Settings, alter: Alter) -> None:
    """Nobody is told to make it smaller."""
    alter(settings.topics.dead_letters, **{"max.message.bytes": 50_000_000})
    check_outputs(settings)
    assert len(create_topics(settings, 1, 1)) == 7


@pytest.mark.parametrize(
    ("output", "policy", "fit"),
    [
        ("risk_events", "delete", False),
        ("risk_models", "delete", False),
        ("risk_events", "compact,delete", True),
        ("dead_letters", "compact", False),
        ("dead_letters", "compact,delete", False),
        ("risk_features", "compact", False),
    ],
)
def test_a_topic_that_is_cleaned_otherwise_than_its_meaning_asks_is_refused(
    settings: Settings, alter: Alter, output: str, policy: str, fit: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Verdicts that expire, or dead letters of which only the latest stays, are a loss that nobody sees."""
    topic = getattr(settings.topics, output)
    alter(topic, **{"cleanup.policy": policy})
    with caplog.at_level(logging.WARNING):
        if fit:
            check_outputs(settings)
        said = caplog.messages if fit else problems(settings)
    assert any(line.startswith(f"Topic {topic} has cleanup.policy {policy} where ") for line in said)
    create_topics(settings, 1, 1, alter=True)
    check_outputs(settings)


def test_a_shorter_compaction_lag_is_warned_of(
    settings: Settings, alter: Alter, caplog: pytest.LogCaptureFixture
) -> None:
    """It is no reason to stop, but somebody should know."""
    alter(settings.topics.risk_events, **{"min.compaction.lag.ms": 0})
    with caplog.at_level(logging.WARNING):
        check_outputs(settings)
    (line,) = caplog.messages
    assert line.startswith(f"Topic {settings.topics.risk_events} has min.compaction.lag.ms 0 where 604800000 is needed")


@pytest.fixture
def sink(settings: Settings) -> Iterator[RejectSinkPart]:
    """The writer of dead letters."""
    part = RejectSink(settings.kafka, settings.topics.dead_letters, Encoder("reject").encode).build("x", 0, 1)
    yield part
    part.close()


def reject(settings: Settings, offset: int, value: bytes | None, key: bytes | None = b"u1") -> Reject:
    """A reject of a chat message."""
    return Reject(
        reason=RejectReason.TOO_LARGE,
        stage="decode",
        detail="more than it takes",
        subject=CHAT,
        topic=settings.topics.chat_messages,
        partition=0,
        offset=offset,
        seq=offset,
        received=1,
        key=key,
        value=value,
    )


def letters(settings: Settings) -> list[tuple[Reject, dict[str, bytes]]]:
    """Everything on the dead-letter topic, with its headers."""
    decoder = Decoder("reject")
    found = read_to_end(settings.kafka, settings.topics.dead_letters, {0: OFFSET_BEGINNING}, 30_000)
    return [
        (Reject.model_validate(decoder.decode(one.value() or b"").model_dump()), dict(one.headers() or ()))
        for one in found
    ]


def test_a_reject_that_does_not_fit_is_written_without_its_value(
    settings: Settings, alter: Alter, sink: RejectSinkPart, caplog: pytest.LogCaptureFixture
) -> None:
    """Those beside it are written whole; redrive sends those, and says where the other is to be fetched from."""
    alter(settings.topics.dead_letters, **{"max.message.bytes": 20_000})
    value, small = random.Random(3).randbytes(40_000), b"small"
    with caplog.at_level(logging.WARNING):
        sink.write_batch([reject(settings, 0, small), reject(settings, 1, value), reject(settings, 2, small)])
        sink.write_batch([reject(settings, 3, small)])
    found = {item.offset: (item, headers) for item, headers in letters(settings)}
    assert sorted(found) == [0, 1, 2, 3]
    assert {offset: item.value for offset, (item, _) in found.items()} == {0: small, 1: None, 2: small, 3: small}
    item, headers = found[1]
    assert (item.topic, item.partition, item.key) == (settings.topics.chat_messages, 0, b"u1")
    assert headers == {LEFT_OUT: b"40000", LEFT_OUT_HASH: sha256(value).hexdigest().encode()}
    assert [headers for offset, (_, headers) in found.items() if offset != 1] == [{}] * 3
    assert len([line for line in caplog.messages if "it is written without its value" in line]) == 1
    survey, sent = redrive(settings, Selection(), send=True)
    assert sent == 3
    (line,) = [line for line in survey.lines(sent) if "fetch" in line]
    assert line == (
        "1 rejects were too large for the dead-letter topic and are there without their values: fetch them from where "
        f"they came from, and produce them again from there: {settings.topics.chat_messages} partition 0 offset 1."
    )
    assert redrive(settings, Selection(), send=True)[1] == 0


def test_many_rejects_that_fit_one_by_one_keep_their_values(
    settings: Settings, alter: Alter, sink: RejectSinkPart
) -> None:
    """A batch that is too large as a whole is no reason to leave anything out."""
    alter(settings.topics.dead_letters, **{"max.message.bytes": 20_000})
    values = [random.Random(seed).randbytes(8_000) for seed in range(12)]
    sink.write_batch([reject(settings, offset, value) for offset, value in enumerate(values)])
    assert {item.offset: item.value for item, _ in letters(settings)} == dict(enumerate(values))


def test_a_key_that_does_not_fit_is_left_out_as_well(settings: Settings, alter: Alter, sink: RejectSinkPart) -> None:
    """Kafka's limit counts keys too, and who writes to the input chooses them."""
    alter(settings.topics.dead_letters, **{"max.message.bytes": 20_000})
    long, short = random.Random(4).randbytes(30_000), b"k" * KEY_BYTES
    sink.write_batch(
        [reject(settings, 0, b"v", long), reject(settings, 1, b"v" * 9, long), reject(settings, 2, None, short)]
    )
    assert {item.offset: item.key for item, _ in letters(settings)} == {0: None, 1: None, 2: short}


def test_a_topic_that_takes_nothing_ends_the_run(settings: Settings, alter: Alter, sink: RejectSinkPart) -> None:
    """There is nothing left to leave out, and nothing is to be lost."""
    alter(settings.topics.dead_letters, **{"max.message.bytes": 50})
    with pytest.raises(MessageTooLarge, match="did not take 1 messages"):
        sink.write_batch([reject(settings, 0, b"v")])


def test_every_schema_of_a_run_is_looked_up_before_it_starts(settings: Settings, registry: Scripted) -> None:
    """One that is refused is said at once, and not when its first record is written."""
    names = list(registered_as(settings.topics).values())
    own = settings.model_copy(update={"registry": registry.settings})
    for number, name in enumerate(names, 1):
        registry.put(f"POST /subjects/{name}", 200, {"id": number, "version": 1, "subject": name, "schema": "x"})
    check_subjects(own)
    assert registry.asked == [f"POST /subjects/{name}" for name in names]
    registry.put(f"POST /subjects/{names[-1]}", 404, {"error_code": 40403, "message": "Schema not found"})
    registry.put(f"POST /subjects/{names[-1]}/versions", 409, {"error_code": 409, "message": "incompatible"})
    with pytest.raises(RegistryError, match=f"refuses our schema under {names[-1]}"):
        check_subjects(own)


def test_a_run_writes_under_no_name_that_was_not_looked_up(settings: Settings) -> None:
    """Every schema that outputs are written with is among those that a start asks for."""
    assert set(registered_as(settings.topics)) == set(released().subjects())
    check_subjects(settings.model_copy(update={"registry": RegistrySettings(url="mock://start")}))
    check_subjects(settings)  # and without a registry there is nobody to ask


@pytest.fixture
def registry() -> Iterator[Scripted]:
    """A registry over HTTP that knows no schema but lists its types."""
    with answering() as scripted:
        yield scripted
