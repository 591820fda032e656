"""Kills a deployment at random moments and counts what is lost and what is doubled on its risk topic.

`make chaos` runs it whole; CI runs ten kills. Everything is real: the broker, the topics, the processes, SIGKILL. The
moments are drawn from a seed, but what they meet is up to the machine, so every run tries something else.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
import time
from pathlib import Path

import orjson
import pyarrow.parquet as pq

from dataflows.cli.main import main as forewarn
from schemas.codec.outputs import Decoder
from tests.kit.deployment import PARTITIONS, ROOT, Deployment, Life
from tests.kit.kafka.broker import Broker, find_broker
from tests.recovery.reporter import Found, Row, Scenario, judge, table

LONGEST_LIFE_SECONDS = 5.0
"""A life is at most so long, start included: short enough that a backlog of 200,000 events lasts for 20 of them."""


class Reference:
    """A simulated log, a model learnt from it, and what an uninterrupted run says of it."""

    def __init__(self, folder: Path, events: int) -> None:
        folder.mkdir()
        self.log, self.policy = folder / "log.jsonl", folder / "policy.toml"
        example = (ROOT / "deploy/policies/example.toml").read_text()
        self.policy.write_text(re.sub(r"min_positives = \d+", "min_positives = 10", example))
        self.events = events
        cli("simulate", "--events", events, "--users", max(200, events // 100), "--seed", 5, "--out", self.log)
        as_live = ("--policy", self.policy, "--partitions", PARTITIONS)
        cli("replay", self.log, "--no-report", *as_live, "--out", folder / "learnt")
        self.model = folder / "learnt/models/logistic.json"
        cli("replay", self.log, "--no-report", *as_live, "--out", folder / "pinned", "--model", self.model)
        lines = (orjson.loads(line) for line in (folder / "pinned/risk-events.jsonl").read_bytes().splitlines())
        self.ids = frozenset(line["risk_event_id"] for line in lines if not line.get("tombstone"))
        served = pq.read_table(folder / "pinned/features.parquet", columns=["event_id"])
        self.points = frozenset(served["event_id"].to_pylist())


def cli(*arguments: object) -> None:
    """Run a command of forewarn in this process, without its output."""
    from click.testing import CliRunner  # noqa: PLC0415 - a test's helper

    result = CliRunner().invoke(forewarn, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output


def torment(broker: Broker, reference: Reference, scenario: Scenario, folder: Path, seed: int) -> Row:
    """Put one deployment through a scenario, and count."""
    rng, begin = random.Random(seed), time.monotonic()
    deployment = Deployment(broker.address, folder, reference.policy, None if scenario.learning else reference.model)
    cluster = () if scenario.processes == 1 else ("--processes", str(scenario.processes))
    # All of it first: fed live, the two topics' records may become visible in another order than the log's, and an
    # uninterrupted run would say something else as well.
    deployment.produce(reference.log, poison_every=scenario.poison_every)
    restarts = set(rng.sample(range(scenario.kills), scenario.broker_restarts))
    life: Life | None = None
    try:
        for kill in range(scenario.kills):
            if life is None or life.process.poll() is not None:
                while life is not None and not life.gone():  # a cluster without its supervisor ends by itself
                    pass
                life = deployment.start(*cluster)
            time.sleep(rng.uniform(0.3, LONGEST_LIFE_SECONDS))
            if kill in restarts:
                broker.stop()
                broker.start()
            life.kill_one(rng.choice)
            if not cluster:
                life.process.wait()
    finally:
        deployment.close()
    deployment.finish(*cluster)
    decoder = Decoder("feature_row")
    values = (message.value() for message in deployment.messages("risk_features"))
    points = frozenset(decoder.decode(value).model_dump()["event_id"] for value in values if value is not None)
    rejects = Decoder("reject")
    letters = [rejects.decode(message.value() or b"").model_dump() for message in deployment.messages("dead_letters")]
    found = Found(
        deployment.risk_ids(),
        None if scenario.learning else reference.ids,
        points,
        reference.points,
        deployment.poisoned,
        len({(letter["topic"], letter["partition"], letter["offset"]) for letter in letters}),
        time.monotonic() - begin,
    )
    return judge(scenario, found)


def scenarios(kills: int) -> list[Scenario]:
    """One and two processes, pinned and learning, and with poison and broker restarts; at least `kills` in all."""
    each = -(-kills // 5)
    poisoned = -(-each // 2)
    return [
        Scenario(1, learning=False, kills=each),
        Scenario(2, learning=False, kills=each),
        Scenario(1, learning=True, kills=each),
        Scenario(2, learning=True, kills=each),
        Scenario(1, learning=False, kills=poisoned, broker_restarts=min(2, poisoned), poison_every=40),
        Scenario(2, learning=False, kills=poisoned, broker_restarts=min(2, poisoned), poison_every=40),
    ]


def main() -> int:
    """Run the scenarios, print the table, and say by the exit status whether the promise was kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="forewarn-chaos-") as folder, find_broker() as broker:
        print(f"broker: {broker.description}", flush=True)
        reference = Reference(Path(folder) / "reference", arguments.events)
        print(f"log: {arguments.events:,} events, {len(reference.ids):,} risk events uninterrupted", flush=True)
        for number, scenario in enumerate(scenarios(arguments.kills)):
            row = torment(broker, reference, scenario, Path(folder) / str(number), arguments.seed + number)
            rows.append(row)
            print(table([row]).splitlines()[1], flush=True)
    print(table(rows))
    return 0 if all(row.kept for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
