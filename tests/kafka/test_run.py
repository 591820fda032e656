"""The whole path on a real broker: produce, run, subscribe; the same risk events as a replay."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Timer

import orjson
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Message, Producer

from dataflows.cli.main import main
from dataflows.config.policy import load_policy
from dataflows.config.settings import Settings
from dataflows.live.run import run
from dataflows.runtime.clock import now_ms
from schemas.codec.outputs import Decoder
from tests.kit.kafka.logs import read_back
from tests.kit.paths import ROOT

pytestmark = pytest.mark.kafka

EXAMPLE = ROOT / "deploy/policies/example.toml"
PARTITIONS = 4


def forewarn(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def replayed_ids(out: Path) -> list[str]:
    lines = (orjson.loads(line) for line in (out / "risk-events.jsonl").read_bytes().splitlines())
    return sorted(line["risk_event_id"] for line in lines if not line.get("tombstone"))


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated log with erasures, and a model learnt from it."""
    folder = tmp_path_factory.mktemp("live")
    path, policy = folder / "log.jsonl.gz", folder / "policy.toml"
    # a log this short has few positives to learn from
    policy.write_text(re.sub(r"min_positives = \d+", "min_positives = 10", EXAMPLE.read_text()))
    forewarn("simulate", "--events", 12_000, "--users", 400, "--seed", 11, "--out", path)
    alike = ("--partitions", PARTITIONS)
    forewarn("replay", path, "--policy", policy, "--out", folder / "learnt", "--no-report", *alike)
    pinned = folder / "learnt/models/logistic.json"
    forewarn("replay", path, "--policy", policy, "--out", folder / "pinned", "--model", pinned, "--no-report", *alike)
    assert len(replayed_ids(folder / "pinned")) > 50
    return path


@pytest.fixture
def deployment(kafka: str, tmp_path: Path) -> Path:
    """Settings of a deployment with topics of its own, already created."""
    name = uuid.uuid4().hex[:8]
    topics = (
        "chat_messages",
        "moderation_events",
        "risk_events",
        "risk_models",
        "risk_features",
        "dead_letters",
        "late",
    )
    settings = tmp_path / "settings.toml"
    settings.write_text(
        f'[kafka]\nbootstrap_servers = "{kafka}"\ngroup_id = "run-{name}"\n[topics]\n'
        + "".join(f'{topic} = "{name}.{topic.replace("_", "-")}"\n' for topic in topics),
    )
    forewarn("topics", "create", "--settings", settings, "--partitions", PARTITIONS, "--keep-inputs")
    return settings


def topic_of(settings: Path, topic: str) -> str:
    found = re.search(rf'^{topic} = "(.*)"$', settings.read_text(), re.MULTILINE)
    assert found
    return found[1]


def messages(kafka: str, settings: Path, topic: str) -> list[Message]:
    return read_back(kafka, topic_of(settings, topic))


def live_ids(kafka: str, settings: Path) -> list[str]:
    decoder = Decoder("risk_event")
    values = [message.value() for message in messages(kafka, settings, "risk_events")]
    return sorted(decoder.decode(value).model_dump()["risk_event_id"] for value in values if value is not None)


def test_a_produced_log_gives_the_risk_event_ids_of_its_replay(kafka: str, deployment: Path, log: Path) -> None:
    """Through produce, a real broker and run, with the pinned model, the ids are those of the replay, once each."""
    said = forewarn("produce", log, "--settings", deployment).output
    assert "0 rejects not sent" in said
    model = log.parent / "learnt/models/logistic.json"
    forewarn("run", "--settings", deployment, "--policy", log.parent / "policy.toml", "--model", model, "--until-end")
    assert live_ids(kafka, deployment) == replayed_ids(log.parent / "pinned")


def test_learning_live_publishes_features_versions_and_tombstones(kafka: str, deployment: Path, log: Path) -> None:
    """With learning on, every decision point, every version and every erasure is on its topic."""
    forewarn("produce", log, "--settings", deployment)
    forewarn("run", "--settings", deployment, "--policy", log.parent / "policy.toml", "--until-end", "--workers", 2)
    summary = orjson.loads((log.parent / "learnt/summary.json").read_bytes())
    row_decoder, version_decoder = Decoder("feature_row"), Decoder("model_version")
    rows = [row_decoder.decode(m.value() or b"") for m in messages(kafka, deployment, "risk_features")]
    served = pq.read_table(log.parent / "learnt/features.parquet", columns=["event_id"])["event_id"].to_pylist()
    assert sorted(row.model_dump()["event_id"] for row in rows) == sorted(served)
    versions = [version_decoder.decode(m.value() or b"") for m in messages(kafka, deployment, "risk_models")]
    assert {version.model_dump()["name"] for version in versions} == {"logistic", "bayes"}
    tombstones = [m for m in messages(kafka, deployment, "risk_events") if m.value() is None]
    assert len(tombstones) == summary["erased"] > 0


def test_poison_on_the_input_topics_ends_in_dead_letters_and_harms_nobody(
    kafka: str, deployment: Path, log: Path
) -> None:
    """Arbitrary bytes between good records are kept whole with a reason; the risk events are those without them."""
    poison = [b"", b"\x00", b"\x00\x00\x00\x00\x07abc", b"\xc3\x01short", b'{"event_id":', b"\xff\xfe\x00", b"{}" * 9]
    producer = Producer({"bootstrap.servers": kafka})
    for topic in ("chat_messages", "moderation_events"):
        for partition in range(PARTITIONS):
            for value in poison:
                producer.produce(topic_of(deployment, topic), value, partition=partition, timestamp=1)
    assert producer.flush(30) == 0
    forewarn("produce", log, "--settings", deployment)
    model = log.parent / "learnt/models/logistic.json"
    said = forewarn(
        "run", "--settings", deployment, "--policy", log.parent / "policy.toml", "--model", model, "--until-end"
    ).output
    decoder = Decoder("reject")
    rejects = [decoder.decode(m.value() or b"").model_dump() for m in messages(kafka, deployment, "dead_letters")]
    assert sorted(reject["value"] for reject in rejects) == sorted(poison * PARTITIONS * 2)
    assert live_ids(kafka, deployment) == replayed_ids(log.parent / "pinned"), said


@pytest.fixture
def consumer(kafka: str, deployment: Path, tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """The README's consumer, as it stands there but for the address and the topic."""
    block = re.search(r"<!-- consumer -->\n```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block
    code = (
        block[1].replace("localhost:9092", kafka).replace('"risk.events"', f'"{topic_of(deployment, "risk_events")}"')
    )
    assert code.count("\n") <= 17
    script = tmp_path / "consumer.py"
    script.write_text(code)
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, str(script)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        started.append(process)
        deadline = Timer(60, process.kill)  # its output then ends, and the test fails instead of waiting for ever
        deadline.daemon = True
        deadline.start()
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_readme_consumer_prints_every_risk_event(
    deployment: Path,
    log: Path,
    consumer: Callable[[], subprocess.Popen[str]],
) -> None:
    """A subscriber who copies the README sees every risk event and is told whom to forget."""
    forewarn("produce", log, "--settings", deployment)
    model = log.parent / "learnt/models/logistic.json"
    forewarn("run", "--settings", deployment, "--policy", log.parent / "policy.toml", "--model", model, "--until-end")
    expected = replayed_ids(log.parent / "pinned")
    erased = orjson.loads((log.parent / "pinned/summary.json").read_bytes())["erased"]
    output = consumer().stdout
    assert output is not None
    lines = [output.readline().split() for _ in range(len(expected) + erased)]
    assert all(lines), f"{sum(1 for line in lines if line)} of {len(lines)} lines came in time"
    assert sorted(line[0] for line in lines if line[0] != "forget") == expected
    assert sum(1 for line in lines if line[0] == "forget") == erased


def test_sigterm_drains_and_the_next_start_goes_on(kafka: str, deployment: Path, log: Path, tmp_path: Path) -> None:
    """Stopped in the middle it exits 0 and says what it did; the restart gives what was missing, nothing twice."""
    with deployment.open("a") as settings:
        settings.write(f'[recovery]\ndirectory = "{tmp_path / "recovery"}"\nepoch_interval_seconds = 0.5\n')
        settings.write("[run]\nbatch_size = 50\n")
    forewarn("produce", log, "--settings", deployment)
    model = log.parent / "learnt/models/logistic.json"
    arguments = [
        "run",
        "--settings",
        str(deployment),
        "--policy",
        str(log.parent / "policy.toml"),
        "--model",
        str(model),
    ]
    running = subprocess.Popen(
        [sys.executable, "-m", "dataflows.cli.main", *arguments], cwd=ROOT, stdout=subprocess.PIPE
    )
    try:
        while running.poll() is None and not messages(kafka, deployment, "risk_events"):
            pass
        running.send_signal(signal.SIGTERM)
        said, _ = running.communicate(timeout=30)
    finally:
        running.kill()
    assert running.returncode == 0
    assert b"published: risk_event" in said
    forewarn(*arguments, "--until-end")
    assert live_ids(kafka, deployment) == replayed_ids(log.parent / "pinned")


def test_simulate_sends_straight_to_the_input_topics(kafka: str, deployment: Path) -> None:
    """With --kafka every simulated event is on the topic of its subject."""
    said = forewarn("simulate", "--kafka", "--events", 500, "--users", 30, "--settings", deployment).output
    sent = [int(number) for number in re.findall(r"([\d,]+) (?:messages|moderation events)", said)]
    assert sum(sent) >= 500
    found = [len(messages(kafka, deployment, topic)) for topic in ("chat_messages", "moderation_events")]
    assert found == sent


def test_snapshots_and_the_size_of_their_store_are_metrics(deployment: Path, log: Path, tmp_path: Path) -> None:
    """As an operator's dashboard reads them; without a recovery directory there are none."""
    forewarn("produce", log, "--settings", deployment)
    directory = tmp_path / "recovery"
    text = f'\n[recovery]\ndirectory = "{directory}"\nepoch_interval_seconds = 0.05\n'
    stored = deployment.with_name("stored.toml")
    stored.write_text(deployment.read_text() + text)
    policy = load_policy(EXAMPLE)
    shown = run(Settings.load(stored), policy, stop_at_end=True).registry.get_sample_value
    count, seconds = shown("forewarn_snapshot_seconds_count"), shown("forewarn_snapshot_seconds_sum")
    assert count is not None
    assert seconds is not None
    assert count > PARTITIONS
    assert seconds > 0
    assert abs((shown("forewarn_last_snapshot_timestamp_seconds") or 0) - now_ms() / 1_000) < 60
    assert shown("forewarn_recovery_store_bytes") == sum(file.stat().st_size for file in directory.rglob("*.sqlite3*"))
    shown = run(Settings.load(deployment), policy, stop_at_end=True).registry.get_sample_value
    assert shown("forewarn_snapshot_seconds_count") == 0
    assert shown("forewarn_recovery_store_bytes") == 0


@pytest.mark.parametrize("year", [9998, 2021])
def test_one_row_with_a_clock_ahead_does_not_keep_a_log_from_being_produced(
    kafka: str, deployment: Path, tmp_path: Path, year: int
) -> None:
    """Years after today, which a broker refuses, or years after its neighbours: told, and all others arrive in time."""
    calm, log = tmp_path / "calm.jsonl", tmp_path / "log.jsonl"
    forewarn("simulate", "--events", 2_000, "--users", 50, "--start", "2019-03-01", "--out", calm)
    lines = calm.read_bytes().splitlines(keepends=True)
    ahead = round(datetime(year, 1, 1, tzinfo=UTC).timestamp() * 1_000)
    stray = {"subject": "chat_message", "event_id": "x", "event_time": ahead, "user_id": "x", "channel": "c"}
    log.write_bytes(b"".join([*lines[:1_000], orjson.dumps(stray) + b"\n", *lines[1_000:]]))
    said = forewarn("produce", log, "--settings", deployment)
    assert "log, row 1000: not sent, future_timestamp: " in said.stderr
    assert said.stdout.endswith("1 rejects not sent\n")
    both = messages(kafka, deployment, "chat_messages") + messages(kafka, deployment, "moderation_events")
    assert len(both) == len(lines)
    assert max(message.timestamp()[1] for message in both) < ahead
