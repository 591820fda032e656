"""A broker from Kafka's own jars, in a JVM of this machine."""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from typing import IO

from tests.kit.kafka.base import LOOPBACK, STOP_SECONDS, VERSION, Broker, NoBrokerError, free_ports, properties
from tests.kit.paths import ROOT

PREFIX = "forewarn-kafka-"
CACHE = ROOT / ".cache" / "kafka"


class JvmBroker(Broker):
    """A broker in a JVM that ends with us; the jars it is made of are kept between runs.

    On Linux the kernel ends it with the thread that called `start`, so start it from one that stays.
    """

    def __init__(self, java: str, maven: str | None, version: str = VERSION) -> None:
        super().__init__()
        self.description = f"Apache Kafka {version}, JVM broker from Maven Central"
        self._java, self._maven, self._version = java, maven, version
        self._home: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._java_options: list[str] = []
        """What the broker's JVM is started with besides."""
        self._format_options: list[str] = []
        """What its storage is formatted with besides."""

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        if self._process is not None and self._process.poll() is None:  # a second one would find its ports taken
            self._wait_until_ready()
            return
        if self._home is None:
            self._prepare()
        assert self._home is not None
        self._log = (self._home / "broker.log").open("ab")
        heap = ["-Xms256m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]
        quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        command = [
            *self._jvm(heap=[*heap, quiet, *self._java_options]),
            "kafka.Kafka",
            str(self._home / "server.properties"),
        ]
        self._process = subprocess.Popen(
            [sys.executable, "-c", DIE_WITH_PARENT, str(os.getpid()), *command],
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
        _sweep()
        self._home = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        atexit.register(self.close)
        port, controller = free_ports(2)
        self.address = f"{LOOPBACK}:{port}"
        settings = properties(
            listen=f"PLAINTEXT://{LOOPBACK}:{port}",
            advertise=f"PLAINTEXT://{LOOPBACK}:{port}",
            controller=f"{LOOPBACK}:{controller}",
            log_dir=str(self._home / "data"),
        )
        self._configure(self._home, settings)
        config = self._home / "server.properties"
        config.write_text("".join(f"{name}={value}\n" for name, value in settings.items()), encoding="utf-8")
        cluster = uuid.uuid4().hex[:22]
        command = [*self._jvm(heap=["-Xmx128m", "-XX:TieredStopAtLevel=1"]), "kafka.tools.StorageTool"]
        done = subprocess.run(
            [*command, "format", "--cluster-id", cluster, "--config", str(config), *self._format_options],
            capture_output=True,
            check=False,
            text=True,
        )
        if done.returncode != 0:
            raise NoBrokerError(f"Kafka's storage tool failed; it said: {done.stdout[-1_000:]}{done.stderr[-1_000:]}")

    def _configure(self, home: Path, settings: dict[str, str]) -> None:
        """Change the settings of the broker that is about to be formatted in `home`: for brokers of another kind."""

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


def _sweep() -> None:
    """Remove what runs that were killed left behind: directories named after a process that is no more."""
    for home in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        owner = home.name.removeprefix(PREFIX).partition("-")[0]
        try:
            os.kill(int(owner), 0)
        except ProcessLookupError:
            shutil.rmtree(home, ignore_errors=True)
        except (ValueError, PermissionError):
            continue


def find_java() -> str | None:
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


# The JVM must not outlive us, however we end: the kernel is asked to kill it with its parent (Linux; elsewhere only
# `atexit` does it). Done by a launcher that becomes the JVM, so that the process id is the JVM's.
DIE_WITH_PARENT = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent is gone")
os.execvp(sys.argv[2], sys.argv[2:])
"""

_POM = """<project>
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
