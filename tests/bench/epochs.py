"""Prints what the end of an epoch costs by how many users a store knows, and how long a start reads them.

    python -m tests.bench.epochs --users 100000 1000000

The files of all lanes are filled with as many users; then some of them change in each epoch, over all lanes. What an
epoch waits for is the writing of the changes; what is folded afterwards is counted as CPU time.

Then a worker has as many users, and those of them who are active make the events of some epochs. At the end of each all
lanes are asked for a snapshot, as the engine asks: how long that takes, and how much of it is CPU time of the worker,
and of all threads.

Last, what one lane of such a worker has kept is folded: while nobody needs the interpreter, and while a thread always
does, as a flow that has more to do than it can.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from dataflows.config.policy import load_policy
from dataflows.config.settings import RunSettings
from dataflows.operators.decode import Decoded
from dataflows.operators.profile import Bundle, ProfileLogic
from dataflows.recovery.engine_store import size
from dataflows.recovery.users import BEHIND, TOGETHER, UserStore, UserStores, make_users
from detectors.profiles.delta import pack_changes, unpack_changes
from detectors.profiles.shards import lane_names, lane_of
from detectors.profiles.user import CompiledPolicy
from detectors.profiles.users import LIVE, Users
from schemas.codec.inputs import Codec
from schemas.records.base import Position, Raw
from schemas.records.rejects import Reject
from tests.bench.workload import START, Workload, events
from tests.kit.paths import ROOT

OUT = ROOT / "out/bench/epochs.json"
FILL = 50_000
"""Users of an epoch while a store is filled."""
EPOCHS = 20
BATCH = 400
"""Events of a batch, of all lanes."""
ACTIVE = 16
"""One user in so many, or more where users are few, makes the events of the epochs in the second table, four each."""
LANES = RunSettings().lanes


class End(NamedTuple):
    """Milliseconds of the end of an epoch, in the mean: as a clock shows, CPU of the worker, and of all threads."""

    wall: float
    worker: float
    threads: float


class Cost(NamedTuple):
    """Wall and CPU milliseconds of an epoch, seconds in which everybody is read, and bytes on disk for each user."""

    stall: float
    cpu: float
    resume: float
    bytes: float


def decoded(workload: Workload, first: int) -> Iterator[Decoded]:
    """The events of a workload, in a log from this place on."""
    codec = Codec()
    for seq, event in enumerate(events(workload), first):
        at = Position(event["subject"], 0, seq, seq)
        found = codec.decode(Raw(event["subject"], orjson.dumps(event), None, at, None))
        if not isinstance(found, Reject):
            yield Decoded(found, at)


def clocks() -> tuple[float, float, float]:
    """Milliseconds of a clock, of CPU time of this thread, and of all threads."""
    return time.perf_counter() * 1e3, time.thread_time() * 1e3, time.process_time() * 1e3


def a_state(rules: CompiledPolicy) -> bytes:
    """The state of a user with a dozen events."""
    users = Users(rules, recorded=True)
    users.take(decoded(Workload(1, 12), 0))
    ((_, state),) = unpack_changes(users.changes())
    if state is None:
        raise ValueError("the user was dropped")
    return state


def keep(lanes: dict[str, UserStore], users: Iterable[str], state: bytes) -> None:
    """Have the lanes keep the users, as an epoch's end does."""
    changed: dict[str, list[tuple[str, bytes | None]]] = {}
    for user_id in users:
        changed.setdefault(lane_of(user_id, LANES), []).append((user_id, state))
    for lane, changes in changed.items():
        lanes[lane].keep(changes)


def measured(directory: Path, users: int, touched: int) -> Cost:
    """Fill a store, change some users in each epoch, and read everybody back."""
    rules, names = CompiledPolicy(load_policy(ROOT / "tests/bench/ubuntu_irc.toml")), lane_names(LANES)
    state = a_state(rules)
    make_users(directory, names)
    with UserStores(directory) as stores:
        lanes = {name: stores.open(name, 0) for name in names}
        for first in range(0, users, FILL):
            keep(lanes, [f"user-{n:08d}" for n in range(first, min(first + FILL, users))], state)
        for _ in range(BEHIND):  # and all of them are folded
            for lane in lanes.values():
                lane.keep([])
    with UserStores(directory) as stores:
        lanes = {name: stores.open(name, lanes[name].generation) for name in names}
        stall, cpu = 0.0, time.process_time()
        for epoch in range(EPOCHS):
            chosen = [f"user-{(epoch * touched + n) * 7_919 % users:08d}" for n in range(touched)]
            begun = time.perf_counter()
            keep(lanes, chosen, state)
            stall += time.perf_counter() - begun
    cpu, on_disk = time.process_time() - cpu, size(directory)
    with UserStores(directory) as stores:
        begun, found = time.perf_counter(), 0
        for name, lane in lanes.items():
            known = Users(rules)
            for user_id, kept in stores.open(name, lane.generation).read():
                known.restore(user_id, kept)
            found += len(known)
        resume = time.perf_counter() - begun
    if found != users:
        raise ValueError(f"{found} users were kept of {users}")
    return Cost(stall / EPOCHS * 1e3, cpu / EPOCHS * 1e3, resume, on_disk / users)


def ended(directory: Path, users: int, of: int) -> End:
    """Make a worker's users, and end epochs of so many events after that."""
    rules, names = CompiledPolicy(load_policy(ROOT / "tests/bench/ubuntu_irc.toml")), lane_names(LANES)
    make_users(directory, names)
    lanes: list[ProfileLogic] = []
    ends: list[End] = []
    filling = Workload(users, users + users // 2)
    active = min(users, max(users // ACTIVE, 2 * of))
    later = Workload(active, 4 * active, start=START + int((filling.hours + 24) * 3_600_000))

    def count(workload: Workload, first: int, epoch: int) -> None:
        log = decoded(workload, first)
        while came := list(islice(log, epoch)):
            for start in range(0, len(came), BATCH):
                dealt: dict[str, list[Decoded]] = {}
                for one in came[start : start + BATCH]:
                    dealt.setdefault(lane_of(one.event.user_id, LANES), []).append(one)
                for name, bundle in dealt.items():
                    lanes[names.index(name)].on_batch([Bundle(name, bundle)])
            stores.compact_later(lambda _: None, 0).result()  # where epochs are seconds apart, all is folded by now
            begun = clocks()
            for lane in lanes:
                lane.snapshot()
            ends.append(End(*(after - before for after, before in zip(clocks(), begun, strict=True))))

    with UserStores(directory) as stores:
        for _ in names:
            ProfileLogic(partial(Users, rules, max(LIVE // LANES, 1), recorded=True), stores, lanes, None)
        count(filling, 0, FILL)
        ends.clear()
        count(later, filling.events, of)
    return End(*(sum(part) / len(ends) for part in zip(*ends, strict=True)))


def folded(directory: Path, users: int, touched: int) -> tuple[float, float]:
    """Seconds in which what a lane has kept is folded, beside nobody, and beside a thread that is always busy."""
    state = a_state(CompiledPolicy(load_policy(ROOT / "tests/bench/ubuntu_irc.toml")))
    make_users(directory, ["000"])
    took = []
    with UserStores(directory) as stores:
        lane = stores.open("000", 0)
        lane.keep([(f"user-{n:08d}", state) for n in range(users)])
        for turn, busy in enumerate((False, False, True)):  # the first also folds those it was filled with
            for epoch in range(TOGETHER):
                chosen = [f"user-{(epoch * touched + n) * 7_919 % users:08d}" for n in range(touched)]
                lane.keep_later(pack_changes([(user_id, state) for user_id in chosen])).result()
            for _ in range(0 if turn else BEHIND):
                lane.keep_later(b"").result()
            begun = time.perf_counter()
            lane.settle_later()
            while busy and not lane.free:
                pass
            lane.wait()
            took.append(time.perf_counter() - begun)
    _, beside_nobody, beside_one = took
    return beside_nobody, beside_one


def main() -> None:
    """Measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--touched", type=int, default=2_000, help="users of an epoch in the first table")
    parser.add_argument("--events", type=int, default=30_000, help="of an epoch in the second")
    arguments = parser.parse_args()
    found: dict[str, Any] = {}
    print("| users in the store | ms until an epoch is kept | CPU ms an epoch | s to read | bytes a user |")
    print("|---|---|---|---|---|", flush=True)
    for users in arguments.users:
        with tempfile.TemporaryDirectory(prefix="forewarn-bench-") as folder:
            cost = measured(Path(folder), users, arguments.touched)
        print(f"| {users:,} | {cost.stall:.0f} | {cost.cpu:.0f} | {cost.resume:.1f} | {cost.bytes:,.0f} |", flush=True)
        found[str(users)] = cost._asdict()
    print("\n| users of the worker | ms until an epoch is kept | CPU ms of the worker | CPU ms of all threads |")
    print("|---|---|---|---|", flush=True)
    for users in arguments.users:
        with tempfile.TemporaryDirectory(prefix="forewarn-bench-") as folder:
            end = ended(Path(folder), users, arguments.events)
        print(f"| {users:,} | {end.wall:.0f} | {end.worker:.0f} | {end.threads:.0f} |", flush=True)
        found[str(users)] |= end._asdict()
    print("\n| users of the lane | s until it is folded | s beside a busy thread |\n|---|---|---|", flush=True)
    for users in arguments.users:
        with tempfile.TemporaryDirectory(prefix="forewarn-bench-") as folder:
            alone, beside = folded(Path(folder), users // LANES, arguments.events // 2 // LANES)
        print(f"| {users // LANES:,} | {alone:.2f} | {beside:.2f} |", flush=True)
        found[str(users)] |= {"fold": alone, "fold beside": beside}
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    main()
