"""A real Apache Kafka broker for tests: an address given, a container, or a JVM on this machine, in that order.

It is usable without pytest: `with find_broker() as broker: use(broker.address)`. Nothing is started before `start`.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

if TYPE_CHECKING:
    from docker import DockerClient
    from testcontainers.core.container import DockerContainer

VERSION = "4.1.0"
CACHE = Path(__file__).parents[2] / ".cache" / "kafka"
ADDRESS_VARIABLE = "FOREWARN_TEST_KAFKA"
IMAGE_VARIABLE = "FOREWARN_TEST_KAFKA_IMAGE"
IMAGE = f"apache/kafka:{VERSION}"
LOOPBACK = "127.0.0.1"
READY_SECONDS = 90.0
STOP_SECONDS = 30.0


class NoBrokerError(Exception):
    """No broker can be had here; the sentence says what was tried."""


class Broker(ABC):
    """A broker that can be started, stopped, killed and started again with the same address and data.

    `close` (or leaving the `with`) ends it for good and removes what it kept.
    """

    description: str
    """What it is, for the test report."""
    can_restart = True
    """Whether `stop`, `kill` and a second `start` work: not for a broker that somebody else runs."""

    def __init__(self) -> None:
        self.address = ""

    @abstractmethod
    def start(self) -> None:
        """Start, or start again; returns when the broker answers."""

    @abstractmethod
    def stop(self) -> None:
        """Shut down in order, as an operator does; data and address stay."""

    @abstractmethod
    def kill(self) -> None:
        """End without any warning, as a power cut does; data and address stay."""

    @abstractmethod
    def close(self) -> None:
        """End it and remove everything it kept."""

    def _alive(self) -> str | None:
        """None while there is something to wait for, else why waiting is in vain."""
        return None

    def _wait_until_ready(self) -> None:
        admin = AdminClient(
            {"bootstrap.servers": self.address, "reconnect.backoff.max.ms": 200, "log_level": 0, "client.id": "ready"}
        )
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                if admin.list_topics(timeout=1.0).brokers:
                    return
            except KafkaException:
                if reason := self._alive():
                    raise NoBrokerError(reason) from None
                if time.monotonic() > deadline:
                    raise NoBrokerError(f"{self.description} did not answer within {READY_SECONDS:g} s") from None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class GivenBroker(Broker):
    """A broker somebody else runs, at the address in `FOREWARN_TEST_KAFKA`."""

    can_restart = False

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address = address
        self.description = f"the broker at {address} ({ADDRESS_VARIABLE})"

    def start(self) -> None:
        self._wait_until_ready()

    def stop(self) -> None:
        raise NotImplementedError("a broker that somebody else runs is not ours to stop")

    def kill(self) -> None:
        raise NotImplementedError("a broker that somebody else runs is not ours to kill")

    def close(self) -> None:
        """Nothing of it is ours."""


class JvmBroker(Broker):
    """A broker from Kafka's own jars, in a JVM of this machine; the jars are kept between runs."""

    def __init__(self, java: str, maven: str | None, version: str = VERSION) -> None:
        super().__init__()
        self.description = f"Apache Kafka {version}, JVM broker from Maven Central"
        self._java, self._maven, self._version = java, maven, version
        self._home: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    def start(self) -> None:
        if self._home is None:
            self._prepare()
        assert self._home is not None
        self._log = (self._home / "broker.log").open("ab")
        heap = ["-Xms256m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]
        quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        command = [*self._jvm(heap=[*heap, quiet]), "kafka.Kafka", str(self._home / "server.properties")]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _DIE_WITH_PARENT, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        self._wait_until_ready()

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._log is not None:
            self._log.close()
            self._log = None

    def close(self) -> None:
        atexit.unregister(self.close)
        self.kill()
        if self._home is not None:
            shutil.rmtree(self._home, ignore_errors=True)
            self._home = None

    def _alive(self) -> str | None:
        if self._process is None or self._process.poll() is None or self._home is None:
            return None
        tail = (self._home / "broker.log").read_text(encoding="utf-8", errors="replace")[-2_000:]
        return f"{self.description} ended with {self._process.returncode} while starting; it said: {tail}"

    def _jvm(self, heap: list[str]) -> list[str]:
        return [self._java, *heap, "-cp", f"{self._jars()}{os.sep}*"]

    def _prepare(self) -> None:
        """A directory of its own, free ports, and a formatted log."""
        self._jars()
        self._home = Path(tempfile.mkdtemp(prefix="forewarn-kafka-"))
        atexit.register(self.close)
        port, controller = _free_ports(2)
        self.address = f"{LOOPBACK}:{port}"
        properties = _properties(
            listen=f"PLAINTEXT://{LOOPBACK}:{port}",
            advertise=f"PLAINTEXT://{LOOPBACK}:{port}",
            controller=f"{LOOPBACK}:{controller}",
            log_dir=str(self._home / "data"),
        )
        config = self._home / "server.properties"
        config.write_text("".join(f"{name}={value}\n" for name, value in properties.items()), encoding="utf-8")
        cluster = uuid.uuid4().hex[:22]
        command = [*self._jvm(heap=["-Xmx128m", "-XX:TieredStopAtLevel=1"]), "kafka.tools.StorageTool"]
        done = subprocess.run(
            [*command, "format", "--cluster-id", cluster, "--config", str(config)],
            capture_output=True,
            check=False,
            text=True,
        )
        if done.returncode != 0:
            raise NoBrokerError(f"Kafka's storage tool failed; it said: {done.stdout[-1_000:]}{done.stderr[-1_000:]}")

    def _jars(self) -> Path:
        """The directory of Kafka's jars: fetched by Maven once, moved into place whole so that no run sees a half."""
        jars = CACHE / self._version / "jars"
        if jars.is_dir():
            return jars
        if self._maven is None:
            raise NoBrokerError("Maven is needed once to fetch Kafka's jars")
        jars.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=jars.parent) as scratch:
            (Path(scratch) / "pom.xml").write_text(_POM.format(version=self._version), encoding="utf-8")
            goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={scratch}/jars"]
            done = subprocess.run(
                [self._maven, "-q", "-B", "-f", f"{scratch}/pom.xml", *goal],
                capture_output=True,
                check=False,
                text=True,
            )
            if done.returncode != 0:
                raise NoBrokerError(f"Maven could not fetch Kafka's jars; it said: {done.stdout[-1_000:]}")
            with contextlib.suppress(OSError):  # another run was first: its jars are as good
                Path(scratch, "jars").rename(jars)
        return jars


class ContainerBroker(Broker):
    """A broker in a container, through testcontainers."""

    def __init__(self, image: str) -> None:
        super().__init__()
        self.description = f"container of {image}"
        self._image = image
        self._container: DockerContainer | None = None

    def start(self) -> None:
        if self._container is None:
            self._container = self._create()
        else:
            self._container.get_wrapped_container().start()
        self._wait_until_ready()

    def _create(self) -> DockerContainer:
        from testcontainers.core.config import testcontainers_config  # noqa: PLC0415 - only where Docker is used
        from testcontainers.core.container import DockerContainer  # noqa: PLC0415

        client = _docker()
        assert client is not None
        # The reaper removes what a crashed run leaves behind, but it is an image too, and may not be had offline.
        testcontainers_config.ryuk_disabled = not _has_image(client, testcontainers_config.ryuk_image)
        client.close()
        (port,) = _free_ports(1)
        self.address = f"{LOOPBACK}:{port}"
        properties = _properties(
            listen="PLAINTEXT://0.0.0.0:9092",
            advertise=f"PLAINTEXT://{self.address}",
            controller="localhost:9093",
            log_dir="/tmp/kafka-data",  # noqa: S108 - inside the container
        )
        container = DockerContainer(self._image)
        container.ports["9092/tcp"] = (LOOPBACK, port)  # `with_bind_ports` would open it to the whole network
        for name, value in properties.items():
            container.with_env(f"KAFKA_{name.upper().replace('.', '_')}", value)
        container.with_env("KAFKA_HEAP_OPTS", "-Xmx256m -Xms256m")
        atexit.register(self.close)
        return container.start()

    def stop(self) -> None:
        if self._container is not None:
            self._container.get_wrapped_container().stop(timeout=int(STOP_SECONDS))

    def kill(self) -> None:
        if self._container is not None:
            self._container.get_wrapped_container().kill()

    def close(self) -> None:
        atexit.unregister(self.close)
        if self._container is not None:
            self._container.stop()
            self._container.get_docker_client().client.close()
            self._container = None

    def _alive(self) -> str | None:
        assert self._container is not None
        wrapped = self._container.get_wrapped_container()
        wrapped.reload()
        if wrapped.status in ("created", "running", "restarting"):
            return None
        return f"{self.description} ended while starting; it said: {wrapped.logs()[-2_000:].decode(errors='replace')}"


def find_broker() -> Broker:
    """The first broker of the three that can be had here, not yet started.

    Errors: `NoBrokerError`, saying what was looked for.
    """
    if address := os.environ.get(ADDRESS_VARIABLE):
        return GivenBroker(address)
    image = os.environ.get(IMAGE_VARIABLE, IMAGE)
    client = _docker()
    if client is not None:
        with contextlib.closing(client):
            if _has_image(client, image):
                return ContainerBroker(image)
    java, maven = _java(), shutil.which("mvn")
    if java is None:
        raise NoBrokerError(f"{ADDRESS_VARIABLE} is not set, no Docker engine offers {image}, and no Java 17 is here")
    if maven is None and not (CACHE / VERSION / "jars").is_dir():
        raise NoBrokerError(f"{ADDRESS_VARIABLE} is not set, no Docker engine offers {image}, and no Maven is here")
    return JvmBroker(java, maven)


def _docker() -> DockerClient | None:
    """A Docker engine that answers, or None."""
    try:
        import docker  # noqa: PLC0415 - the suite runs without it
        from docker.errors import DockerException  # noqa: PLC0415
    except ImportError:
        return None
    client = None
    with warnings.catch_warnings():
        # Where no engine listens the library drops its socket unclosed, and the suite takes warnings for errors.
        warnings.simplefilter("ignore", ResourceWarning)
        with contextlib.suppress(DockerException):
            client = docker.from_env(timeout=5)
        gc.collect()
    if client is None:
        return None
    try:
        client.ping()
    except Exception:  # whatever is wrong with it, it is no engine that answers
        client.close()
        return None
    return client


def _has_image(client: DockerClient, image: str) -> bool:
    """Whether the engine has the image or can pull it."""
    from docker.errors import DockerException  # noqa: PLC0415

    try:
        client.images.get(image)
    except DockerException:
        try:
            client.images.pull(image)
        except Exception:  # no network, no such image, no room: all the same to us
            return False
    return True


def _java() -> str | None:
    """A Java of at least 17, from JAVA_HOME or the path."""
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home, "bin", "java")) if home else shutil.which("java")
    if java is None:
        return None
    try:
        said = subprocess.run([java, "-version"], capture_output=True, check=False, text=True).stderr
    except OSError:
        return None
    version = re.search(r'version "(\d+)', said)
    return java if version is not None and int(version[1]) >= 17 else None


def _free_ports(count: int) -> list[int]:
    """Ports nobody listens on now; held together while chosen, so that they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((LOOPBACK, 0))
        return [one.getsockname()[1] for one in sockets]


def _properties(*, listen: str, advertise: str, controller: str, log_dir: str) -> dict[str, str]:
    """A broker of one node that is also its controller, with internal topics small enough to start fast."""
    return {
        "node.id": "1",
        "process.roles": "broker,controller",
        "controller.quorum.voters": f"1@{controller}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"{listen},CONTROLLER://{controller}",
        "advertised.listeners": advertise,
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": log_dir,
        # Record timestamps are event times, and the tests' events are years old: nothing may expire by itself.
        "log.retention.ms": "-1",
        # After a kill the controller waits this long before it lets the same broker in again.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        "group.initial.rebalance.delay.ms": "0",
        "offsets.topic.num.partitions": "1",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
    }


# The JVM must not outlive us, however we end: the kernel is asked to kill it with its parent (Linux; elsewhere only
# `atexit` does it). Done by a launcher that becomes the JVM, so that the process id is the JVM's.
_DIE_WITH_PARENT = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent is gone")
os.execvp(sys.argv[2], sys.argv[2:])
"""

_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>forewarn</groupId>
  <artifactId>test-broker</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{version}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId>
      <version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"""
