"""Redrive on a real broker: poison, fix, redrive, and every good record counted once, however often it is killed."""

from __future__ import annotations

import re
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from threading import Timer
from typing import Any, NamedTuple

import orjson
import pytest
from click.testing import CliRunner
from confluent_kafka import Message, Producer
from confluent_kafka.schema_registry import Schema
from fastavro import schemaless_writer

from dataflows.cli.main import main
from dataflows.config.settings import Settings
from dataflows.ingest.redrive import Selection, Writer, redrive
from dataflows.kafka.headers import SCHEMA_ID
from dataflows.runtime.clock import now_ms
from dataflows.sinks.kafka.producer import CheckedProducer, Outgoing
from dataflows.sinks.kafka.transactions import FencedOutError
from dataflows.testing import START
from detectors.features.catalogue import NUMBERS
from schemas.codec.outputs import Decoder, Encoder
from schemas.records.decisions import FeatureRow
from schemas.records.rejects import Reject, RejectReason
from schemas.registry.client import client
from schemas.registry.settings import RegistrySettings
from schemas.released.catalogue import released
from tests.kit.kafka.logs import read_back
from tests.kit.paths import ROOT

pytestmark = pytest.mark.kafka

IN_THE_CHANNEL = {"channel_rate", "channel_share", "channel_sanctions", "excess_mean_24h", "quick_answer_ratio_24h"}
"""Features of what others did there before."""

POLICY = ROOT / "deploy/policies/example.toml"
PARTITIONS = 2
MINUTE = 60_000
LIMIT = 400
"""Bytes after which a value is poison, until the setting is raised."""

HELD = """
import sys
from pathlib import Path

import dataflows.sinks.kafka.transactions as module
from dataflows.config.settings import Settings
from dataflows.ingest import redrive

settings, when = Path(sys.argv[1]), sys.argv[2]


class Held(module.Producer):
    commits = 0

    def commit_transaction(self, *seconds):
        self.commits += 1
        if self.commits == 3 and when == "before":
            self.flush()
            hold()
        super().commit_transaction(*seconds)
        if self.commits == 3:
            hold()


def hold():
    print("held", flush=True)
    sys.stdin.read()


module.Producer = Held
redrive.redrive(Settings.load(settings), redrive.Selection(), send=True, batch_records=20)
"""
"""A redrive that stands still around its third commit, so that it can be killed exactly there."""


class Sent(NamedTuple):
    """A record for an input topic."""

    subject: str
    user: str
    value: bytes
    time: int | None


class Deployment:
    """Topics and settings of its own."""

    def __init__(self, kafka: str, folder: Path) -> None:
        self.kafka, self.file, self.name = kafka, folder / "settings.toml", uuid.uuid4().hex[:8]
        names = ("chat_messages", "moderation_events", "risk_events", "risk_models", "risk_features", "late")
        self.head = f'[kafka]\nbootstrap_servers = "{kafka}"\ngroup_id = "{self.name}"\n' + (
            f'[recovery]\ndirectory = "{folder / "recovery"}"\npartitions = 2\n[topics]\n'
            + "".join(f'{topic} = "{self.topic(topic)}"\n' for topic in (*names, "dead_letters"))
        )
        self.allow(1_048_576)
        self.forewarn("topics", "create", "--partitions", PARTITIONS, "--keep-inputs")

    def topic(self, setting: str) -> str:
        return f"{self.name}.{setting.replace('_', '-')}"

    def allow(self, max_record_bytes: int) -> None:
        self.configure(f"[run]\nmax_record_bytes = {max_record_bytes}\n")

    def configure(self, more: str) -> None:
        self.file.write_text(self.head + more)

    @property
    def settings(self) -> Settings:
        return Settings.load(self.file)

    def forewarn(self, *arguments: object) -> str:
        words = [str(argument) for argument in (*arguments, "--settings", self.file)]
        result = CliRunner().invoke(main, words, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    def run(self) -> str:
        return self.forewarn("run", "--policy", POLICY, "--until-end")

    def read(self, setting: str) -> list[Message]:
        return read_back(self.kafka, self.topic(setting))

    def produce(self, records: list[Sent]) -> None:
        producer = Producer({"bootstrap.servers": self.kafka, "partitioner": "murmur2_random"})
        topics = {"chat": self.topic("chat_messages"), "moderation": self.topic("moderation_events")}
        for record in records:
            producer.produce(topics[record.subject], record.value, record.user, timestamp=record.time or 0)
        assert producer.flush(30) == 0

    def rows(self) -> list[FeatureRow]:
        decoder = Decoder("feature_row")
        found = [decoder.decode(message.value() or b"") for message in self.read("risk_features")]
        return [row for row in found if isinstance(row, FeatureRow)]

    def reject(self, offset: int, **changes: Any) -> Reject:
        described: dict[str, Any] = {
            "reason": "too_large",
            "stage": "decode",
            "detail": "",
            "subject": "chat_message",
            "topic": self.topic("chat_messages"),
            "partition": offset % PARTITIONS,
            "offset": offset,
            "seq": offset,
            "received": 5,
            "key": b"user %d" % (offset % 7),
            "value": b"value %d" % offset,
        }
        return Reject.model_validate({**described, **changes})

    def refuse(self, rejects: list[Reject], time: int | None = None) -> None:
        """Put the rejects on the dead-letter topic as a run does."""
        encoder, producer = Encoder("reject"), CheckedProducer(self.settings.kafka, self.topic("dead_letters"))
        producer.send([Outgoing(item.key or b"", encoder.encode(item), time) for item in rejects])
        producer.close()

    def resent(self) -> Counter[tuple[bytes | None, bytes | None]]:
        messages = [*self.read("chat_messages"), *self.read("moderation_events")]
        return Counter((m.key(), m.value()) for m in messages if dict(m.headers() or ()).get("redriven-from"))


@pytest.fixture
def deploy(kafka: str, tmp_path: Path) -> Callable[[str], Deployment]:
    def make(name: str) -> Deployment:
        folder = tmp_path / name
        folder.mkdir()
        return Deployment(kafka, folder)

    return make


@pytest.fixture
def deployment(deploy: Callable[[str], Deployment]) -> Deployment:
    return deploy("one")


def once(rejects: list[Reject]) -> Counter[tuple[bytes | None, bytes | None]]:
    counts = Counter((item.key, item.value) for item in rejects)
    assert set(counts.values()) == {1}
    return counts


def said_sent(output: str) -> str:
    return output.splitlines()[-1]


def community() -> tuple[list[Sent], list[Sent]]:
    """Forty minutes of twelve users, and a last message of each.

    All that u03 and u07 do, one message of u01 and one report about u02 is too long for `LIMIT`.
    """
    events: list[Sent] = []
    for minute in range(0, 40, 4):
        for number in range(12):
            user, time = f"u{number:02d}", START + minute * MINUTE + number * 1_000
            large = number in {3, 7}
            base = {"event_time": time, "user_id": user}
            text = f"{user} at {minute} " + "long " * (100 * (large or (number == 1 and minute == 20)))
            chat = {**base, "event_id": f"c-{user}-{minute}", "channel": "lobby", "text": text}
            events.append(Sent("chat", user, orjson.dumps(chat), time))
            if minute % 16 == 4:
                long_name = "x" * (250 * (large or (number == 2 and minute == 20)))
                report = {
                    "reporter_id": f"r{minute}",
                    "category": "spam" + long_name[:100],
                    "channel": "lobby" + long_name[:100],
                }
                told = {**base, "event_id": f"m-{user}-{minute}-{long_name[:200]}", "kind": "report", "report": report}
                events.append(Sent("moderation", user, orjson.dumps(told), time + 1))
    last = [
        Sent("chat", user, orjson.dumps({"event_id": f"last-{user}", "event_time": START + 50 * MINUTE, **who}), None)
        for user in (f"u{number:02d}" for number in range(12))
        for who in ({"user_id": user, "channel": "lobby", "text": "the last"},)
    ]
    return events, last


def test_poison_fix_redrive_and_every_good_record_is_counted_once(deploy: Callable[[str], Deployment]) -> None:
    """Too large for the setting, then allowed and redriven: the counters are those of a run that never refused."""
    events, last = community()
    calm, poisoned = deploy("calm"), deploy("poisoned")
    calm.produce(events)
    calm.run()
    calm.produce(last)
    calm.run()

    good = [event for event in events if len(event.value) <= LIMIT]
    refused = [event for event in events if len(event.value) > LIMIT]
    junk = Sent("chat", "u05", b'{"never": good', START)
    poisoned.allow(LIMIT)
    poisoned.produce([junk, *events])
    poisoned.run()
    assert len(poisoned.rows()) == len(good)
    assert len(poisoned.read("dead_letters")) == len(refused) + 1 > 20

    poisoned.allow(1_048_576)
    before = len(poisoned.read("chat_messages"))
    assert f"{len(refused)} records would be sent again" in poisoned.forewarn("redrive", "--reason", "too_large")
    assert len(poisoned.read("chat_messages")) == before
    sending = ("redrive", "--reason", "too_large", "--send")
    assert said_sent(poisoned.forewarn(*sending)) == f"{len(refused)} records sent again."
    assert said_sent(poisoned.forewarn(*sending)) == "0 records sent again."
    assert poisoned.resent() == Counter((event.user.encode(), event.value) for event in refused)
    poisoned.run()
    poisoned.produce(last)
    poisoned.run()

    expected, found = calm.rows(), poisoned.rows()
    assert Counter(row.event_id for row in found) == Counter(row.event_id for row in expected)
    assert set(Counter(row.event_id for row in found).values()) == {1}
    assert len(found) == len(events) + len(last)
    features = {row.event_id: row.features for row in found}
    for row in expected:
        if row.event_id.startswith("last-") or row.user_id in {"u03", "u07"}:
            # but for what happened in which order, since what was sent again came later, to its channel as well
            own = set(NUMBERS) - IN_THE_CHANNEL
            found_here, expected_here = ({n: one[n] for n in own} for one in (features[row.event_id], row.features))
            assert found_here == pytest.approx(expected_here, nan_ok=True), row.event_id
    assert len(poisoned.read("dead_letters")) == 2 * len(refused) + 1
    assert said_sent(poisoned.forewarn(*sending)) == "0 records sent again."


@pytest.fixture
def held(deployment: Deployment) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start a redrive of twenty records a transaction and return when it stands still around its third commit."""
    started: list[subprocess.Popen[str]] = []

    def start(when: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HELD, str(deployment.file), when],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        deadline = Timer(60, process.kill)  # its output then ends, and the test fails instead of waiting for ever
        deadline.daemon = True
        deadline.start()
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        deadline.cancel()
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("when", "arrived"), [("before", 40), ("after", 60)])
def test_a_redrive_that_is_killed_and_started_again_sends_each_record_once(
    deployment: Deployment, held: Callable[[str], subprocess.Popen[str]], when: str, arrived: int
) -> None:
    """Killed with a transaction open, or just after one was committed: what is whole stays, what is not is undone."""
    rejects = [deployment.reject(number) for number in range(130)]
    deployment.refuse(rejects)
    process = held(when)
    process.kill()
    process.wait()
    assert deployment.resent().total() == arrived
    assert said_sent(deployment.forewarn("redrive", "--send")) == f"{130 - arrived} records sent again."
    assert deployment.resent() == once(rejects)
    assert said_sent(deployment.forewarn("redrive", "--send")) == "0 records sent again."
    assert deployment.resent() == once(rejects)


def test_a_record_goes_back_as_it_was_to_where_it_was(deployment: Deployment) -> None:
    """Key, bytes and partition are the original's, none included; the time is now, and a header says where from."""
    topic = deployment.topic("moderation_events")
    rejects = [deployment.reject(4, partition=1, topic=topic), deployment.reject(8, key=None, value=None)]
    deployment.refuse(rejects)
    begun = now_ms()
    deployment.forewarn("redrive", "--send")
    (told,) = deployment.read("moderation_events")
    (said,) = deployment.read("chat_messages")
    assert (told.partition(), told.key(), told.value()) == (1, b"user 4", b"value 4")
    assert told.headers() == [("redriven-from", f"{topic}:1:4".encode())]
    assert begun <= told.timestamp()[1] <= now_ms()
    assert (said.partition(), said.key(), said.value()) == (0, None, None)


def test_a_reject_that_was_written_twice_is_sent_once(deployment: Deployment) -> None:
    """A run that resumed repeats its dead letters, before the redrive or after it: they are the same record."""
    rejects = [deployment.reject(number) for number in range(5)]
    deployment.refuse(rejects + rejects)
    assert said_sent(deployment.forewarn("redrive", "--send")) == "5 records sent again."
    deployment.refuse(rejects)
    assert said_sent(deployment.forewarn("redrive", "--send")) == "0 records sent again."
    assert deployment.resent() == once(rejects)


def test_a_record_that_is_refused_again_can_be_redriven_again(deployment: Deployment) -> None:
    """Its new place in the log makes it a new dead letter."""
    deployment.refuse([deployment.reject(0)])
    deployment.forewarn("redrive", "--send")
    (message,) = deployment.read("chat_messages")
    again = deployment.reject(message.offset() or 0, partition=message.partition(), value=message.value())
    assert again.offset == 0  # the input topic was empty, so the first reject's coordinates were of nothing
    deployment.refuse([again.model_copy(update={"offset": 7})])
    assert said_sent(deployment.forewarn("redrive", "--send")) == "1 records sent again."
    assert deployment.resent().total() == 2


def test_a_selection_leaves_the_rest_for_later(deployment: Deployment) -> None:
    """By reason, topic and time of rejection; what is left out is still there for the next redrive."""
    moderation = deployment.topic("moderation_events")
    deployment.refuse([deployment.reject(1), deployment.reject(2, reason="malformed_json")], 1_700_000_000_000)
    deployment.refuse([deployment.reject(3), deployment.reject(4, topic=moderation)], 1_700_000_060_000)
    chosen = ("--reason", "too_large", "--topic", deployment.topic("chat_messages"))
    said = deployment.forewarn("redrive", "--send", *chosen, "--since", "2023-11-14T23:14:20+01:00")
    assert re.fullmatch(
        r"reason +topic +sent now +redriven before\ntoo_large +\S+chat-messages +1 +0\n1 records sent again\.\n", said
    )
    assert said_sent(deployment.forewarn("redrive", "--send", "--until", "2023-11-14T22:14:20")) == (
        "2 records sent again."
    )
    said = deployment.forewarn("redrive")
    assert re.search(r"too_large +\S+chat-messages +0 +2\n", said)
    assert re.search(r"too_large +\S+moderation-events +1 +0\n1 records would be sent again", said)


def test_a_second_redrive_takes_over_from_the_first(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is fenced out and says so; together they send each record once."""
    rejects = [deployment.reject(number) for number in range(20)]
    deployment.refuse(rejects)

    send = Writer.send

    def be_overtaken(writer: Writer, batch: list[tuple[Reject, Message]]) -> None:
        send(writer, batch)
        monkeypatch.setattr(Writer, "send", send)
        assert redrive(deployment.settings, Selection(), send=True)[1] == 16

    monkeypatch.setattr(Writer, "send", be_overtaken)
    with pytest.raises(FencedOutError, match=r"^Another redrive of this deployment has taken over: [^.]+\.$"):
        redrive(deployment.settings, Selection(), send=True, batch_records=4)
    assert deployment.resent() == once(rejects)


def test_a_record_the_input_no_longer_takes_undoes_its_batch_and_says_so(deployment: Deployment) -> None:
    """Kafka's refusal of one record is told in a sentence; nothing of its batch is half done."""
    noise = b"".join(uuid.uuid5(uuid.NAMESPACE_DNS, str(n)).bytes for n in range(66_000))
    deployment.refuse([deployment.reject(0), deployment.reject(2, value=noise)])
    result = CliRunner().invoke(main, ["redrive", "--send", "--settings", str(deployment.file)])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: Kafka did not take a batch of the redrive (Broker: Message size too large)")
    assert deployment.resent().total() == 0


def test_a_missing_topic_is_named(deployment: Deployment) -> None:
    """Nothing is created on the way."""
    deployment.head = deployment.head.replace("dead-letters", "no-letters")
    deployment.allow(1)
    result = CliRunner().invoke(main, ["redrive", "--settings", str(deployment.file)])
    assert result.stderr == (
        f"Error: Topic {deployment.name}.no-letters does not exist at {deployment.kafka}: "
        "run `forewarn topics create`.\n"
    )


def test_a_record_whose_schema_a_header_names_is_read_after_a_redrive(deployment: Deployment) -> None:
    """Refused while no registry was configured, kept with its header, sent again with it, and then an event."""
    name = f"mock://{deployment.name}"
    written = client(RegistrySettings(url=name)).register_schema_full_response(
        "anything", Schema(released().text("chat_message", 1), "AVRO")
    )
    header = b"\x01" + uuid.UUID(written.guid).bytes
    datum = BytesIO()
    message = {"event_id": "m", "event_time": START, "user_id": "ann", "channel": "lobby"}
    schemaless_writer(datum, released().schema("chat_message", 1), message)
    producer = Producer({"bootstrap.servers": deployment.kafka, "partitioner": "murmur2_random"})
    producer.produce(
        deployment.topic("chat_messages"), datum.getvalue(), b"ann", timestamp=START, headers=[(SCHEMA_ID, header)]
    )
    assert producer.flush(30) == 0
    deployment.run()
    decoder = Decoder("reject")
    (letter,) = deployment.read("dead_letters")
    reject = decoder.decode(letter.value() or b"")
    assert isinstance(reject, Reject)
    assert (reject.reason, reject.schema_header) == (RejectReason.UNKNOWN_SCHEMA, header)
    deployment.forewarn("redrive", "--send")
    (_, again) = deployment.read("chat_messages")
    assert (again.value(), dict(again.headers() or ()).get(SCHEMA_ID)) == (datum.getvalue(), header)
    deployment.configure(f'[registry]\nurl = "{name}"\n')
    deployment.run()
    decoder = Decoder("feature_row", RegistrySettings(url=name))
    (row,) = [decoder.decode(message.value() or b"") for message in deployment.read("risk_features")]
    assert isinstance(row, FeatureRow)
    assert (row.user_id, row.event_id) == ("ann", "m")


def test_what_was_refused_for_its_age_counts_after_a_redrive(deployment: Deployment) -> None:
    """A message of 2001 that was sent as one of today is believed the second time; seconds are refused again."""
    old, seconds = 1_000_000_000_000, START // 1_000
    deployment.produce(
        [
            Sent(
                "chat",
                user,
                orjson.dumps({"event_id": user, "event_time": time, "user_id": user, "channel": "c"}),
                None,
            )
            for user, time in (("old", old), ("seconds", seconds))
        ]
    )
    deployment.run()
    assert deployment.rows() == []
    assert said_sent(deployment.forewarn("redrive", "--reason", "past_timestamp", "--send")) == "2 records sent again."
    deployment.run()
    assert [(row.user_id, row.as_of) for row in deployment.rows()] == [("old", old)]
    assert len([letter for letter in deployment.read("dead_letters") if letter.value()]) == 3
