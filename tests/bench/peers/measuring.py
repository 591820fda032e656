"""How a peer is run and what it costs: topics of its own, an interpreter of its own, CPU seconds with all children."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import subprocess
import sys
import tempfile
import threading
import tomllib
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import tomlkit
from confluent_kafka.admin import AdminClient, NewTopic
from pydantic import BaseModel

from dataflows.ingest.produce import produce
from dataflows.sources.files.log import read_log
from schemas.codec.inputs import encode_json
from schemas.records.base import CHAT, MODERATION
from tests.bench.peers.agreement import POLICY
from tests.kit.kafka.logs import read_back
from tests.kit.paths import ROOT

HERE = Path(__file__).parent
SUBREAPER = 36
SECONDS = 900.0
EPOCH_SECONDS = 10
"""As often as the other peers that survive a restart take a snapshot."""


class FailedError(Exception):
    """A peer ended with an error; the text is what it said."""


class Inputs(NamedTuple):
    """A pair of input topics."""

    chat: str
    moderation: str


class Json:
    """Encodes records as JSON, as `produce` asks for it."""

    def __init__(self, _subject: str) -> None:
        pass

    def encode(self, record: BaseModel) -> bytes:
        """One record."""
        return encode_json(record)


class Deployment:
    """A broker with two pairs of input topics, of one partition each: one pair stays empty."""

    def __init__(self, broker: str, folder: Path) -> None:
        self.broker, self.folder = broker, folder
        self._admin = AdminClient({"bootstrap.servers": broker})
        self.full, self.empty = (Inputs(f"{name}.chat", f"{name}.moderation") for name in ("full", "empty"))
        self.create(*self.full, *self.empty)

    def create(self, *topics: str) -> None:
        """Make topics."""
        for future in self._admin.create_topics([NewTopic(topic, 1, 1) for topic in topics]).values():
            future.result(30)

    def produce(self, log: Path) -> None:
        """Send a log to the full pair, as JSON."""
        topics = {CHAT: self.full.chat, MODERATION: self.full.moderation}
        produce(read_log(log), producer_config={"bootstrap.servers": self.broker}, topics=topics, encoder=Json)

    def read(self, topic: str) -> list[dict[str, Any]]:
        """The answers on an output topic."""
        answers = []
        for message in read_back(self.broker, topic):
            key, value = message.key(), message.value()
            answers.append(orjson.loads(value) if value else {"user_id": (key or b"").decode(), "tombstone": True})
        return answers

    def count(self, topic: str) -> int:
        """How many records a topic has."""
        return len(read_back(self.broker, topic))


def forewarn_command(where: Deployment, inputs: Inputs, *, whole: bool) -> tuple[list[str], str]:
    """`forewarn run` to the end of the topics, with recovery on, and its output topic.

    Whole, it teaches its challenger too and publishes every feature row; else it does the peers' job and no more.
    """
    name = uuid.uuid4().hex[:8]
    policy = tomllib.loads(POLICY.read_text(encoding="utf-8"))
    del policy["rules"]
    if not whole:
        policy["learning"]["challengers"] = []
    outputs = ("risk_events", "risk_models", "risk_features", "dead_letters", "late")
    settings = {
        "kafka": {"bootstrap_servers": where.broker, "group_id": name},
        "topics": {
            "chat_messages": inputs.chat,
            "moderation_events": inputs.moderation,
            **{topic: f"{name}.{topic}" for topic in outputs},
        },
        "recovery": {"directory": str(where.folder / f"{name}-recovery"), "epoch_interval_seconds": EPOCH_SECONDS},
        "run": {"feature_sample": 1.0 if whole else 0.0},
    }
    settings_file, policy_file = where.folder / f"{name}.toml", where.folder / f"{name}-policy.toml"
    settings_file.write_text(tomlkit.dumps(settings), encoding="utf-8")
    policy_file.write_text(tomlkit.dumps(policy), encoding="utf-8")
    forewarn = [sys.executable, "-m", "dataflows.cli.main"]
    create = ["topics", "create", "--settings", str(settings_file), "--partitions", "1", "--keep-inputs"]
    subprocess.run([*forewarn, *create], cwd=ROOT, check=True, capture_output=True)
    run = ["run", "--settings", str(settings_file), "--policy", str(policy_file), "--until-end"]
    return [*forewarn, *run], f"{name}.risk_events"


def peer_command(where: Deployment, inputs: Inputs, python: str, module: str) -> tuple[list[str], str]:
    """A peer as a process, and its output topic."""
    name = f"{module}-{uuid.uuid4().hex[:8]}"
    risk = f"{name}.risk"
    where.create(risk)
    told = {"broker": where.broker, **inputs._asdict(), "risk": risk, "group": name, "state": str(where.folder / name)}
    options = [part for key, value in told.items() for part in (f"--{key}", value)]
    return [python, "-m", f"tests.bench.peers.{module}", *options], risk


def environment(module: str, out: Path) -> str:
    """The interpreter of a peer: forewarn's own, or that of an environment made from the peer's requirements."""
    requirements = HERE / f"requirements-{module}.txt"
    if not requirements.exists():
        return sys.executable
    home = out / module
    python, ready, wanted = home / "bin/python", home / ".ready", requirements.read_text(encoding="utf-8")
    if not ready.exists() or ready.read_text(encoding="utf-8") != wanted:
        print(f"installing {requirements.name} into {home.relative_to(ROOT)}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, "-r", str(requirements)], check=True)
        for line in wanted.splitlines():
            if line.startswith("# afterwards: "):
                subprocess.run([*pip, line.removeprefix("# afterwards: ")], check=True)
            if line.startswith("# maven: "):
                jar = [f"-Dartifact={line.removeprefix('# maven: ')}", f"-DoutputDirectory={home / 'jars'}"]
                subprocess.run(["mvn", "-q", "-B", "dependency:copy", *jar], check=True)
        ready.write_text(wanted, encoding="utf-8")
    return str(python)


def spent(command: list[str]) -> tuple[float, str]:
    """Run a process to its end: its CPU seconds with all that it started, and what it printed.

    Raises:
        FailedError: if it ended with an error.
    """
    if sys.platform == "linux":  # what outlives its parent becomes our child, so that its time is counted too
        ctypes.CDLL(None).prctl(SUBREAPER, 1)
    before = _children()
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as complained:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environ, stdout=said, stderr=complained, start_new_session=True
        )
        deadline = threading.Timer(SECONDS, process.kill)
        deadline.start()
        _reap(process)
        deadline.cancel()
        said.seek(0)
        complained.seek(0)
        if process.returncode:
            raise FailedError(f"{' '.join(command[:3])} ended with {process.returncode}: {complained.read()[-2_000:]}")
        return _children() - before, said.read()


def _reap(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process, then for whoever is left of its group."""
    process.wait()
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-process.pid, 0)


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
