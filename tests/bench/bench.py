"""Prints events per second and CPU microseconds per event of a replay in one process, whole and stage by stage.

On the Ubuntu IRC log where it lies beside the checkout, by a policy that stays as it is, and once more by the one that
comes along; on a simulated log otherwise. Every event is scored and learning is on. The stages run on the same batches
one after the other, without the engine; the whole replay is the real one, with engine and outputs. CPU time is the
figure to compare: on a busy machine wall time says little. The figures also go to out/bench/stages.json.
"""

from __future__ import annotations

import argparse
import gc
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice, pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from dataflows.config.policy import load_policy
from dataflows.mapping.mapping import LogMapping
from dataflows.replay.replay import replay
from dataflows.runtime.engine import FEW
from dataflows.simulate.platform import SimulationConfig, write_log
from dataflows.sinks.parquet import FeatureTable
from dataflows.sources.files.log import Item, LogSource, read_log
from detectors.features.catalogue import NAMES
from detectors.features.context import Context
from detectors.learning.learner import Learner
from detectors.models.catalogue import new_model
from detectors.policy.policy import Policy
from detectors.profiles.channels import Channels
from detectors.profiles.results import Erasure, LaneItem, TrainingEvent, outcomes_of, training_event_of
from detectors.profiles.user import CompiledPolicy, EventResult, User
from detectors.scoring.shard import Lane, ModelUpdate
from schemas.codec.inputs import Codec
from schemas.records.rejects import Reject
from tests.kit.paths import ROOT

UBUNTU = ROOT.parent / "shared/datasets/ubuntu_irc/events.csv.gz"
OUT = ROOT / "out/bench/stages.json"
GOAL = 20_000
BATCH = 4_000


class Stages:
    """CPU time by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begin = time.process_time()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - begin


class Run(NamedTuple):
    """A whole replay: its events, CPU seconds by part, wall seconds, and the most bytes its process ever held."""

    events: int
    seconds: dict[str, float]
    wall: float
    memory: int


def cost(run: Run) -> float:
    """CPU seconds of a whole replay."""
    return sum(run.seconds.values())


def replayed(log: Path, mapping_file: Path | None, policy_file: Path, out: Path) -> Run:
    """Replay the log as `forewarn replay` does."""
    mapping, policy = None if mapping_file is None else LogMapping.load(mapping_file), load_policy(policy_file)
    wall, marks = time.perf_counter(), [time.process_time()]
    done = replay(
        LogSource(log, mapping, batch_size=BATCH),
        policy,
        out,
        log_name=log.name,
        on_stage=lambda _stage: marks.append(time.process_time()),
    )
    marks.append(time.process_time())
    parts = [end - begin for begin, end in pairwise(marks)]
    names = ("replay: flow", "replay: outputs", "replay: report")
    return Run(
        sum(done.summary["events"].values()),
        dict(zip(names, parts, strict=True)),
        time.perf_counter() - wall,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024,
    )


def by_stage(items: Iterator[Item], policy: Policy) -> tuple[int, int, float, Stages]:
    """Run the log through every stage, batch by batch; events, decision points, bytes of a user's state, and times."""
    stages, codec, rules = Stages(), Codec(), CompiledPolicy(policy)
    users: dict[str, User] = {}
    names = (policy.learning.champion, *policy.learning.challengers)
    learners = [Learner(name, policy.learning, model=partial(new_model, name, policy)) for name in names]
    lane, table = Lane(policy, wait=True), FeatureTable(NAMES)
    remembered = policy.channels.remembered
    channels = None if remembered is None else Channels(remembered, policy.allowed_lateness, policy.profile_ttl)
    events = points = 0
    while True:
        with stages.stage("read"):
            batch = list(islice(items, BATCH))
        if not batch:
            return events, points, statistics.median([len(user.dump()) for user in users.values()]), stages
        with stages.stage("decode"):
            decoded = [(item, item if isinstance(item, Reject) else codec.decode(item)) for item in batch]
        contexts: list[Context | None] = [None] * len(decoded)
        if channels is not None:
            with stages.stage("context"):
                contexts = [None if isinstance(event, Reject) else channels.see(event) for _, event in decoded]
        lessons, due = [], []
        with stages.stage("profile"):
            for (item, event), context in zip(decoded, contexts, strict=True):
                if isinstance(event, Reject):
                    lessons.append(TrainingEvent(event.partition, event.seq, "", -1, (), erased=False))
                    continue
                user = users.get(event.user_id)
                if user is None:
                    user = users[event.user_id] = User(rules)
                step = user.step(event, item.at, context)
                erased = step.outcome == "erased"
                lessons.append(training_event_of(step))
                due.extend(_due(step))
                if erased:
                    del users[event.user_id]
                events += 1
        for learner in learners:
            with stages.stage(f"learn {learner.name}"):
                published, reached = learner.take(lessons)
            lane.hear(ModelUpdate(learner.name, published, dict(reached)))
        with stages.stage("judge"):
            _, served = lane.take(due)
        with stages.stage("keep features"):
            table.keep([served] if served else [])
        points += len(served)


def _due(step: EventResult) -> list[LaneItem]:
    """What a step brings its lane, as the flow's profile step gives it."""
    due: list[LaneItem] = [*outcomes_of(step)]
    if step.point is not None:
        due.append(step.point)
    if step.outcome == "erased":
        due.append(Erasure(step.user_id, step.time, step.at))
    return due


def main() -> None:
    """Run both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, help="use a simulated log of this many events")
    parser.add_argument("--repeats", type=int, default=3, help="how many whole replays; their median counts")
    parser.add_argument("--out", type=Path, default=OUT, help="where the figures go")
    arguments = parser.parse_args()
    simulated: int | None = arguments.events
    repeats: int = arguments.repeats
    with tempfile.TemporaryDirectory() as folder:
        if simulated is None and UBUNTU.exists():
            log, mapping_file = UBUNTU, ROOT / "deploy/mappings/ubuntu_irc.toml"
            policy_file, along = ROOT / "tests/bench/ubuntu_irc.toml", ROOT / "deploy/policies/ubuntu_irc.toml"
        else:
            log, mapping_file = Path(folder) / "log.jsonl", None
            write_log(SimulationConfig(events=simulated or 200_000), log)
            policy_file = along = ROOT / "deploy/policies/example.toml"
        mapping, policy = None if mapping_file is None else LogMapping.load(mapping_file), load_policy(policy_file)
        print(f"log: {log.parent.name}/{log.name}, policy {policy.name}, learning on, one process")
        # each in a process of its own, as a replay is: what an earlier one leaves of the heap slows the next
        with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as processes:
            done = [
                processes.submit(replayed, log, mapping_file, policy_file, Path(folder) / "out") for _ in range(repeats)
            ]
            runs = sorted((one.result() for one in done), key=cost)
            other = runs[0]
            if along != policy_file:
                other = processes.submit(replayed, log, mapping_file, along, Path(folder) / "out").result()
        run = runs[len(runs) // 2]
        total = run.events
        before = gc.get_threshold()
        gc.set_threshold(FEW, 20, 20)
        events, points, state, stages = by_stage(read_log(log, mapping), policy)
        gc.set_threshold(*before)
        cpu = cost(run)
        costs = {name: seconds / events * 1e6 for name, seconds in stages.seconds.items()}
        costs |= {name: seconds / total * 1e6 for name, seconds in {**run.seconds, "replay: all": cpu}.items()}
        print("| stage | CPU us/event | events/CPU s |\n|---|---|---|")
        for name, one in costs.items():
            print(f"| {name} | {one:.2f} | {1e6 / one:,.0f} |")
        print(f"\n{total:,} events, {points:,} scored as decision points; wall {run.wall:.1f} s")
        print(f"most memory of a whole replay: {run.memory / 1e6:,.0f} MB")
        print(f"a user's state: {state:,.0f} bytes in the median")
        spread = ", ".join(f"{total / cost(one):,.0f}" for one in runs[::-1])
        print(f"whole replays, events per CPU second: {spread}; the median is shown")
        if mapping is not None:
            reached = "met" if total / cpu >= GOAL else "NOT met"
            print(f"goal of {GOAL:,} events per CPU second for the whole replay: {total / cpu:,.0f}, {reached}")
            learning = load_policy(along).learning
            models = ", ".join((learning.champion, *learning.challengers))
            print(f"with {along.relative_to(ROOT)} (channels; {models}), once: {total / cost(other):,.0f}")
    figures: dict[str, Any] = {
        "log": log.name,
        "events": total,
        "points": points,
        "CPU us an event": costs,
        "wall s": run.wall,
        "most memory, bytes": run.memory,
        "state of a user, bytes": state,
        "replays, events per CPU second": [total / cost(one) for one in runs],
    }
    out: Path = arguments.out
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    main()
