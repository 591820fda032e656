"""Prints how the cost of an event grows with windows, features, lanes and models: a curve each, with its slope.

    python -m tests.bench.slopes

Windows and features are counted by themselves, from decoded events to vectors; lanes and models in the whole flow from
memory. Each point is the least of several runs by turns, so that a machine's bad moments do not bend the curve.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import orjson
from bytewax.testing import TestingSource

from dataflows.config.policy import load_policy
from dataflows.detect import FlowOptions, Sinks, build_flow
from dataflows.runtime.engine import FEW, run_flow
from dataflows.sinks.memory import NullSink
from detectors.features.catalogue import CANDIDATES, CATALOGUE
from detectors.features.declare import HOPS, Feature, Window
from detectors.features.plan import compile_plan
from detectors.policy.policy import Policy
from detectors.profiles.user import CompiledPolicy
from detectors.profiles.users import Users
from schemas.codec.inputs import Codec
from schemas.records.base import Position, Raw
from schemas.records.events import Event
from schemas.records.rejects import Reject
from tests.bench.workload import Workload, events
from tests.kit.paths import ROOT

POLICY = ROOT / "tests/bench/ubuntu_irc.toml"
OUT = ROOT / "out/bench/slopes.json"
BATCH = 1_000
WINDOWS: tuple[Feature, ...] = tuple(
    Window(signal, aggregate, span)
    for signal, aggregate in (
        ("message", "count"),
        ("length", "sum"),
        ("repeat", "count"),
        ("toxicity", "mean"),
        ("report", "count"),
        ("channel", "distinct"),
        ("recipient", "distinct"),
        ("toxicity", "max"),
    )
    for span in HOPS
)
"""Windows of all kinds over all spans, what is cheap first."""
OTHERS = tuple(feature for feature in (*CATALOGUE, *CANDIDATES) if not isinstance(feature, Window))
CHALLENGERS = ("bayes", "sequence", "additive")


class Curve(NamedTuple):
    """CPU microseconds an event by how many there are of something, and how many more for each."""

    of: str
    cost: dict[int, float]

    @property
    def slope(self) -> float:
        """Of the straight line that fits best."""
        return float(np.polyfit(list(self.cost), list(self.cost.values()), 1)[0])

    @property
    def row(self) -> str:
        """A line of the table."""
        points = ", ".join(f"{many}: {cost:.1f}" for many, cost in self.cost.items())
        return f"| {self.of} | {points} | {self.slope:.3f} |"


def records(workload: Workload) -> list[Raw]:
    """The workload as a source gives it."""
    found = []
    for seq, event in enumerate(events(workload)):
        at = Position(event["subject"], 0, seq, seq)
        found.append(Raw(event["subject"], orjson.dumps(event), event["user_id"].encode(), at, None))
    return found


def least(runs: int, measured: dict[int, Callable[[], float]]) -> dict[int, float]:
    """The least of several runs of each, by turns."""
    found = dict.fromkeys(measured, float("inf"))
    for _ in range(runs):
        for many, measure in measured.items():
            gc.collect()
            found[many] = min(found[many], measure())
    return found


def counting(features: tuple[Feature, ...], arrived: list[tuple[Event, Position, None]], policy: Policy) -> float:
    """CPU microseconds for counting an event and making its vector."""
    rules = CompiledPolicy(policy)
    rules.plan = compile_plan(features, policy.strike_expiry)
    users, begun = Users(rules), time.process_time()
    for begin in range(0, len(arrived), BATCH):
        users.take(arrived[begin : begin + BATCH])
    return (time.process_time() - begun) / len(arrived) * 1e6


def flowing(raw: list[Raw], policy: Policy, lanes: int) -> float:
    """CPU microseconds for an event in the whole flow."""
    null: Any = NullSink()
    source = TestingSource(raw, BATCH)
    flow = build_flow(source, Sinks(*[null] * 6), policy, Codec(), FlowOptions(lanes=lanes))
    begun = time.process_time()
    run_flow(flow)
    return (time.process_time() - begun) / len(raw) * 1e6


def main() -> None:
    """Measure, print a line each, and keep them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=2_000)
    parser.add_argument("--events", type=int, default=30_000)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    policy, codec = load_policy(POLICY), Codec()
    raw = records(Workload(arguments.users, arguments.events))
    decoded = [(codec.decode(one), one.at, None) for one in raw]
    arrived = [(event, at, none) for event, at, none in decoded if not isinstance(event, Reject)]
    gc.freeze()
    gc.set_threshold(FEW, 20, 20)
    learning = policy.learning

    def with_models(many: int) -> Policy:
        return policy.model_copy(
            update={"learning": learning.model_copy(update={"challengers": CHALLENGERS[: many - 1]})}
        )

    curves = (
        ("windows", {n: lambda n=n: counting(WINDOWS[:n], arrived, policy) for n in (1, 5, 10, 20, 40)}),
        (
            "features that are no windows",
            {n: lambda n=n: counting(OTHERS[:n], arrived, policy) for n in (1, 5, 10, 20, len(OTHERS))},
        ),
        ("lanes, batches of 1,000", {n: lambda n=n: flowing(raw, policy, n) for n in (1, 4, 16, 64)}),
        ("models", {n: lambda n=n: flowing(raw, with_models(n), 16) for n in (1, 2, 3, 4)}),
    )
    print("| | CPU us/event | us for each more |\n|---|---|---|")
    found: dict[str, Any] = {}
    for of, measured in curves:
        curve = Curve(of, least(arguments.runs, measured))
        print(curve.row, flush=True)
        found[of] = {"cost": {str(many): cost for many, cost in curve.cost.items()}, "slope": curve.slope}
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    main()
