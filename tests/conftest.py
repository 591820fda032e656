"""What every test may ask for: a real Kafka broker, started when the first test wants it, and topics of its own."""

from __future__ import annotations

import itertools
import os
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, NewTopic
from hypothesis import settings

from hatch_build import stale
from tests.kit.kafka.broker import Broker, NoBrokerError, find_broker
from tests.kit.paths import ROOT
from tests.kit.thorough import examples

REQUIRE_VARIABLE = "FOREWARN_REQUIRE_KAFKA"
WAITING = ("kafka", "recovery", "bench")
"""Folders of tests that spend most of their time waiting."""
report = pytest.StashKey[str]()
missing = pytest.StashKey[bool]()

# the same examples in every run; `make test ARGS=--hypothesis-profile=explore` looks for new ones
settings.register_profile("same", derandomize=True, database=None, deadline=None, max_examples=examples(100))
settings.register_profile("explore", deadline=None, max_examples=1_000)
settings.load_profile("same")


def pytest_configure() -> None:
    """Test what is written: a compiled module that is older than its source would be imported in its place."""
    if stale(ROOT):
        raise pytest.UsageError("compiled modules are older than their sources: run make, which compiles them again")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a broker.

    Tests that wait for a broker or for other processes come first: what only computes fills the gaps at the end.
    """
    for item in items:
        if "broker" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.kafka)
    items.sort(key=lambda item: item.path.parent.name not in WAITING)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the process that reports which broker this one used."""
    if (line := session.config.stash.get(report, None)) is not None and hasattr(session.config, "workeroutput"):
        session.config.workeroutput["kafka"] = (line, session.config.stash.get(missing, False))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Keep what a process said of its broker; that there was none counts more."""
    said = getattr(node, "workeroutput", {}).get("kafka")
    if said is not None and not node.config.stash.get(missing, False):
        node.config.stash[report], node.config.stash[missing] = said


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which broker was used, or loudly that there was none."""
    line = config.stash.get(report, None)
    if line is not None:
        loud = config.stash.get(missing, False)
        terminalreporter.section("kafka", red=loud, bold=loud)
        terminalreporter.line(line, red=loud, bold=loud)


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """A running broker; where none can be had the test is skipped, or fails if FOREWARN_REQUIRE_KAFKA is 1."""
    stash = request.config.stash
    try:
        found = find_broker()
        found.start()
    except NoBrokerError as error:
        stash[missing] = True
        if os.environ.get(REQUIRE_VARIABLE) == "1":
            stash[report] = f"kafka: NO BROKER, and {REQUIRE_VARIABLE}=1 demands one: {error}"
            pytest.fail(stash[report], pytrace=False)
        stash[report] = f"kafka: NO BROKER, so nothing here was tested against a real one: {error}"
        pytest.skip(stash[report])
    stash[report] = f"kafka: {found.description}"
    yield found
    found.close()


@pytest.fixture(scope="session")
def kafka(broker: Broker) -> str:
    """The broker's bootstrap address."""
    return broker.address


@pytest.fixture(scope="session")
def admin(kafka: str) -> AdminClient:
    """An admin client of the broker."""
    return AdminClient({"bootstrap.servers": kafka, "log_level": 0})


@pytest.fixture
def topics(admin: AdminClient) -> Callable[..., str]:
    """Make a topic nobody else uses: `topics("chat", 4, **{"cleanup.policy": "compact"})` returns its name."""
    count = itertools.count()
    session = uuid.uuid4().hex[:8]

    def make(name: str, partitions: int = 1, **config: str) -> str:
        topic = f"{name}.{session}.{next(count)}"
        new = NewTopic(topic, num_partitions=partitions, replication_factor=1, config=config)
        admin.create_topics([new], operation_timeout=30)[topic].result(30)
        _wait_until_known(admin, topic)
        return topic

    return make


@pytest.fixture(autouse=True)
def _topics_are_removed(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test made in a broker of ours is removed, or the next restart takes longer and more memory each time."""
    if "broker" not in request.fixturenames or not request.getfixturevalue("broker").can_restart:
        yield
        return
    admin: AdminClient = request.getfixturevalue("admin")
    before = set(admin.list_topics(timeout=30).topics)
    yield
    made = [name for name in admin.list_topics(timeout=30).topics if name not in before and not name.startswith("__")]
    for removed in admin.delete_topics(made, operation_timeout=30).values() if made else ():
        removed.result(60)


def _wait_until_known(admin: AdminClient, topic: str) -> None:
    """The controller has the topic at once; the broker that clients ask hears of it a little later."""
    deadline = time.monotonic() + 30
    while True:
        try:
            admin.describe_topics(TopicCollection([topic]))[topic].result(30)
        except KafkaException:
            if time.monotonic() > deadline:
                raise
        else:
            return
