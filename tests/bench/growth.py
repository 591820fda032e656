"""Prints how the cost of an event grows: with users, with how unevenly they talk, and with processes.

    python -m tests.bench.growth --users 10000 100000 1000000

Each line is a replay of a made-up log from memory, without outputs: decode to decision, learning on, in a process of
its own. With `--processes`, replays of shares of the users at the same time: does a second core do a second share?
"""

from __future__ import annotations

import argparse
import gc
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, NamedTuple

import orjson
from bytewax.testing import TestingSource

from dataflows.config.policy import load_policy
from dataflows.detect import FlowOptions, Sinks, build_flow
from dataflows.runtime.engine import run_flow
from dataflows.sinks.memory import NullSink
from schemas.codec.inputs import Codec
from schemas.records.base import Position, Raw
from tests.bench.workload import Workload, events
from tests.kit.paths import ROOT

POLICY = ROOT / "tests/bench/ubuntu_irc.toml"
OUT = ROOT / "out/bench/growth.json"
MOST_GROWTH, LEAST_SCALING = 1.5, 1.8
"""What is aimed at: from the fewest users to the most, and with two processes instead of one."""


class Cost(NamedTuple):
    """Of a flow over a workload: CPU microseconds an event, wall seconds, and bytes of memory for each user."""

    cpu: float
    wall: float
    memory: float


def flow_of(workload: Workload, share: int = 1, of: int = 1) -> Cost:
    """Run the flow over a workload, or one share of its users."""
    gc.disable()
    records = []
    for event in events(workload):
        if hash_of(event["user_id"]) % of == share % of:
            seq = len(records)
            at = Position(event["subject"], 0, seq, seq)
            records.append(Raw(event["subject"], orjson.dumps(event), event["user_id"].encode(), at, None))
    gc.enable()
    gc.freeze()
    null: Any = NullSink()
    sinks = Sinks(*[null] * 6)
    flow = build_flow(TestingSource(records, 1_000), sinks, load_policy(POLICY), Codec(), FlowOptions())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu, wall = time.process_time(), time.perf_counter()
    run_flow(flow)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return Cost(cpu / len(records) * 1e6, wall, grown * 1024 / (workload.users / of))


def hash_of(user_id: str) -> int:
    """A number by which users are dealt."""
    return int(user_id[5:])


def main() -> None:
    """Measure and print a line each, and keep them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--events", type=float, default=3.0, help="events for each user, 300,000 at least")
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2, 4])
    arguments = parser.parse_args()
    found: dict[str, Any] = {}
    with ProcessPoolExecutor(max(arguments.processes, default=1), get_context("spawn"), max_tasks_per_child=1) as pool:

        def tell(name: str, cost: Cost) -> None:
            found[name] = cost._asdict()
            print(f"| {name} | {cost.cpu:.1f} | {1e6 / cost.cpu:,.0f} | {cost.memory:,.0f} |", flush=True)

        print("| workload | CPU us/event | events/CPU s | bytes of memory/user |\n|---|---|---|---|")
        sizes = [Workload(users, max(300_000, round(users * arguments.events))) for users in arguments.users]
        costs = [pool.submit(flow_of, size).result() for size in sizes]
        for size, cost in zip(sizes, costs, strict=True):
            tell(size.name, cost)
        for skew in ("half", "one"):
            uneven = sizes[0]._replace(skew=skew)
            tell(uneven.name, pool.submit(flow_of, uneven).result())
        growth = costs[-1].cpu / costs[0].cpu
        print(
            f"\nfrom {sizes[0].users:,} to {sizes[-1].users:,} users an event costs {growth:.2f} times as much", end=""
        )
        print(f" (aim: less than {MOST_GROWTH})")
        found["growth"] = growth
        walls = {}
        for count in arguments.processes:
            shares = [pool.submit(flow_of, sizes[0], share, count) for share in range(count)]
            walls[count] = max(share.result().wall for share in shares)
            more = walls[arguments.processes[0]] / walls[count]
            aim = f" (aim: {LEAST_SCALING})" if count == 2 else ""
            print(
                f"{count} processes: {more:.2f} times the work of {arguments.processes[0]} in a second{aim}", flush=True
            )
            found[f"{count} processes"] = more
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    main()
