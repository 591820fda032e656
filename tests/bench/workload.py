"""Seeded workloads for the benchmark: made-up traffic with realistic skew, as large as it has to be.

    python -m tests.bench.workload --users 100000 --events 1000000 --out log.jsonl

Figures of speed and memory only: nothing here says anything about whether warnings are right.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import orjson

Skew = Literal["natural", "half", "one"]
START = 1_735_689_600_000
"""1 January 2025 (ms)."""
CHUNK = 50_000
FEW, TROUBLE, PEACE = 20, 0.04, 0.001
"""One user in so many gets into trouble: such a share of their events are moderation's, and of the others' such a one.
That makes 0.3 % of all; in Ubuntu IRC it is 0.05 %, and 0.6 % of its events change a tier."""
WORDS = (
    *(
        "go",
        "push",
        "mid",
        "left",
        "top",
        "now",
        "wait",
        "heal",
        "me",
        "please",
        "nice",
        "shot",
        "well",
        "played",
        "gg",
    ),
    *("again", "team", "behind", "you", "enemy", "tower", "base", "gold", "buy", "ward", "see", "them", "run", "stop"),
    *(
        "noob",
        "trash",
        "report",
        "him",
        "why",
        "bad",
        "lag",
        "ping",
        "reset",
        "queue",
        "ready",
        "trade",
        "sell",
        "item",
    ),
    *("lol", "haha", "ok", "yes", "no", "maybe", "later", "brb", "afk", "back", "who", "what", "where", "how", "clan"),
)


class Workload(NamedTuple):
    """So many events of so many users over `hours`; every user has one, but for a few whose turn goes to a reversal.

    Of the events beyond the first of each user, a few very busy users make many and most make hardly any (`natural`),
    1 % of the users make half and the others equally many (`half`), or a single user makes a fifth (`one`).
    """

    users: int
    events: int
    seed: int = 7
    hours: float = 24.0
    skew: Skew = "natural"
    start: int = START

    @property
    def name(self) -> str:
        """What the tables call it."""
        return f"{self.users:,} users, {self.events:,} events, {self.skew}"


def events(workload: Workload) -> Iterator[dict[str, Any]]:
    """The events in the order of their times, as a replay reads them; the same workload gives the same ones."""
    if workload.events < workload.users:
        raise ValueError(f"{workload.events} events are not one for each of {workload.users} users: ask for more")
    rng = np.random.default_rng(workload.seed)
    who = _who(workload, rng)
    when = np.sort(rng.integers(0, int(workload.hours * 3_600_000), workload.events)) + workload.start
    texts = [" ".join(rng.choice(WORDS, rng.integers(1, 14))) for _ in range(4_000)]
    sanctions: list[tuple[str, str]] = []
    for begin in range(0, workload.events, CHUNK):
        size = min(CHUNK, workload.events - begin)
        kind, pick = rng.random(size).tolist(), rng.integers(0, 1 << 30, (size, 4)).tolist()
        users, times = who[begin : begin + size].tolist(), when[begin : begin + size].tolist()
        for number, (user, time, drawn, (a, b, c, d)) in enumerate(zip(users, times, kind, pick, strict=True), begin):
            event = {"event_id": f"w{workload.seed}-{number:09d}", "event_time": time, "user_id": f"user-{user:07d}"}
            share = TROUBLE if user % FEW == 0 else PEACE
            if drawn >= share:
                yield {"subject": "chat_message", **event, **_said(user, texts, a, b, c, d, workload.users)}
            else:
                done = _done(drawn / share, event, sanctions, a, b, workload.users)
                yield {"subject": "moderation_event", **event, **done}


def _who(workload: Workload, rng: np.random.Generator) -> Any:
    """The user of every event: each once, and the others by how busy they are."""
    users, more = workload.users, workload.events - workload.users
    if workload.skew == "natural":
        weights = 1.0 / (np.arange(users) + 50.0) ** 0.9
        busy = np.searchsorted(np.cumsum(weights) / weights.sum(), rng.random(more))
    else:
        few, share = (max(1, users // 100), 0.5) if workload.skew == "half" else (1, 0.2)
        busy = np.where(rng.random(more) < share, rng.integers(0, few, more), rng.integers(0, users, more))
    return rng.permutation(np.concatenate([np.arange(users), busy]))


def _said(user: int, texts: list[str], a: int, b: int, c: int, d: int, users: int) -> dict[str, Any]:
    said: dict[str, Any] = {"channel": f"room-{(user * 7 + (a % 3 if a & 8 else 0)) % 5_000:04d}"}
    said["text"] = texts[b % len(texts)]
    if c % 5 == 0:
        said["recipients"] = [f"user-{c // 5 % users:07d}"]
    if d % 3 == 0:
        said["scores"] = [{"scorer": "toxicity", "version": "1", "value": (d // 3 % 1000) ** 2 / 1e6}]
    return said


def _done(
    drawn: float, event: dict[str, Any], sanctions: list[tuple[str, str]], a: int, b: int, users: int
) -> dict[str, Any]:
    if drawn < 0.6:
        return {"kind": "report", "report": {"reporter_id": f"user-{a % users:07d}", "category": "toxicity"}}
    if drawn < 0.9 or not sanctions:
        if b % 4 == 0:
            sanctions.append((event["event_id"], event["user_id"]))
        return {
            "kind": "sanction",
            "sanction": {"action": "mute", "severity": 1 + b % 4, "policy": "chat", "source": "human"},
        }
    if drawn < 0.98:
        arm = "lesson" if a % 2 else "control"
        return {"kind": "exposure", "exposure": {"intervention": "lesson", "arm": arm, "probability": 0.5}}
    sanction, event["user_id"] = sanctions.pop(0)
    return {"kind": "reversal", "user_id": event["user_id"], "reversal": {"sanction_id": sanction}}


def write(workload: Workload, path: Path) -> Path:
    """The workload as JSON lines; a file that is there already is the same."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            for event in events(workload):
                file.write(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))
        part.rename(path)
    return path


def main() -> None:
    """Write a workload to a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--skew", choices=["natural", "half", "one"], default="natural")
    parser.add_argument("--out", type=Path, required=True)
    arguments = vars(parser.parse_args())
    out = arguments.pop("out")
    print(f"{Workload(**arguments).name}: {write(Workload(**arguments), out)}")


if __name__ == "__main__":
    main()
