"""Topics change while a deployment exists: compacted, made anew, given more partitions. Nothing is lost silently."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
from bytewax.errors import BytewaxRuntimeError
from click.testing import CliRunner
from confluent_kafka import KafkaException, Message, Producer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from dataflows.cli.main import main
from dataflows.config.policy import load_policy
from dataflows.kafka.topics import create_topics, found_topics, partition_counts
from dataflows.live.run import run
from dataflows.replay.replay import load_model
from dataflows.runtime.telemetry import Telemetry
from dataflows.sources.kafka.watch import InputError
from tests.kit.deployment import PARTITIONS, Deployment
from tests.recovery.chaos import Reference, cli

pytestmark = pytest.mark.kafka

EVENTS = 2_500
SECONDS = 60.0


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """A log, and a model learnt from it."""
    return Reference(tmp_path_factory.mktemp("topics") / "reference", EVENTS)


@pytest.fixture
def deployment(kafka: str, reference: Reference, tmp_path: Path) -> Iterator[Deployment]:
    """A deployment whose topics hold nothing yet."""
    made = Deployment(kafka, tmp_path / "deployment", reference.policy, reference.model)
    yield made
    made.close()


def until(done: Callable[[], bool], what: str) -> None:
    """Wait for something that takes a broker its time."""
    deadline = time.monotonic() + SECONDS
    while not done():
        assert time.monotonic() < deadline, what


def halves(log: Path, folder: Path) -> tuple[Path, Path]:
    """The first and the second half of a log."""
    lines = log.read_bytes().splitlines(keepends=True)
    parts = folder / "first.jsonl", folder / "second.jsonl"
    parts[0].write_bytes(b"".join(lines[: len(lines) // 2]))
    parts[1].write_bytes(b"".join(lines[len(lines) // 2 :]))
    return parts


def run_here(deployment: Deployment, *, stop: threading.Event | None = None, to_end: bool = False) -> Telemetry:
    """Run in this process, with what is monkeypatched; raises the expected error itself."""
    assert deployment.model is not None
    policy = load_policy(deployment.policy)
    model = load_model(deployment.model, policy)
    try:
        return run(deployment.settings, policy, model=model, stop=stop, stop_at_end=to_end)
    except BytewaxRuntimeError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__cause__
        raise (cause or error) from None


def remake(deployment: Deployment, admin: AdminClient, *settings: str) -> None:
    """Delete topics and make them anew, empty, under the same names."""
    names = [getattr(deployment.settings.topics, setting) for setting in settings]
    for future in admin.delete_topics(names, operation_timeout=30).values():
        future.result(30)

    def made() -> bool:
        try:
            create_topics(deployment.settings, PARTITIONS, 1, input_retention_ms=-1)
        except KafkaException:
            return False
        return {*names} <= {*found_topics(deployment.settings.kafka, names)}

    until(made, "the topics were not made anew")


def latest(messages: Iterator[Message]) -> dict[bytes | None, bytes | None]:
    """What a topic says of each key to whoever reads it as a table."""
    return {message.key(): message.value() for message in messages if message.key() != b"nobody"}


def compact(deployment: Deployment, admin: AdminClient) -> None:
    """Have the risk topic compacted now: all but the newest record of each key, and what is in the open segment."""
    topic = deployment.settings.topics.risk_events
    now = {
        "min.compaction.lag.ms": "0",
        "max.compaction.lag.ms": "1",
        "min.cleanable.dirty.ratio": "0.0",
        "segment.bytes": "1048576",
        "segment.ms": "1",
        "delete.retention.ms": "0",
    }
    entries = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in now.items()]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(30)
    producer = Producer({"bootstrap.servers": deployment.address})
    for partition in range(PARTITIONS):  # the broker begins a new segment when something is written
        producer.produce(topic, None, b"nobody", partition)
    assert producer.flush(30) == 0


def test_a_new_recovery_directory_after_compaction_turns_no_verdict_back(
    deployment: Deployment, admin: AdminClient, reference: Reference
) -> None:
    """What compaction removed is given again, and not written behind what is newer; nothing is there twice."""
    deployment.produce(reference.log)
    deployment.finish()
    before, records = latest(deployment.messages("risk_events")), sum(deployment.risk_ids().values())
    compact(deployment, admin)
    until(lambda: sum(deployment.risk_ids().values()) < records * 0.9, "nothing was compacted")
    removed = reference.ids - deployment.risk_ids().keys()
    other = deployment.elsewhere()
    other.finish()
    assert latest(other.messages("risk_events")) == before
    assert max(other.risk_ids().values()) == 1
    assert removed
    assert "holds newer records of some users" in other.lives[-1].said()


def test_inputs_made_anew_are_refused_until_that_is_accepted_and_then_read_whole(
    deployment: Deployment, admin: AdminClient, reference: Reference, tmp_path: Path
) -> None:
    """Under the same name, and longer than where the flow left off: no record is skipped, and no profile is lost."""
    first, second = halves(reference.log, tmp_path)
    deployment.produce(first)
    deployment.finish()
    read = deployment.sent.chat_messages + deployment.sent.moderation_events
    remake(deployment, admin, "chat_messages", "moderation_events")
    deployment.produce(second)
    with pytest.raises(Exception, match=r"was deleted and made anew .* run `forewarn recovery accept`"):
        run_here(deployment, to_end=True)
    settings = ["--settings", str(deployment._file)]
    accepted = CliRunner().invoke(main, ["recovery", "accept", *settings], catch_exceptions=False)
    assert accepted.exit_code == 0, accepted.output
    assert accepted.output.count("made anew; read from its beginning") == 2
    rest = deployment.finish()
    assert rest.events() == deployment.sent.chat_messages + deployment.sent.moderation_events > read * 0.9
    assert deployment.risk_ids() == Counter(reference.ids)


def test_inputs_made_anew_while_running_end_the_run_with_the_reason(
    deployment: Deployment, admin: AdminClient, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever is noticed first, the offsets or the ids: it is not said that retention took records."""
    monkeypatch.setattr("dataflows.sources.kafka.watch.INTERVAL_SECONDS", 0.5)
    deployment.produce(reference.log)

    def change() -> None:
        until(lambda: deployment.served() > 100, "nothing was served")
        remake(deployment, admin, "chat_messages", "moderation_events")

    changing = threading.Thread(target=change)
    changing.start()
    with pytest.raises(
        InputError, match=r"was deleted (and made anew|while this flow ran).*`forewarn recovery accept`"
    ):
        run_here(deployment)
    changing.join()
    with pytest.raises(Exception, match="was deleted and made anew"):
        run_here(deployment, to_end=True)


def test_partitions_added_while_running_end_the_run_and_the_next_reads_them_all(
    deployment: Deployment, admin: AdminClient, reference: Reference, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With every profile and model there was; records in the new partitions wait for it, and none is skipped."""
    monkeypatch.setattr("dataflows.sources.kafka.watch.INTERVAL_SECONDS", 0.5)
    # what is known of channels is each partition's own, and begins anew for users who have moved to another
    deployment.policy = tmp_path / "policy.toml"
    deployment.policy.write_text(re.sub(r"(?m)^remembered = .*$", "", reference.policy.read_text()))
    without = ("--policy", deployment.policy, "--model", reference.model, "--out", tmp_path / "without")
    cli("replay", reference.log, "--no-report", *without)
    lines = (orjson.loads(line) for line in (tmp_path / "without/risk-events.jsonl").read_bytes().splitlines())
    ids = [line["risk_event_id"] for line in lines if not line.get("tombstone")]
    first, second = halves(reference.log, tmp_path)
    deployment.produce(first)
    inputs = (deployment.settings.topics.chat_messages, deployment.settings.topics.moderation_events)

    def change() -> None:
        until(lambda: deployment.served() > 100, "nothing was served")
        for future in admin.create_partitions([NewPartitions(name, 2 * PARTITIONS) for name in inputs]).values():
            future.result(30)

    changing = threading.Thread(target=change)
    changing.start()
    with pytest.raises(InputError) as caught:
        run_here(deployment)
    changing.join()
    assert f"has {2 * PARTITIONS} partitions by now, and this run reads {PARTITIONS} of them" in str(caught.value)
    kafka, double = deployment.settings.kafka, {2 * PARTITIONS}
    until(lambda: {*partition_counts(kafka, inputs).values()} == double, "the new partitions are not there")
    run_here(deployment, to_end=True)
    deployment.produce(second)
    telemetry = run_here(deployment, to_end=True)
    sent = deployment.sent.chat_messages + deployment.sent.moderation_events
    assert sum(telemetry.counts("events").values()) == sent
    gauge = telemetry.registry.get_sample_value
    assert gauge("forewarn_input_partitions", {"topic": inputs[0]}) == 2 * PARTITIONS
    assert gauge("forewarn_unread_partitions", {"topic": inputs[0]}) == 0
    assert deployment.risk_ids() == Counter(ids)
