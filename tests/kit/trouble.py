"""Trouble for a broker, and for a process that waits: what `test_trouble` puts in the way of a run."""

from __future__ import annotations

import contextlib
import re
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.kit.deployment import Life
from tests.kit.kafka.base import VERSION, Broker, NoBrokerError
from tests.kit.kafka.container import ContainerBroker
from tests.kit.kafka.jvm import CACHE, JvmBroker, find_java

MIB = 1_024
"""In the unit of `/proc`, which is KiB."""


class TwoDisks(JvmBroker):
    """A broker that keeps its topics on two disks, and what it knows of itself on a third."""

    def _configure(self, home: Path, settings: dict[str, str]) -> None:
        settings["log.dirs"] = ",".join(str(home / disk) for disk in ("first", "second"))
        settings["metadata.log.dir"] = str(home / "metadata")

    def fill(self, topic: str) -> None:
        """Let no file of it grow beyond those of a topic any more, as on full disks; the next start has room again."""
        assert self._home is not None
        assert self._process is not None
        size = max(file.stat().st_size for file in self._home.glob(f"*/{topic}-*/*.log"))
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def refused(self) -> bool:
        """Whether it was asked for more than it has room for."""
        assert self._home is not None
        return "java.io.IOException: File too large" in (self._home / "broker.log").read_text(encoding="utf-8")


def find_two_disks() -> TwoDisks:
    """Such a broker, not yet started: it needs a Java of this machine. Errors: `NoBrokerError`."""
    java, maven = find_java(), shutil.which("mvn")
    if java is None or (maven is None and not (CACHE / VERSION / "jars").is_dir()):
        raise NoBrokerError("a broker whose disks can be filled needs Java 17 and, to fetch it once, Maven")
    return TwoDisks(java, maven)


@contextmanager
def killed(broker: Broker) -> Iterator[None]:
    """No broker at all, as after a power cut."""
    broker.kill()
    try:
        yield
    finally:
        broker.start()


@contextmanager
def frozen(broker: Broker) -> Iterator[None]:
    """A broker that holds its connections and does not answer on them."""
    if isinstance(broker, ContainerBroker):
        assert broker._container is not None
        container = broker._container.get_wrapped_container()
        freeze, thaw = container.pause, container.unpause
    else:
        assert isinstance(broker, JvmBroker)
        assert broker._process is not None
        process = broker._process
        freeze, thaw = (lambda: process.send_signal(signal.SIGSTOP)), (lambda: process.send_signal(signal.SIGCONT))
    freeze()
    try:
        yield
    finally:
        thaw()


def memory(life: Life, what: str = "VmRSS") -> int:
    """Resident memory of a run's process in KiB: as it is, or as `VmHWM` what it was at most; 0 if it has ended."""
    status = Path(f"/proc/{life.process.pid}/status").read_text(encoding="utf-8")
    found = re.search(rf"^{what}:\s*(\d+) kB$", status, re.MULTILINE)
    return 0 if found is None else int(found[1])


def watch(life: Life, seconds: float) -> int:
    """Look on for so long at a run that goes on; the most memory it had, in KiB."""
    deadline, most = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        with contextlib.suppress(subprocess.TimeoutExpired):
            life.process.wait(0.2)
        assert life.process.poll() is None, life.said()
        most = max(most, memory(life))
    return most


def let_no_file_grow(pid: int) -> None:
    """Whatever a process writes beyond what its small files hold is refused, as on a full disk."""
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (16 * 1_024, resource.RLIM_INFINITY))
