"""Runs two deployments at a steady rate for half an hour and watches their memory: does it stay flat?

`make soak` runs it. One platform has the same users all the time; the other replaces all of its users every few days
of event time, so that it only stays small if users silent for longer than `profile_ttl` are dropped. Event time passes
much faster than the clock, so that half an hour sees many times the TTL.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import orjson

from dataflows.config.policy import load_policy
from detectors.profiles.idle import DAY, MARGIN
from tests.kit.deployment import ROOT, Deployment, Feeding, Life
from tests.kit.kafka.base import free_ports
from tests.kit.kafka.broker import Broker, find_broker
from tests.recovery.chaos import cli

DAYS = 250
"""Of event time, whatever the length of the run; four times what a user is kept."""
RENEWED_DAYS = 5
"""On the growing platform all users are others after so many days."""
SLICES = 10
MOST_GROWTH = 0.05
"""How much more memory the last slice may take than the one after the middle: what half a run's leak would show."""


class Sample(NamedTuple):
    """What was seen at one moment: seconds since the start, resident bytes, profiles in memory, events read so far."""

    at: float
    memory: int
    profiles: int
    events: int


class Verdict(NamedTuple):
    """What the samples prove: growth over the second half of the run as a share, and the most profiles ever held."""

    growth: float
    profiles: int
    bound: int

    @property
    def kept(self) -> bool:
        """Whether memory stayed flat and profiles within what the TTL allows."""
        return self.growth <= MOST_GROWTH and self.profiles <= self.bound


def judge(samples: list[Sample], bound: int) -> Verdict:
    """Compare the slice after the middle with the last, by medians."""
    parts = slices(samples)
    middle, last = (statistics.median(one.memory for one in parts[place]) for place in (len(parts) // 2, -1))
    return Verdict(last / middle - 1, max(one.profiles for one in samples), bound)


def slices(samples: list[Sample]) -> list[list[Sample]]:
    """The samples in slices of equal number."""
    size = len(samples) // SLICES
    return [samples[number * size : (number + 1) * size] for number in range(SLICES)]


def most_kept(log: Path, keep_ms: int) -> int:
    """The most users that were active within `keep_ms` before any day of a log: what may be in memory at once."""
    active: dict[int, set[str]] = {}
    for line in log.read_bytes().splitlines():
        event = orjson.loads(line)
        active.setdefault(event["event_time"] // DAY, set()).add(event["user_id"])
    span, most = keep_ms // DAY + 2, 0
    held: Counter[str] = Counter()
    for day in range(min(active), max(active) + 1):
        held.update(active.get(day, ()))
        for user in active.get(day - span, ()):
            held[user] -= 1
            if not held[user]:
                del held[user]
        most = max(most, len(held))
    return most


class Platform:
    """A log, and the deployment that reads it as it comes."""

    def __init__(self, broker: Broker, folder: Path, events: int, users: int, *, growing: bool) -> None:
        folder.mkdir(parents=True)
        self.growing, self.events = growing, events
        self.log, policy = folder / "log.jsonl", folder / "policy.toml"
        example = (ROOT / "deploy/policies/example.toml").read_text()
        for setting in ("profile_ttl", "strike_expiry", "within"):
            example = re.sub(rf'^{setting} = "\w+"', f'{setting} = "30d"', example, flags=re.MULTILINE)
        policy.write_text(example)
        cli("simulate", "--events", events, "--users", users, "--days", DAYS, "--out", self.log)
        if growing:
            renew(self.log)
        rules = load_policy(policy)
        self.bound = most_kept(self.log, rules.profile_ttl + rules.allowed_lateness + MARGIN)
        self.users = len({orjson.loads(line)["user_id"] for line in self.log.read_bytes().splitlines()})
        (self._port,) = free_ports(1)
        self.deployment = Deployment(
            broker.address, folder / "deployment", policy, None, epoch_seconds=10, batch_size=1_000, metrics=self._port
        )
        self.samples: list[Sample] = []
        self.life: Life | None = None

    def look(self, at: float) -> None:
        """Note what is to be seen now; nothing while the process still starts."""
        assert self.life is not None
        assert self.life.process.poll() is None, self.life.said()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=30) as answer:
                metrics = answer.read().decode()
        except OSError:
            return
        status = Path(f"/proc/{self.life.process.pid}/status").read_text()
        memory = int(re.findall(r"^VmRSS:\s*(\d+) kB", status, re.MULTILINE)[0]) * 1024
        self.samples.append(
            Sample(at, memory, total(metrics, "forewarn_profiles"), total(metrics, "forewarn_events_total"))
        )

    def lines(self) -> Iterator[str]:
        """What was seen, a line for each slice, and the verdict."""
        kind = "all new every 5 days" if self.growing else "the same all the time"
        yield f"{self.users:,} users, {kind}: at most {self.bound:,} of them active within the TTL and its margins"
        yield "  minutes      events    profiles   memory MB"
        for part in slices(self.samples):
            memory = statistics.median(one.memory for one in part) / 1e6
            yield f"{part[-1].at / 60:>9.1f}  {part[-1].events:>10,}  {part[-1].profiles:>10,}  {memory:>10.1f}"
        verdict = judge(self.samples, self.bound)
        yield (
            f"memory in the second half {verdict.growth:+.1%}, at most {MOST_GROWTH:+.0%}; profiles at most "
            f"{verdict.profiles:,} of {verdict.bound:,} allowed: {'kept' if verdict.kept else 'BROKEN'}"
        )


def renew(log: Path) -> None:
    """Give every user another id every few days, so that the population only ever grows."""
    renewed = []
    for line in log.read_bytes().splitlines():
        event = orjson.loads(line)
        event["user_id"] += f"-{event['event_time'] // DAY // RENEWED_DAYS}"
        renewed.append(orjson.dumps(event) + b"\n")
    log.write_bytes(b"".join(renewed))


def total(metrics: str, name: str) -> int:
    """The sum of a metric over its labels."""
    return round(sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", metrics, re.MULTILINE)))


def soak(broker: Broker, folder: Path, events: int, rate: float, users: int) -> list[Platform]:
    """Both platforms at once, each with so many events at `rate` a second."""
    platforms = [
        Platform(broker, folder / "fixed", events, users, growing=False),
        Platform(broker, folder / "growing", events, max(20, users // 8), growing=True),
    ]
    feeds = [Feeding(partial(one.deployment.produce, one.log, rate=rate)) for one in platforms]
    begin = time.monotonic()
    try:
        for platform in platforms:
            platform.life = platform.deployment.start()
        with feeds[0], feeds[1]:
            while not all(feed.done for feed in feeds):
                time.sleep(1)  # how often it looks; nothing is waited for
                for platform in platforms:
                    platform.look(time.monotonic() - begin)
        for platform in platforms:
            assert platform.life is not None
            status, _ = platform.life.drain()
            assert status == 0, platform.life.said()
    finally:
        for platform in platforms:
            platform.deployment.close()
    return platforms


def main() -> int:
    """Run both platforms, print what was seen, and say by the exit status whether memory stayed within bounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=400, help="events per second for each of the two")
    parser.add_argument("--users", type=int, default=4_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="forewarn-soak-") as folder, find_broker() as broker:
        events = round(arguments.minutes * 60 * arguments.rate)
        print(f"broker: {broker.description}\n{events:,} events each, {arguments.rate:g} a second", flush=True)
        platforms = soak(broker, Path(folder), events, arguments.rate, arguments.users)
        for platform in platforms:
            print("\n".join(platform.lines()), flush=True)
    return 0 if all(judge(platform.samples, platform.bound).kept for platform in platforms) else 1


if __name__ == "__main__":
    sys.exit(main())
