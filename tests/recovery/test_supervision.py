"""A cluster that fails says why, ends with the right exit code, and starts again only where that may help."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from dataflows.kafka.topics import partition_counts
from dataflows.runtime.exit_codes import ExitCode
from schemas.codec.inputs import RegistrySettings
from tests.kit.deployment import Deployment, Life
from tests.kit.http import get
from tests.kit.kafka.base import free_ports
from tests.kit.kafka.broker import Broker
from tests.kit.scripted_registry import Scripted, answering, by_id
from tests.kit.trouble import frozen
from tests.recovery.chaos import Reference

pytestmark = pytest.mark.kafka

EVENTS = 3_000
CLUSTER = ("--processes", "2")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """A log, and a model learnt from it."""
    return Reference(tmp_path_factory.mktemp("supervision") / "reference", EVENTS)


@pytest.fixture
def deployment(kafka: str, reference: Reference, tmp_path: Path) -> Iterator[Deployment]:
    """A deployment whose topics hold nothing yet."""
    made = Deployment(kafka, tmp_path / "deployment", reference.policy, reference.model)
    yield made
    made.close()


def errors(life: Life) -> list[str]:
    """The sentences with which the supervisor ended: the last thing it said."""
    return re.findall(r"^Error: (.*)$", life.said(), re.MULTILINE)


def until_said(life: Life, *words: str) -> None:
    """Wait until it has said all of it."""
    while not all(word in life.said() for word in words):
        assert life.process.poll() is None, life.said()


def restarted(life: Life) -> int:
    """How often its supervisor started the cluster again."""
    return life.said().count("start again from the last snapshot")


def set_limit(admin: AdminClient, topic: str, limit: int) -> None:
    """Set the largest record that a topic takes."""
    entry = ConfigEntry("max.message.bytes", str(limit), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result(30)


def poison(deployment: Deployment, value: bytes = b"poison") -> None:
    """Send a record that is none to partition 0."""
    producer = Producer({"bootstrap.servers": deployment.address, "log_level": 0})
    producer.produce(deployment.settings.topics.chat_messages, value, b"u1", 0)
    assert producer.flush(30) == 0


def test_a_dead_letter_topic_that_refuses_ends_a_cluster_with_a_sentence(
    deployment: Deployment, admin: AdminClient
) -> None:
    """However small its limit became while running: once, not again and again."""
    life = deployment.start(*CLUSTER)
    until_said(life, "process-0: ", "Ready", "process-1: ")
    set_limit(admin, deployment.settings.topics.dead_letters, 50)
    poison(deployment)
    assert life.wait(60) == ExitCode.MEND, life.said()
    (sentence,) = errors(life)
    assert sentence.startswith(f"Topic {deployment.settings.topics.dead_letters} did not take 1 messages (")
    assert restarted(life) == 0
    assert "Traceback" not in life.said()


def test_a_missing_output_topic_is_said_before_anything_is_read(deployment: Deployment, admin: AdminClient) -> None:
    """At the start, though the first record for it may be weeks away; and when it goes while running."""
    topic = deployment.settings.topics.late
    admin.delete_topics([topic])[topic].result(30)
    while partition_counts(deployment.settings.kafka, [topic]):  # the broker hears of it a little after the controller
        pass
    for processes in (CLUSTER, ()):
        life = deployment.start(*processes)
        assert life.wait(60) == ExitCode.MEND, life.said()
        assert errors(life) == [f"Topic {topic} does not exist at {deployment.address}: run `forewarn topics create`."]
        assert "started" not in life.said()


@pytest.fixture
def registry() -> Iterator[Scripted]:
    """A registry over HTTP that knows no schema but lists its types."""
    with answering() as scripted:
        yield scripted


@pytest.fixture
def asks(monkeypatch: pytest.MonkeyPatch) -> Callable[[RegistrySettings], None]:
    """Have runs ask a registry, without retries."""

    def ask(settings: RegistrySettings) -> None:
        monkeypatch.setenv("FOREWARN_REGISTRY__URL", settings.url)
        monkeypatch.setenv("FOREWARN_REGISTRY__RETRIES", "0")

    return ask


def test_a_registry_that_refuses_a_schema_ends_a_cluster_with_a_sentence(
    deployment: Deployment, registry: Scripted, asks: Callable[[RegistrySettings], None]
) -> None:
    """Before it reads anything: the schema of rejects is needed long after the start."""
    asks(registry.settings)
    topics = deployment.settings.topics
    for number, subject in enumerate((topics.risk_events, topics.risk_models, topics.risk_features), 1):
        registry.put(f"POST /subjects/{subject}-value", 200, {"id": number, "version": 1, "subject": subject})
    registry.put(f"POST /subjects/{topics.dead_letters}-value/versions", 409, {"error_code": 409, "message": "no"})
    life = deployment.start(*CLUSTER)
    assert life.wait(60) == ExitCode.MEND, life.said()
    (sentence,) = errors(life)
    assert sentence.startswith(f"the schema registry refuses our schema under {topics.dead_letters}-value (HTTP 409)")
    assert "Traceback" not in life.said()


@pytest.mark.parametrize("processes", [CLUSTER, ()], ids=["a cluster", "a single run"])
def test_a_registry_that_does_not_answer_at_the_start_is_said(
    deployment: Deployment, asks: Callable[[RegistrySettings], None], processes: tuple[str, ...]
) -> None:
    """With a code that says to try again later."""
    asks(RegistrySettings(url="http://127.0.0.1:1"))
    life = deployment.start(*processes)
    assert life.wait(60) == ExitCode.TRY_AGAIN, life.said()
    (sentence,) = errors(life)
    assert sentence.startswith("the schema registry at http://127.0.0.1:1 did not answer (")
    assert "Traceback" not in life.said()


def test_a_registry_that_is_away_is_tried_again_later_each_time_and_not_for_ever(
    deployment: Deployment,
    registry: Scripted,
    asks: Callable[[RegistrySettings], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Found out while running: each restart says why, and the last line too."""
    asks(registry.settings)
    for topic in deployment.settings.topics.model_dump().values():
        for name in (f"{topic}-value", f"{topic}-chat_message", f"{topic}-moderation_event"):
            registry.put(f"POST /subjects/{name}", 200, {"id": 1, "version": 1, "subject": name})
    registry.put("GET /schemas/ids/7", 503, {"error_code": 503, "message": "busy"})
    monkeypatch.setenv("FOREWARN_RUN__RESTARTS", "2")
    monkeypatch.setenv("FOREWARN_RUN__RESTART_WAIT_SECONDS", "0.1")
    poison(deployment, by_id(7))
    life = deployment.start(*CLUSTER)
    assert life.wait(120) == ExitCode.TRY_AGAIN, life.said()
    why = f"the schema registry at {registry.settings.url} answered HTTP 503: check its url, credentials and health"
    (sentence,) = errors(life)
    assert sentence.startswith("The cluster was started again 2 times within 900 s and failed again, so this ends. ")
    assert why in sentence
    waits = re.findall(r"start again from the last snapshot in ([\d.]+) s\. (.*)", life.said())
    assert [seconds for seconds, _ in waits] == ["0.1", "0.2"]
    assert all(said.startswith(why) for _, said in waits)


@pytest.mark.parametrize("second", [CLUSTER, ()], ids=["by a cluster", "by a single run"])
def test_a_cluster_that_is_fenced_out_says_so_and_does_not_take_over_again(
    deployment: Deployment, reference: Reference, second: tuple[str, ...], tmp_path: Path
) -> None:
    """Whoever came last goes on, each id is there once, and the two do not fight."""
    lines = reference.log.read_bytes().splitlines(keepends=True)
    halves = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    for half, part in zip(halves, (lines[: len(lines) // 2], lines[len(lines) // 2 :]), strict=True):
        half.write_bytes(b"".join(part))
    deployment.produce(halves[0])
    first = deployment.start(*CLUSTER)
    while not deployment.risk_ids():
        assert first.process.poll() is None, first.said()
    other = deployment.elsewhere()
    life = other.start(*second)
    until_said(life, "Ready")
    deployment.produce(halves[1])  # now both have something to write
    assert first.wait(90) == ExitCode.MEND, first.said()
    (sentence,) = errors(first)
    assert sentence.startswith("Another instance of this deployment (kafka.group_id of ")
    assert restarted(first) == 0
    assert life.drain()[0] == 0, life.said()
    other.finish()
    assert set(deployment.risk_ids().values()) == {1}
    # fed live, the order in which the two topics' records become visible may move a warning to another event
    assert len(deployment.risk_ids().keys() & reference.ids) > 0.9 * len(reference.ids)


def test_a_process_that_hangs_is_noticed_and_the_cluster_goes_on(
    deployment: Deployment, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line names it, all start again from the last snapshot, and nothing is lost or doubled."""
    (port,) = free_ports(1)
    monkeypatch.setenv("FOREWARN_RUN__HUNG_SECONDS", "8")
    monkeypatch.setenv("FOREWARN_RUN__METRICS_PORT", str(port))
    deployment.produce(reference.log)
    life = deployment.start(*CLUSTER)
    while not deployment.risk_ids():
        assert life.process.poll() is None, life.said()
    hung = max(life.alive("--place"))
    os.kill(hung, signal.SIGSTOP)
    until_said(life, "has not moved for 8 s, so it is killed", "start again from the last snapshot")
    while "forewarn_restarts_total 1.0" not in get(port, "/metrics")[1]:
        assert life.process.poll() is None, life.said()
    until_ready(life, port)
    assert life.drain()[0] == 0, life.said()
    monkeypatch.delenv("FOREWARN_RUN__METRICS_PORT")
    deployment.finish()
    assert deployment.risk_ids() == Counter(reference.ids)


def test_a_run_is_not_ready_while_its_broker_is_frozen(
    broker: Broker, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says why on its port, in a metric, and in one line when it begins and one when it is over; it stays alive."""
    if not broker.can_restart:
        pytest.skip("the broker is not ours to freeze")
    (port,) = free_ports(1)
    monkeypatch.setenv("FOREWARN_RUN__METRICS_PORT", str(port))
    life = deployment.start()
    until_ready(life, port)
    assert "forewarn_kafka_connected 1.0" in get(port, "/metrics")[1]
    with frozen(broker):
        while get(port, "/ready")[0] == 200:
            assert life.process.poll() is None, life.said()
        status, why = get(port, "/ready")
        assert status == 503
        assert why.startswith("Kafka does not answer: ")
        assert get(port, "/live")[0] == 200
        assert "forewarn_kafka_connected 0.0" in get(port, "/metrics")[1]
    until_ready(life, port)
    until_said(life, "Kafka answers again")
    assert "forewarn_kafka_outages_total 1.0" in get(port, "/metrics")[1]
    assert life.drain()[0] == 0, life.said()
    assert life.said().count("Kafka is not answering") == 1, life.said()
    words = (
        "forewarn 0.1.0 starts",
        "is new: ",
        "Ready: ",
        "Kafka is not answering",
        "answers again",
        "Draining",
        "Drained",
    )
    places = [life.said().index(word) for word in words]
    assert places == sorted(places), life.said()


def until_ready(life: Life, port: int) -> None:
    """Wait until it says that it is ready."""
    while get(port, "/ready")[0] != 200:
        assert life.process.poll() is None, life.said()
