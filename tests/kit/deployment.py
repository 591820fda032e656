"""A deployment to be killed: topics of its own, a log that keeps coming, runs started as operators start them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from copy import copy
from pathlib import Path
from typing import Any, Self

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

from dataflows.config.settings import Settings
from dataflows.ingest.produce import Pace, Produced, produce
from dataflows.kafka.topics import create_topics
from dataflows.sources.files.log import read_log
from schemas.codec.outputs import Decoder, Encoder
from schemas.records.base import CHAT, MODERATION
from tests.kit.kafka.logs import read_committed
from tests.kit.paths import ROOT

PARTITIONS = 4
NAMES = ("chat_messages", "moderation_events", "risk_events", "risk_models", "risk_features", "dead_letters", "late")
POISON = (b"", b"\x00\x00\x00\x00\x63poison", b"\xc3\x01short", b'{"event_id":', b"\xff\xfe\x00", b"{}" * 40)
PATIENCE_SECONDS = 120.0
ANSWER_SECONDS = 30.0


class Poisoning:
    """A producer that sends poison to the same partitions between the records it is given: one in `every`."""

    def __init__(self, config: dict[str, Any], every: int) -> None:
        self._producer, self._every = Producer(config), every
        self._sent = self.poisoned = 0

    def produce(self, topic: str, value: bytes, key: bytes, **rest: Any) -> None:
        self._sent += 1
        if self._sent % self._every == 0:
            bytes_sent = POISON[self.poisoned % len(POISON)]
            self._producer.produce(topic, bytes_sent, key, timestamp=rest["timestamp"])
            self.poisoned += 1
        self._producer.produce(topic, value, key, **rest)

    def poll(self, seconds: float) -> int:
        return self._producer.poll(seconds)

    def flush(self, seconds: float) -> int:
        return self._producer.flush(seconds)


class Deployment:
    """Settings, topics and recovery directory of one deployment, in `folder`."""

    def __init__(
        self,
        address: str,
        folder: Path,
        policy: Path,
        model: Path | None,
        *,
        epoch_seconds: float = 0.3,
        batch_size: int = 100,
        metrics: int | None = None,
    ) -> None:
        self.address, self.folder, self.policy, self.model = address, folder, policy, model
        name = uuid.uuid4().hex[:8]
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "settings.toml"
        self._file.write_text(
            f'[kafka]\nbootstrap_servers = "{address}"\ngroup_id = "{name}"\n'
            f'[recovery]\ndirectory = "{folder / "recovery"}"\nepoch_interval_seconds = {epoch_seconds}\n'
            f"[run]\nbatch_size = {batch_size}\nrestarts = 1000\nrestart_wait_most_seconds = 0.2\n"
            + (f"metrics_port = {metrics}\n" if metrics else "")
            + "[topics]\n"
            + "".join(f'{topic} = "{name}.{topic.replace("_", "-")}"\n' for topic in NAMES)
        )
        self.settings = Settings.load(self._file)
        create_topics(self.settings, PARTITIONS, 1, input_retention_ms=-1)
        self.lives: list[Life] = []
        self.sent = Produced()
        self.poisoned = 0

    def produce(self, log: Path, *, rate: float | None = None, poison_every: int | None = None) -> None:
        """Send a log to the input topics, with poison between its records where that is asked for."""
        made: list[Poisoning] = []

        def poisoning(config: dict[str, Any]) -> Any:
            made.append(Poisoning(config, poison_every or sys.maxsize))
            return made[-1]

        self.sent = produce(
            read_log(log),
            producer_config={"bootstrap.servers": self.address, "log_level": 0},
            topics={CHAT: self.settings.topics.chat_messages, MODERATION: self.settings.topics.moderation_events},
            encoder=Encoder,
            pace=Pace(rate=rate),
            new_producer=poisoning,
        )
        self.poisoned = sum(one.poisoned for one in made)

    def start(self, *extra: str) -> Life:
        """Start `forewarn run` as a process of its own."""
        command = [sys.executable, "-m", "dataflows.cli.main", "run", "--settings", str(self._file)]
        command += ["--policy", str(self.policy), *extra]
        if self.model is not None:
            command += ["--model", str(self.model)]
        self.lives.append(Life(command, str(self._file), self.folder / f"life-{len(self.lives)}.log"))
        return self.lives[-1]

    def finish(self, *extra: str) -> Life:
        """Run to the present end of the inputs, for as long as that goes on."""
        life = self.start("--until-end", *extra)
        served, deadline = -1, 0.0
        while life.process.poll() is None:
            if (now := self.served()) > served:
                served, deadline = now, time.monotonic() + PATIENCE_SECONDS
            with contextlib.suppress(subprocess.TimeoutExpired):
                life.process.wait(1)
            if time.monotonic() > deadline:
                life.wait(0)
        assert life.process.returncode == 0, life.said()
        return life

    def messages(self, topic: str) -> Iterator[Message]:
        """Every committed record of one of the deployment's topics."""
        yield from read_committed(self.address, getattr(self.settings.topics, topic))

    def elsewhere(self) -> Deployment:
        """The same deployment as another machine would start it: with a recovery directory of its own."""
        other = copy(self)
        other.folder = self.folder / "elsewhere"
        other.folder.mkdir()
        other._file = other.folder / "settings.toml"
        other._file.write_text(self._file.read_text().replace(f"{self.folder}/recovery", f"{other.folder}/recovery"))
        other.settings = Settings.load(other._file)
        return other

    def served(self) -> int:
        """How many decision points have been published so far."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            # A client for each try: one that asked while a partition had no leader may never learn of one.
            asking = Consumer({"bootstrap.servers": self.address, "group.id": "seen", "log_level": 0})
            try:
                ends = [TopicPartition(self.settings.topics.risk_features, number) for number in range(PARTITIONS)]
                return sum(int(asking.get_watermark_offsets(end, ANSWER_SECONDS)[1]) for end in ends)
            except KafkaException:
                if time.monotonic() > deadline:
                    raise
            finally:
                asking.close()

    def close(self) -> None:
        """End whatever of it still runs."""
        for life in self.lives:
            life.end()

    def risk_ids(self) -> Counter[str]:
        """How often each risk event id is on the topic, by what the events themselves say."""
        decoder = Decoder("risk_event")
        values = (message.value() for message in self.messages("risk_events"))
        return Counter(decoder.decode(value).model_dump()["risk_event_id"] for value in values if value is not None)


class Life:
    """One start of `forewarn run`, with what it prints kept in a file."""

    def __init__(self, command: list[str], mark: str, log: Path) -> None:
        self._mark, self._log = mark, log
        with log.open("wb") as output:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)

    def said(self) -> str:
        """Everything printed so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def wait(self, seconds: float) -> int:
        """The exit status; killed if it does not end in time."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.end()
            raise AssertionError(f"it did not end within {seconds:g} s; it said: {self.said()[-2_000:]}") from None

    def alive(self, having: str = "") -> list[int]:
        """Ids of all processes of this deployment that still run, its own and what it started."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                line = (folder / "cmdline").read_bytes().decode(errors="replace")
                if self._mark in line and having in line:
                    found.append(int(folder.name))
        return found

    def kill_one(self, pick: Callable[[list[int]], int]) -> None:
        """SIGKILL one of the processes that do the work, or their supervisor."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pick([self.process.pid, *sorted(self.alive("--place"))]), signal.SIGKILL)

    def stand_still(self) -> None:
        """Stop all its processes where they are, until `go_on`: what it has published is then known exactly."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let all its processes go on after `stand_still`."""
        self._signal(signal.SIGCONT)

    def _signal(self, what: signal.Signals) -> None:
        for pid in {*self.alive(), self.process.pid}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, what)

    def gone(self) -> bool:
        """Whether it ended, and what it had started has noticed."""
        return self.process.poll() is not None and not self.alive()

    def listens(self) -> bool:
        """Whether it has come so far that it holds its recovery directory; until then there is nothing to drain."""
        with contextlib.suppress(OSError, ValueError):
            return int((self._log.parent / "recovery" / "lock").read_text()) in self.alive()
        return False

    def drain(self) -> tuple[int, float]:
        """SIGTERM; the exit status and how many seconds that took."""
        while not self.listens():
            assert self.process.poll() is None, self.said()
        begin = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.wait(60), time.monotonic() - begin

    def end(self) -> None:
        """End it and whatever it started, without asking."""
        while not self.gone():
            self._signal(signal.SIGKILL)

    def events(self) -> int:
        """How many events it said it had read, when it ended in order."""
        lines = re.findall(r"^(?:process-\d+: )?events: (.*)$", self.said(), re.MULTILINE)
        return sum(int(number.replace(",", "")) for line in lines for number in re.findall(r" ([\d,]+)", f" {line}"))


class Feeding:
    """A log sent in the background, as `with Feeding(...)`; leaving it waits until all of it is on the topics."""

    def __init__(self, send: Callable[[], None]) -> None:
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(send,), daemon=True)

    def _run(self, send: Callable[[], None]) -> None:
        try:
            send()
        except BaseException as error:
            self._failure = error

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        if self._failure is not None:
            raise self._failure
