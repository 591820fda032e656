"""The live evaluation: recounted from a replay's files, equal to what its lane counted, awake to planted changes."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataflows.config.policy import load_policy
from dataflows.replay.replay import load_model, replay
from dataflows.runtime.telemetry import Telemetry
from dataflows.sources.files.log import LogSource
from dataflows.testing import FlowDriver, small_policy
from detectors.base.log_clock import LogClock
from detectors.monitoring.bins import BINS
from detectors.monitoring.quality import SAMPLE, USERS, keys_of
from detectors.monitoring.scorers import WINDOW
from tests.kit.simulated import Replays, Simulated

pytestmark = pytest.mark.slow

DAY = 86_400_000
MATURED = ("matured_points", "matured_positives", "matured_probability_millionths")
WARNED = ("matured_warnings", "matured_right")


def lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def live(out: Path) -> Any:
    return orjson.loads((out / "summary.json").read_bytes())["live"]


class Recount:
    """Matured labels by definition, from a replay's files and, for the erasures, the log itself."""

    def __init__(self, simulated: Simulated, out: Path) -> None:
        policy = load_policy(simulated.policy)
        self.horizon, self.grace = policy.target.horizon, policy.allowed_lateness
        table = pq.read_table(out / "features.parquet")
        seqs = table["seq"].to_numpy()
        times = table["as_of"].cast(pa.int64()).to_pylist()
        sampled = [key < SAMPLE for key in keys_of(seqs.tolist())]
        columns = table["user_id"].to_pylist(), times, seqs.tolist(), table["score"].to_pylist(), sampled
        points = list(zip(*columns, strict=True))
        self.points = [point[:4] for point in points if point[4]]
        place = {(user, as_of, event): seq for (user, as_of, seq, _, _), event in zip(points, ids(table), strict=True)}
        self.warnings = [
            (
                event["user_id"],
                event["as_of"],
                place[event["user_id"], event["as_of"], event["trigger"]["event_id"]],
                tier,
            )
            for event in lines(out / "risk-events.jsonl")
            if "tombstone" not in event and raised(event["previous_tier"], tier := event["tier"])
        ]
        self.outcomes = [
            (o["user_id"], o["as_of"], o["seq"], o["kind"], o["cause"]) for o in lines(out / "outcomes.jsonl")
        ]
        log = enumerate(lines(simulated.log))
        self.erased = [(e["user_id"], e["event_time"], seq, "") for seq, e in log if e.get("kind") == "erasure"]
        self.clock_at, self.clock = self.read_clock()

    def read_clock(self) -> tuple[list[int], list[int]]:
        """The places at which the log's clock moves on, and to what (its law is tested by itself)."""
        clock = LogClock(USERS)
        places, times = [-1], [-1]
        erased = {seq for _, _, seq, _ in self.erased}
        for user, as_of, seq, *_ in sorted([*self.points, *self.outcomes, *self.erased], key=lambda one: one[2]):
            if seq in erased:
                clock.forget(user)
                continue
            clock.advance(user, as_of)
            if clock.now > times[-1]:
                places.append(seq)
                times.append(clock.now)
        return places, times

    def label(self, user: str, as_of: int, seq: int) -> bool | None:
        """What was known when the horizon and the grace had passed; None if that was never, or the user was erased."""
        found = bisect_left(self.clock, as_of + self.horizon + self.grace)
        if found == len(self.clock):
            return None
        until = max(self.clock_at[found], seq)
        if any(seq < place <= until for name, _, place, _ in self.erased if name == user):
            return None
        upheld: dict[str, int] = {}
        for name, time, place, kind, cause in self.outcomes:
            if name == user and seq < place <= until:
                if kind == "escalated":
                    upheld[cause] = time
                else:
                    upheld.pop(cause, None)
        return any(as_of <= time <= as_of + self.horizon for time in upheld.values())


def ids(table: pa.Table) -> list[str]:
    return table["event_id"].to_pylist()


def raised(before: str, after: str) -> bool:
    tiers = ("none", "watch", "elevated", "high")
    return tiers.index(after) > tiers.index(before)


@pytest.mark.parametrize("pinned", [False, True])
def test_matured_counts_are_those_recounted_from_the_files(
    simulated: Simulated, replays: Replays, *, pinned: bool
) -> None:
    """Points by bin and warnings by tier, right and wrong, from the files with features, risk events and outcomes."""
    out = replays(pinned=pinned)
    recount = Recount(simulated, out)
    told = live(out)
    bins: dict[str, list[tuple[float, bool]]] = {}
    for user, as_of, seq, score in recount.points:
        if score is not None and (right := recount.label(user, as_of, seq)) is not None:
            bins.setdefault(BINS[min(int(np.searchsorted([float(b) for b in BINS], score)), 12)], []).append(
                (score, right)
            )
    assert told["points"] == sum(map(len, bins.values())) > 500
    assert told["positives"] == sum(right for said in bins.values() for _, right in said) > 20
    assert set(told["bins"]) == set(bins)
    off = 0.0
    for name, said in bins.items():
        found = told["bins"][name]
        assert (found["points"], found["positives"]) == (len(said), sum(right for _, right in said))
        assert found["mean_probability"] == pytest.approx(sum(p for p, _ in said) / len(said), abs=1e-6)
        off += abs(sum(p - right for p, right in said))
    assert told["calibration_error"] == pytest.approx(off / told["points"], abs=1e-6)
    warned: dict[str, list[bool]] = {}
    for user, as_of, seq, tier in recount.warnings:
        if (right := recount.label(user, as_of, seq)) is not None:
            warned.setdefault(tier, []).append(right)
    assert {tier: (row["matured"], row["right"]) for tier, row in told["warnings"].items()} == {
        tier: (len(labels), sum(labels)) for tier, labels in warned.items()
    }
    assert all(row["precision"] == row["right"] / row["matured"] for row in told["warnings"].values())
    assert 0 < sum(row["right"] for row in told["warnings"].values()) < sum(map(len, warned.values()))


@pytest.mark.parametrize("batch", [3, 700])
def test_a_single_lane_counts_what_the_summary_says(
    simulated: Simulated, replays: Replays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    """What the flow counts in passing, batch by batch, is what is measured once more afterwards."""
    made = [Telemetry()]
    monkeypatch.setattr("dataflows.replay.replay.Telemetry", lambda: made[0])
    source = LogSource(simulated.log, batch_size=batch)
    replay(source, load_policy(simulated.policy), tmp_path, log_name="log.jsonl", report=False)
    told = live(replays())
    points, positives, millionths = (made[0].counts(name) for name in MATURED)
    assert points == {name: row["points"] for name, row in sorted(told["bins"].items())}
    assert positives == {name: row["positives"] for name, row in sorted(told["bins"].items()) if row["positives"]}
    for name, row in told["bins"].items():
        assert millionths[name] / row["points"] / 1e6 == row["mean_probability"]
    warnings, right = (made[0].counts(name) for name in WARNED)
    assert warnings == {tier: row["matured"] for tier, row in sorted(told["warnings"].items())}
    assert right == {tier: row["right"] for tier, row in sorted(told["warnings"].items())}


def chatter(path: Path, *, changed: bool) -> Path:
    """42,000 messages of 300 users; in the last third, if `changed`, they are longer and one scorer is stricter."""
    rng = random.Random(9)
    with path.open("wb") as file:
        for number in range(42_000):
            late = number > 27_000
            length = rng.randrange(3, 40) * (4 if changed and late else 1)
            value = rng.random() ** (1.5 if changed and late else 4)
            scores = [
                {"scorer": "strict", "version": "2" if late else "1", "value": value},
                {"scorer": "calm", "version": "b" if late else "a", "value": rng.random() ** 4},
            ]
            row = {
                "subject": "chat_message",
                "event_id": f"m{number}",
                "event_time": 1_767_225_600_000 + number * 20_000,
                "user_id": f"u{rng.randrange(300)}",
                "channel": "lobby",
                "text": f"{number} ".ljust(length, "x"),
                "scores": scores,
            }
            file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
    return path


@cache
def watched(folder: Path, *, changed: bool, workers: int = 1) -> tuple[Any, Telemetry]:
    """The live figures of a replay of chatter, and what its lanes counted."""
    telemetry = Telemetry()
    folder = folder / f"{changed} {workers}"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dataflows.replay.replay.Telemetry", lambda: telemetry)
        log = chatter(folder / "log.jsonl", changed=changed)
        replay(LogSource(log), small_policy(), folder / "out", log_name="log.jsonl", workers=workers, report=False)
    return live(folder / "out"), telemetry


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place for the replays of chatter."""
    return tmp_path_factory.mktemp("chatter")


def test_a_planted_change_is_told_and_a_steady_log_is_not_alarming(folder: Path) -> None:
    """Longer messages are drift of their features; a stricter version of a scorer is a shift, a new version is not."""
    changed, telemetry = watched(folder, changed=True)
    steady, _ = watched(folder, changed=False)
    assert {"length_mean_1h", "length_mean_24h"} <= set(changed["drift"]["drifts"])
    assert not [name for name in steady["drift"]["drifts"] if name.startswith(("length", "channel_distinct", "report"))]
    assert changed["drift"]["windows"] == steady["drift"]["windows"] >= 3
    assert telemetry.counts("drifts") == changed["drift"]["drifts"]
    assert telemetry.counts("drift_windows") == {"all": changed["drift"]["windows"]}
    heard = {"versions_compared": 1, "shifts": 0}
    assert changed["scorers"] == {"calm": heard, "strict": {**heard, "shifts": 1}}
    assert steady["scorers"] == {"calm": heard, "strict": heard}


def test_two_workers_tell_the_same_of_scorers_and_drift(folder: Path) -> None:
    """Their lanes have half of the users each, and the figures are those of one."""
    assert watched(folder, changed=True)[0] == watched(folder, changed=True, workers=2)[0]


def test_a_scorer_that_changed_with_a_restart_is_told_live(tmp_path: Path) -> None:
    """With several partitions and lanes: what it said before is in one lane's snapshot."""
    driver = FlowDriver(small_policy(), partitions=2)
    rng = random.Random(2)
    for version, power in (("1", 4.0), ("2", 1.0)):
        for number in range(9 * WINDOW):
            driver.chat(f"u{number % 40}", scores=[{"scorer": "s", "version": version, "value": rng.random() ** power}])
            driver.advance("1s")
        driver.restart()
    result = driver.run(recovery=tmp_path, snapshot_each_batch=False)
    assert result.telemetry.counts("scorer_versions") == {"s": 1}
    assert result.telemetry.counts("scorer_shifts") == {"s": 1}


def test_lanes_of_several_partitions_add_up(simulated: Simulated, replays: Replays) -> None:
    """Users dealt over four lanes and two partitions: about as many mature points and positives as in one lane."""
    counted: list[list[int]] = []
    model = load_model(replays() / "models" / "logistic.json", load_policy(simulated.policy))
    for partitions, lanes in ((1, 1), (2, 4)):
        driver = FlowDriver(load_policy(simulated.policy), partitions=partitions)
        for row in lines(simulated.log):
            driver.send(row.pop("subject"), row)
        counts = driver.run(lanes=lanes, model=model).telemetry
        counted.append([sum(counts.counts(name).values()) for name in (*MATURED[:2], *WARNED)])
    assert counted[1] == pytest.approx(counted[0], rel=0.15)


def test_what_matures_is_exposed_as_metrics_that_add_up() -> None:
    """Under the names the documents give, as counters by bin and tier."""
    telemetry = Telemetry()
    telemetry.measured([{"matured_points": Counter({"0.1": 2}), "matured_right": Counter(high=0)}] * 2)
    value = telemetry.registry.get_sample_value
    assert value("forewarn_matured_points_total", {"bin": "0.1"}) == 4
    assert value("forewarn_matured_right_total", {"tier": "high"}) == 0
