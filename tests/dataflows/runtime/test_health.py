"""Health and metrics over HTTP: alive, ready, and why not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dataflows.runtime.health import Health
from dataflows.runtime.metrics_server import MetricsServer
from dataflows.runtime.telemetry import FAMILIES, Telemetry
from schemas.records.mending import PARTS
from tests.kit.http import get


class Clock:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    """That of a run with snapshots every 5 s, which is stuck after 60."""
    return Health(stuck_seconds=60, epoch_seconds=5, clock=clock)


def begun(health: Health) -> Health:
    """The same, its flow built and moving, and Kafka answering."""
    health.began()
    health.built()
    health.turned()
    health.answered(None)
    return health


def test_a_run_is_ready_when_its_flow_moves_and_kafka_answers(health: Health) -> None:
    """Until then it says what it waits for, and is alive."""
    assert health.unready() == "the flow is being built"
    health.began()
    health.built()
    assert health.unready() == "the flow is being built"
    health.turned()
    assert health.unready() == "Kafka does not answer: it was not asked yet"
    health.answered(None)
    assert health.unready() is None
    assert health.dead() is None


def test_a_run_is_not_ready_while_kafka_does_not_answer(health: Health) -> None:
    """It is alive all the same: to end it would not help."""
    begun(health).answered("_TIMED_OUT")
    assert health.unready() == "Kafka does not answer: _TIMED_OUT"
    assert health.dead() is None
    health.answered(None)
    assert health.unready() is None


def test_a_flow_that_stands_still_is_dead_after_a_while(health: Health, clock: Clock) -> None:
    """Not before, and not once all of its partitions have come to their end."""
    begun(health)
    clock.now += 59
    assert health.dead() is None
    clock.now += 1
    assert health.dead() == health.unready() == "the flow has not moved for 60 s"
    health.ended()
    assert health.dead() is None


def test_a_run_is_not_ready_whose_snapshots_have_stopped(health: Health, clock: Clock) -> None:
    """Three epochs may pass without one, counted from the start where there was none yet."""
    begun(health)
    clock.now += 15
    health.turned()
    assert health.unready() is None
    clock.now += 1
    health.turned()
    assert health.unready() == "the last snapshot is 16 s old"
    health.snapped()
    assert health.unready() is None


def test_snapshots_do_not_matter_without_a_directory(clock: Clock) -> None:
    """There are none to be missed."""
    health = begun(Health(stuck_seconds=60, epoch_seconds=None, clock=clock))
    clock.now += 50
    assert health.unready() is None


def test_short_epochs_do_not_make_a_snapshot_old_at_once(clock: Clock) -> None:
    """A pause of seconds is none to worry about."""
    health = begun(Health(stuck_seconds=60, epoch_seconds=0.1, clock=clock))
    clock.now += 9
    assert health.unready() is None


def test_a_process_without_partitions_is_ready_when_its_sinks_are_built(health: Health) -> None:
    """It waits for others to have some for it."""
    health.built()
    health.answered(None)
    assert health.unready() is None


@pytest.fixture
def server(health: Health) -> Iterator[MetricsServer]:
    served = MetricsServer("127.0.0.1", 0, Telemetry().registry, health)
    yield served
    served.close()


def test_the_port_answers_for_health_and_metrics_and_nothing_else(server: MetricsServer, health: Health) -> None:
    """503 says why; a path that nobody serves is not found."""
    assert get(server.port, "/ready") == (503, "the flow is being built\n")
    assert get(server.port, "/live") == (200, "live\n")
    begun(health)
    assert get(server.port, "/ready") == (200, "ready\n")
    for path in ("/", "/healthz", "/nothing", "/metrics/x"):
        assert get(server.port, path)[0] == 404, path
    assert get(server.port, "/metrics")[0] == 200


def test_a_run_that_is_stuck_is_not_alive(server: MetricsServer, health: Health, clock: Clock) -> None:
    """Whoever watches it ends it."""
    begun(health)
    clock.now += 61
    assert get(server.port, "/live") == (503, "the flow has not moved for 61 s\n")
    assert get(server.port, "/ready") == (503, "the flow has not moved for 61 s\n")


def test_every_known_label_value_is_in_the_first_scrape(server: MetricsServer) -> None:
    """At 0, or Prometheus would not see its first increase; no second series says when a counter was made."""
    found = {
        sample.name: sample
        for family in text_string_to_metric_families(get(server.port, "/metrics")[1])
        for sample in family.samples
    }
    assert not [name for name in found if name.endswith("_created")]
    samples = [
        sample
        for family in text_string_to_metric_families(get(server.port, "/metrics")[1])
        for sample in family.samples
        if sample.labels and not sample.name.endswith("_bucket")
    ]
    shown = {(sample.name, *map(sample.labels.get, sorted(sample.labels))): sample.value for sample in samples}
    for name, family in FAMILIES.items():
        for value in family.values or ():
            assert shown.pop((f"forewarn_{name}_total", value)) == 0.0
    for subject, parts in PARTS.items():
        for part in parts:
            assert shown.pop(("forewarn_mended_parts_total", part, subject)) == 0.0
    assert shown == {}


def test_every_label_is_either_known_in_advance_or_a_scorer_or_an_input() -> None:
    """A label without a list has to be argued for here: traffic tells what scorers there are, and settings topics."""
    telemetry = Telemetry()
    open_ended = {family.label for family in FAMILIES.values() if family.values is None}
    assert open_ended == {"scorer", "topic"}
    with_label = {metric._name for metric in telemetry._metrics.values()}
    assert with_label == {f"forewarn_{name}" for name in (*FAMILIES, "mended_parts")}
