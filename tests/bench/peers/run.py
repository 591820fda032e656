"""Measures forewarn beside its peers: the same events from the same broker, the same job, CPU seconds of each.

    python -m tests.bench.peers.run [--log FILE] [--events N] [--repeats N] [--only NAME,NAME]

Nothing is quoted of a peer that does not do the job: first the hand-written job must have the features and the model of
a replay, and whoever answers event by event must answer as that job does. CPU time counts, of a process and all that it
starts; a run over empty topics shows how much of it is starting and stopping.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from dataflows.mapping.mapping import LogMapping
from dataflows.sources.files.log import read_log
from schemas.codec.inputs import Codec, encode_json
from schemas.records.rejects import Reject
from tests.bench.peers.agreement import Agreed, DisagreementError, agree
from tests.bench.peers.measuring import Deployment, environment, forewarn_command, peer_command, spent
from tests.kit.kafka.broker import find_broker
from tests.kit.paths import ROOT

OUT = ROOT / "out/peers"
UBUNTU = ROOT.parent / "shared/datasets/ubuntu_irc/events.csv.gz"
MAPPING = ROOT / "deploy/mappings/ubuntu_irc.toml"
FOREWARN, AS_IT_COMES = "forewarn", "forewarn, as it comes"


class Peer(NamedTuple):
    """Who is measured: the module, what part of the job it does, and whether its answers must be the job's."""

    name: str
    module: str
    does: str
    exact: bool = True


PEERS = (
    Peer("plain Python", "plain", "all, but nothing survives a restart"),
    Peer("Quix Streams", "quix", "all; the model does not survive a restart"),
    Peer("Bytewax, stateful", "bytewax_state", "all, and survives a restart"),
    Peer("Bytewax, windows", "bytewax_windows", "windows only, answered when they close; no scores", exact=False),
    Peer("PyFlink", "flink", "all; the model does not survive a restart"),
)


class Row(NamedTuple):
    """One row of the table. `spread` holds the CPU seconds of every repeat."""

    name: str
    does: str
    cpu: float
    start: float
    answers: int
    spread: list[float]


def take_log(log: Path, most: int, out: Path) -> int:
    """Write the first events of a log in forewarn's own format; how many there are."""
    mapping = LogMapping.load(MAPPING) if log.name.endswith(".csv.gz") else None
    codec, written = Codec(), 0
    with out.open("wb") as lines:
        for item in islice(read_log(log, mapping), most):
            event = item if isinstance(item, Reject) else codec.decode(item)
            if not isinstance(event, Reject):
                lines.write(b'{"subject":"' + item.subject.encode() + b'",' + encode_json(event)[1:] + b"\n")
                written += 1
    return written


def check_answers(peer: Peer, agreed: Agreed, answers: list[dict[str, Any]], counts: dict[str, Any]) -> None:
    """Every user must have got the same answers in the same order, and the model the same examples."""
    if not peer.exact:
        return

    def by_user(found: list[dict[str, Any]]) -> dict[str, list[Any]]:
        users: dict[str, list[Any]] = {}
        for answer in found:
            users.setdefault(answer["user_id"], []).append((answer.get("risk_event_id"), answer.get("tier")))
        return users

    expected, found = by_user(agreed.answers), by_user(answers)
    if expected != found:
        unlike = [user for user in {*expected, *found} if expected.get(user) != found.get(user)]
        raise DisagreementError(f"{peer.name} answers {len(unlike)} users of {len(expected)} otherwise than the job")
    learnt = (counts["examples"], counts["positives"])
    if learnt != (agreed.examples, agreed.positives):
        raise DisagreementError(f"{peer.name} learnt {learnt} instead of {(agreed.examples, agreed.positives)}")


def measured(where: Deployment, repeats: int, only: set[str], agreed: Agreed, log: Path) -> list[Row]:
    """Every peer and forewarn, one after the other, as often as asked."""
    chosen = [peer for peer in PEERS if not only or peer.module in only]
    names = [FOREWARN, AS_IT_COMES, *(peer.name for peer in chosen)]
    starts, costs, answers = dict.fromkeys(names, 0.0), {name: list[float]() for name in names}, dict.fromkeys(names, 0)
    pythons = {peer.module: environment(peer.module, OUT) for peer in chosen}
    for turn in range(repeats + 1):
        inputs = where.full if turn else where.empty
        for name in (FOREWARN, AS_IT_COMES):
            command, risk = forewarn_command(where, inputs, whole=name == AS_IT_COMES)
            cost, _ = spent(command)
            costs[name].append(cost)
            answers[name] = where.count(risk)
        for peer in chosen:
            command, risk = peer_command(where, inputs, pythons[peer.module], peer.module)
            cost, said = spent(command)
            costs[peer.name].append(cost)
            found = where.read(risk)
            answers[peer.name] = len(found)
            if turn:
                counts = orjson.loads(said.splitlines()[-1])
                if peer.module == "bytewax_windows":
                    check_windows(counts, log)
                check_answers(peer, agreed, found, counts)
        done = ", ".join(f"{name} {costs[name][-1]:.1f}" for name in names)
        print(f"{'run ' + str(turn) if turn else 'empty topics'}, CPU seconds: {done}", flush=True)
    does = {peer.name: peer.does for peer in chosen}
    does |= {
        FOREWARN: "all, and survives a restart",
        AS_IT_COMES: "with its challenger and every feature row published",
    }
    rows = []
    for name in names:
        starts[name], *runs = costs[name]
        rows.append(Row(name, does[name], statistics.median(runs), starts[name], answers[name], runs))
    return rows


def check_windows(counts: dict[str, Any], log: Path) -> None:
    """Closed windows must hold what counting the log in one go gives."""
    from tests.bench.peers.windows_by_hand import counted  # noqa: PLC0415 - only where they are measured

    if counts["windows"] != (expected := counted(log)):
        raise DisagreementError(f"Bytewax's windows are {counts['windows']} instead of {expected}")


def table(rows: list[Row], events: int) -> list[str]:
    """The rows as a Markdown table."""
    us = {row.name: row.cpu / events * 1e6 for row in rows}
    lines = [
        "| | events/CPU s | CPU us/event | of forewarn | start, CPU s | events/CPU s without start | what it does |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: row.cpu):
        without = events / max(row.cpu - row.start, 1e-9)
        lines.append(
            f"| {row.name} | {events / row.cpu:,.0f} | {us[row.name]:.1f} | {us[FOREWARN] / us[row.name]:.2f} "
            f"| {row.start:.1f} | {without:,.0f} | {row.does} |"
        )
    return lines


def main() -> None:
    """Make sure of agreement, measure, print the table and keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", type=Path, default=UBUNTU, help="a workload's JSON lines, or Ubuntu IRC")
    parser.add_argument("--events", type=int, default=150_000)
    parser.add_argument("--repeats", type=int, default=3, help="the median counts")
    parser.add_argument("--only", default="", help="modules of the peers to measure, with commas between")
    arguments = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    log = OUT / "events.jsonl"
    events = take_log(arguments.log, arguments.events, log)
    print(f"{arguments.log.parent.name}/{arguments.log.name}: the first {events:,} events", flush=True)
    agreed = agree(log, OUT / "replay")
    print(
        f"agreement: every feature of {agreed.points:,} points, {agreed.scored:,} of them scored; "
        f"{agreed.versions:,} versions of the model, {agreed.examples:,} examples, {agreed.positives:,} positives; "
        f"{len(agreed.answers):,} answers to compare",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder, find_broker() as broker:
        print(f"broker: {broker.description}", flush=True)
        where = Deployment(broker.address, Path(folder))
        where.produce(log)
        rows = measured(where, arguments.repeats, set(filter(None, arguments.only.split(","))), agreed, log)
    print("\n".join(table(rows, events)))
    result = {"log": arguments.log.name, "events": events, "rows": [row._asdict() for row in rows]}
    target = ROOT / "out/bench/peers.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    print(f"written to {target.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
