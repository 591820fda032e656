"""The broker for tests itself: which one is chosen, that it survives a restart, and that it does not outlive us."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.kit.kafka import base as broker_base
from tests.kit.kafka import broker as brokers
from tests.kit.kafka.base import LOOPBACK, free_ports
from tests.kit.kafka.broker import Broker, GivenBroker, NoBrokerError, find_broker
from tests.kit.kafka.logs import Written, read_back, write
from tests.kit.paths import ROOT

pytestmark = pytest.mark.slow


def test_an_address_that_is_given_is_taken_before_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs a broker says where, and nothing is looked for."""
    monkeypatch.setenv("FOREWARN_TEST_KAFKA", "127.0.0.1:1")
    found = find_broker()
    assert isinstance(found, GivenBroker)
    assert found.address == "127.0.0.1:1"


def test_where_nothing_can_be_had_it_says_what_was_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """No address, no engine, no Java: one sentence names all three."""
    monkeypatch.delenv("FOREWARN_TEST_KAFKA", raising=False)
    monkeypatch.setattr(brokers, "find_docker", lambda: None)
    monkeypatch.setattr(brokers, "find_java", lambda: None)
    with pytest.raises(NoBrokerError, match=r"FOREWARN_TEST_KAFKA is not set, no Docker engine .*no Java 17 is here"):
        find_broker()


def test_ports_are_free_and_nobody_is_given_them_while_a_broker_is_down() -> None:
    """Two differ, a server can listen on each, and the system, asked for any port, gives others."""
    ports = free_ports(20)
    assert len(set(ports)) == 20
    with ExitStack() as held:
        for port in ports:
            held.enter_context(socket.create_server((LOOPBACK, port)))
        given = [held.enter_context(socket.create_server((LOOPBACK, 0))).getsockname()[1] for _ in range(20)]
    assert max(ports) < min(given)


def test_where_the_system_may_give_every_port_some_are_found_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on machines that call many others."""
    given = tmp_path / "given"
    given.write_text("1024\t65535\n")
    monkeypatch.setattr(broker_base, "GIVEN", given)
    assert len(set(free_ports(20))) == 20


@pytest.mark.kafka
def test_a_restart_keeps_address_and_data(broker: Broker, topics: Callable[..., str]) -> None:
    """Stopped in order, the broker comes back where it was with what it had (the sink's tests kill it)."""
    if not broker.can_restart:
        pytest.skip("the broker is not ours to stop")
    topic, address = topics("kept"), broker.address
    write(address, topic, [Written("u1", 1_000, b"kept")])
    broker.stop()
    broker.start()
    assert broker.address == address
    assert [message.value() for message in read_back(address, topic)] == [b"kept"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills a child with its parent")
def test_the_broker_dies_with_whoever_started_it() -> None:
    """However a test run ends, even by SIGKILL, no JVM is left behind."""
    starter = (
        "import os, subprocess, sys\n"
        "from tests.kit.kafka.jvm import DIE_WITH_PARENT\n"
        "child = subprocess.Popen([sys.executable, '-c', DIE_WITH_PARENT, str(os.getpid()), 'sh', '-c', "
        "'echo up; exec sleep 600'], stdout=subprocess.PIPE)\n"
        "print(child.stdout.readline().decode().strip(), child.pid, flush=True)\n"
        "child.wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", starter], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        up, child = parent.stdout.readline().split()
        assert (up, Path("/proc", child).exists()) == ("up", True)
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while Path("/proc", child).exists() and Path("/proc", child, "stat").read_text(encoding="utf-8").split()[2] != "Z":
        assert time.monotonic() < deadline


@pytest.mark.parametrize(("required", "outcome"), [("", "1 skipped"), ("1", "1 error")])
def test_without_a_broker_tests_are_skipped_loudly_or_fail_where_one_is_required(required: str, outcome: str) -> None:
    """Skipping says so in one line; `FOREWARN_REQUIRE_KAFKA=1` turns it into a failure of the run."""
    environment = {
        name: value for name, value in os.environ.items() if name not in ("JAVA_HOME", "FOREWARN_TEST_KAFKA")
    }
    environment |= {"PATH": "", "DOCKER_HOST": "unix:///nonexistent.sock", "FOREWARN_REQUIRE_KAFKA": required}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/kafka/test_topics.py", "-k", "replicas"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False, text=True)
    assert outcome in done.stdout, done.stdout
    assert any(line.startswith("kafka: NO BROKER") for line in done.stdout.splitlines())
    assert (done.returncode != 0) == bool(required)
