"""The live half of the benchmark: `forewarn run` on a real broker, from topic to topic, with recovery and learning on.

    python -m tests.bench.live --users 1000000 --events 1500000 --rates 2500 5000 10000

The input topics are filled, and a run reads them to the end: CPU time, memory, what the recovery store holds and how
long snapshots took. Then it starts again from that store, and is fed at quarters of the rate it was seen to sustain, or
at the rates asked for, by a process of its own: how long after an input was sent does its risk event reach a
subscriber, and how long does it take those that met a snapshot on their way, and those that met none? Beside that
stands who took how many processors meanwhile: the run, the broker, what sends the load, and the benchmark itself. CPU
time and counts are what to compare; wall times on a busy machine say little. Results also go to out/bench/live.json.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from math import nan
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from dataflows.config.settings import RecoverySettings
from tests.bench.latency import Latency, spread
from tests.bench.workload import START, Workload, write
from tests.kit.deployment import ROOT, Deployment, Life
from tests.kit.kafka.base import LOOPBACK, free_ports
from tests.kit.kafka.broker import Broker, find_broker
from tests.recovery.soak import total

POLICY = ROOT / "tests/bench/ubuntu_irc.toml"
OUT = ROOT / "out/bench/live.json"
TICKS = os.sysconf("SC_CLK_TCK")
LOOK = 0.2
"""Seconds between two looks at a run, each of which costs it some milliseconds."""
SELDOM = 0.5
"""The same where it is looked at all the time."""
SHARES = (0.25, 0.5, 0.75)
AGAIN = 4
"""Events of a user in a load, in the mean; a few users make many of them."""
WARM = 10_000
"""Users who are heard of again before the run is stopped, so that it has published risk events: the first that a broker
ever takes waits a second or two for the topic in which it notes transactions."""
LABELLED = 24.0
"""Hours until they are, so that the model has learnt what became of everybody: the horizon of the policy."""
OFTEN = 1.5
"""Events for each user, at least. Where nobody speaks twice and gets away with it, a second event is what a model warns
of, for every third event instead of one in 150."""
HOUR = 3_600_000
EPOCH = RecoverySettings().epoch_interval_seconds


class Seen(NamedTuple):
    """A run at one moment: CPU seconds and resident bytes of its processes, and the metrics of each that has any."""

    cpu: float
    memory: int
    metrics: Sequence[str]

    def count(self, name: str) -> int:
        """A metric's sum over its labels and the processes."""
        return sum(total(metrics, name) for metrics in self.metrics)

    def values(self, name: str) -> list[float]:
        """A metric without labels, of each process."""
        found = [re.search(rf"^{name} (\S+)$", metrics, re.MULTILINE) for metrics in self.metrics]
        return [0.0 if one is None else float(one[1]) for one in found]


def cpu_of(pid: int | None) -> float:
    """CPU seconds of a process with all its threads; not a number where there is none."""
    if pid is None:
        return nan
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Watched:
    """A run that is looked at from outside."""

    def __init__(self, deployment: Deployment, ports: Sequence[int]) -> None:
        self._ports, self.begun = ports, time.monotonic()
        self.life: Life = deployment.start(*(("--processes", str(len(ports))) if len(ports) > 1 else ()))

    def pids(self) -> set[int]:
        """Its processes, the one that watches over several included."""
        return {self.life.process.pid, *self.life.alive("--place")}

    def cpu(self) -> float:
        """CPU seconds of all of them."""
        return sum(map(cpu_of, self.pids()))

    def look(self) -> Seen | None:
        """The run as it is now; None while one of its processes serves no metrics yet."""
        assert self.life.process.poll() is None, self.life.said()
        metrics = []
        try:
            for port in self._ports:
                with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/metrics", timeout=60) as answer:
                    metrics.append(answer.read().decode())
        except OSError:
            return None
        said = "".join(Path(f"/proc/{pid}/status").read_text() for pid in self.pids())
        memory = re.findall(r"^VmRSS:\s*(\d+) kB", said, re.MULTILINE)
        return Seen(self.cpu(), sum(map(int, memory)) * 1024, metrics)

    def until(self, reached: Callable[[Seen], bool], patience: float = 3_600.0) -> Seen:
        """The run at the first look at which that is so."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            seen = self.look()
            if seen is not None and reached(seen):
                return seen
            time.sleep(LOOK)
        raise TimeoutError(self.life.said())

    def drain(self) -> None:
        """Stop in order."""
        status, _ = self.life.drain()
        assert status == 0, self.life.said()


class Stalls:
    """When a run stood still for snapshots (`time.time`), as seen by looking at its metrics again and again."""

    def __init__(self, run: Watched) -> None:
        self.found: list[tuple[float, float]] = []
        self._run = run
        self._over = threading.Event()
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self._watching.start()

    def _watch(self) -> None:
        before: Iterable[tuple[float, float]] = ()
        while not self._over.wait(SELDOM):
            if (seen := self._run.look()) is None:
                continue
            parts = [seen.values(f"forewarn_snapshot_seconds_{part}") for part in ("count", "sum")]
            now, ends = list(zip(*parts, strict=True)), seen.values("forewarn_last_snapshot_timestamp_seconds")
            # every source partition of a process stands still for about as long as the others
            for (count, summed), (times, stood), end in zip(before or now, now, ends, strict=True):
                if times > count:
                    self.found.append((end - (stood - summed) / (times - count), end))
            before = now

    def met(self, begin: float, end: float) -> bool:
        """Whether something that lasted from `begin` to `end` met one."""
        return any(begin <= last and first <= end for first, last in self.found)

    def close(self) -> None:
        """Stop looking."""
        self._over.set()
        self._watching.join()


def longest_stall(processes: Sequence[str]) -> float | None:
    """The bound of the highest bucket that a snapshot of any process fell into (s); None where there was none."""
    longest = []
    for metrics in processes:
        found = re.findall(r'^forewarn_snapshot_seconds_bucket{.*le="([^"]+)".*} (\S+)$', metrics, re.MULTILINE)
        counts = sorted((float(bound), float(count)) for bound, count in found)
        longest += [bound for bound, count in counts if counts[-1][1] and count == counts[-1][1]][:1]
    return max(longest, default=None)


def adjacent_ports(count: int) -> int:
    """The first of so many ports in a row on which nobody listens now."""
    while True:
        (first,) = free_ports(1)
        with ExitStack() as held:
            try:
                for port in range(first, first + count):
                    held.enter_context(socket.create_server((LOOPBACK, port)))
            except (OSError, OverflowError):
                continue
            return first


def filled(deployment: Deployment, workload: Workload, folder: Path) -> None:
    """Send a workload to the input topics."""
    deployment.produce(write(workload, folder / f"{workload.seed}-{workload.users}.jsonl"))


def measured(
    broker: Broker,
    folder: Path,
    workload: Workload,
    seconds: float,
    epoch: float,
    rates: Sequence[float] = (),
    processes: int = 1,
) -> Iterator[tuple[str, Any]]:
    """The figures, one after the other, by name; without `rates`, at shares of what catching up was seen to do."""
    port = adjacent_ports(processes)
    deployment = Deployment(broker.address, folder, POLICY, None, epoch_seconds=epoch, batch_size=1_000, metrics=port)
    ports = range(port, port + processes)
    try:
        idle = Watched(deployment, ports)
        base = idle.until(lambda seen: seen.count("forewarn_last_snapshot_timestamp_seconds") > 0)
        idle.drain()
        filled(deployment, workload, folder)
        run = Watched(deployment, ports)
        began = run.until(lambda seen: seen.count("forewarn_events_total") > 0)
        first, cpu, others = time.monotonic(), began.cpu, cpu_of(broker.pid)
        done = run.until(lambda seen: seen.count("forewarn_events_total") >= workload.events)
        wall, read = time.monotonic() - first, workload.events - began.count("forewarn_events_total")
        yield "events per CPU second", read / max(done.cpu - cpu, 1 / TICKS)
        yield "CPU us of the broker an event", (cpu_of(broker.pid) - others) / max(read, 1) * 1e6
        yield "events per second", read / wall
        settled = time.time()
        rest = run.until(lambda seen: seen.count("forewarn_last_snapshot_timestamp_seconds") > settled)
        yield "users in memory", rest.count("forewarn_profiles")
        yield "resident MB", rest.memory / 1e6
        yield "resident bytes per user", (rest.memory - base.memory) / workload.users
        yield "longest snapshot stall while catching up, s, at most", longest_stall(rest.metrics)
        later = START + int((workload.hours + LABELLED) * HOUR)
        few = min(workload.users, WARM)
        warm = Workload(few, AGAIN * few, workload.seed + 1, 1.0, start=later)
        filled(deployment, warm, folder)
        run.until(lambda seen: seen.count("forewarn_events_total") >= workload.events + warm.events)
        run.drain()
        stored = sum(file.stat().st_size for file in (folder / "recovery").rglob("*") if file.is_file())
        yield "recovery store, bytes per user", stored / workload.users
        later += HOUR
        filled(deployment, Workload(20, 200, workload.seed + 2, 0.1, start=later), folder)
        again = Watched(deployment, ports)
        again.until(lambda seen: seen.count("forewarn_events_total") > 0)
        yield "resume, s from start to the first event", time.monotonic() - again.begun
        subscriber = Latency(deployment)
        asked = {f"{rate:,.0f}/s": rate for rate in rates} or {f"{share:.0%}": share * read / wall for share in SHARES}
        for number, (name, rate) in enumerate(asked.items(), 3):
            many = int(rate * seconds)
            users = min(workload.users, max(1, many // AGAIN))
            load = Workload(users, many, workload.seed + number, 1.0, workload.skew, later + number * HOUR)
            yield f"fed at {name}", fed(again, broker.pid, subscriber, load, rate)
        subscriber.close()
        again.drain()
    finally:
        deployment.close()


def fed(run: Watched, broker: int | None, subscriber: Latency, workload: Workload, rate: float) -> dict[str, Any]:
    """A run that is sent a workload at a rate: what that took of whom, and how long risk events took."""
    load = subscriber.prepare(workload, rate)
    stalls = Stalls(run)

    def cpu() -> dict[str, float]:
        return {"run": run.cpu(), "broker": cpu_of(broker), "benchmark": cpu_of(os.getpid())}

    before = cpu()
    came = subscriber.feed(load)
    cpu_seconds = {name: took - before[name] for name, took in cpu().items()} | {"load": came.cpu}
    stalls.close()
    met = [wait for wait in came.waits if stalls.met(*wait)]
    free = [wait for wait in came.waits if not stalls.met(*wait)]
    return {
        "rate": rate,
        "sent a second": workload.events / came.seconds,
        "late in sending, s, p99": came.late,
        "CPU us an event": {name: took / workload.events * 1e6 for name, took in cpu_seconds.items()},
        "latency, s": spread(came.waits),
        "outside snapshots": spread(free),
        "in snapshots": spread(met),
        "snapshots": len(stalls.found),
        "longest stall, s": max((end - begin for begin, end in stalls.found), default=None),
    }


def shown(value: Any) -> str:
    """A figure as the table shows it."""
    if isinstance(value, dict):
        return ", ".join(
            f"{name} ({shown(one)})" if isinstance(one, dict) else f"{name} {shown(one)}" for name, one in value.items()
        )
    if isinstance(value, float):
        return f"{value:,.3f}" if value < 10 else f"{value:,.0f}"
    return "none" if value is None else f"{value:,}"


def main() -> None:
    """Measure, print each figure as soon as it is there, and keep them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--skew", choices=["natural", "half", "one"], default="natural")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long each rate is fed")
    parser.add_argument("--rates", type=float, nargs="+", default=(), help="events a second, instead of shares")
    parser.add_argument("--processes", type=int, default=1, help="of the run")
    parser.add_argument("--epoch", type=float, default=EPOCH, help="seconds between snapshots")
    arguments = parser.parse_args()
    if arguments.events < OFTEN * arguments.users:
        parser.error(f"--events {arguments.events} are less than {OFTEN} for each of {arguments.users} users")
    workload = Workload(arguments.users, arguments.events, skew=arguments.skew)
    figures: dict[str, Any] = {"workload": workload._asdict(), "epoch": arguments.epoch}
    figures["processes"] = processes = arguments.processes
    with tempfile.TemporaryDirectory(prefix="forewarn-bench-") as folder, find_broker() as broker:
        of = f"{processes} process{'es' * (processes > 1)}"
        print(f"{broker.description}; {workload.name}; {of}\n\n| | |\n|---|---|", flush=True)
        found = measured(broker, Path(folder), workload, arguments.seconds, arguments.epoch, arguments.rates, processes)
        for name, value in found:
            figures[name] = value
            print(f"| {name} | {shown(value)} |", flush=True)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    main()
