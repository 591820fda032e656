"""What has to agree before any time is quoted: features event by event, and the model example by example."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow.parquet as pq

from dataflows.config.policy import load_policy
from dataflows.replay.replay import replay
from dataflows.sources.files.log import LogSource
from detectors.features.catalogue import NAMES
from detectors.policy.policy import Policy
from tests.bench.peers.checks import InvalidError, check
from tests.bench.peers.job import Answer, Job

CLOSE = 1e-9
POLICY = Path(__file__).parents[1] / "ubuntu_irc.toml"
LEFT_OUT = (
    "channel_rate",
    "channel_share",
    "channel_sanctions",
    "excess_mean_24h",
    "quick_answer_ratio_24h",
    "sequence_4",
)
"""What needs channels remembered, and the code column, which the model does not read."""
KEPT = tuple(name for name in NAMES if name not in LEFT_OUT)


class DisagreementError(Exception):
    """Two that should do the same do not."""


class Agreed(NamedTuple):
    """How much was compared, and what the job answered; `scored` points came when the model had seen enough."""

    points: int
    scored: int
    versions: int
    examples: int
    positives: int
    answers: list[Answer]


def bench_policy(*, challengers: bool = False) -> Policy:
    """The benchmark's policy without its rules; without its challenger, which no peer teaches, unless asked for."""
    policy = load_policy(POLICY)
    learning = policy.learning if challengers else policy.learning.model_copy(update={"challengers": ()})
    return policy.model_copy(update={"rules": {}, "learning": learning})


def events_of(log: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Subject and event of every line of a log in forewarn's own format that is an event."""
    with log.open("rb") as lines:
        for line in lines:
            event = orjson.loads(line)
            try:
                yield event["subject"], check(event["subject"], event)
            except InvalidError:
                continue


def agree(log: Path, out: Path) -> Agreed:
    """Replay the log with forewarn and hand its events to a job; every feature and every version must be the same.

    Raises:
        DisagreementError: as soon as one is not.
    """
    policy = bench_policy()
    # a job learns at once, so no example may wait for the log's clock: its slack grows with the versions kept
    learning = policy.learning.model_copy(update={"keep_versions": 10_000})
    replay(LogSource(log, None), policy.model_copy(update={"learning": learning}), out, log_name=log.name, report=False)
    table = pq.read_table(out / "features.parquet", columns=["event_id", "score", *KEPT])
    ids = table["event_id"].to_pylist()
    matrix = np.column_stack([table[name].to_numpy() for name in KEPT])
    versions = [orjson.loads(line) for line in (out / "models/versions.jsonl").read_bytes().splitlines()]
    states = [(version, orjson.loads(version["state"])["model"]) for version in versions]
    by_steps = {state["steps"]: (version, state) for version, state in states}
    job, at, met, answers = Job(), 0, 0, []
    model = job.model
    learn, take_back = model.learn, model.take_back

    def looked_at() -> None:
        nonlocal met
        known = by_steps.get(model.regression.optimizer.n_iterations)
        if known is not None:
            met += 1
            _same_model(job, *known)

    def learn_and_look(*arguments: Any, **named: Any) -> None:
        learn(*arguments, **named)
        looked_at()

    def take_back_and_look(*arguments: Any) -> None:
        take_back(*arguments)
        looked_at()

    model.learn, model.take_back = learn_and_look, take_back_and_look  # type: ignore[method-assign]
    for subject, event in events_of(log):
        seen = job.counts["seen"]
        answer = job.handle(subject, event)
        if answer is not None:
            answers.append(answer)
        if job.counts["seen"] > seen:
            if at >= len(ids) or ids[at] != event["event_id"]:
                raise DisagreementError(f"event {event['event_id']} is point {at} here and not in the replay")
            _same_features(event, job.x, matrix[at])
            at += 1
    if at != len(ids):
        raise DisagreementError(f"the replay has {len(ids)} points, the job {at}")
    if met != len(by_steps):
        raise DisagreementError(f"of {len(by_steps)} versions the job came by {met}")
    scored = at - table["score"].null_count
    return Agreed(at, scored, met, model.examples, model.positives, answers)


def _same_features(event: dict[str, Any], x: dict[str, float], row: Any) -> None:
    mine = np.array([x.get(name, np.nan) for name in KEPT])
    unlike = ~((np.isnan(mine) & np.isnan(row)) | (np.abs(mine - row) <= CLOSE * np.maximum(1.0, np.abs(row))))
    if unlike.any() or not x.keys() <= set(KEPT):
        what = [f"{KEPT[i]} {mine[i]!r} instead of {row[i]!r}" for i in np.flatnonzero(unlike)]
        raise DisagreementError(f"event {event['event_id']}: {', '.join(what)}")


def _same_model(job: Job, version: dict[str, Any], state: dict[str, Any]) -> None:
    mine = job.model
    if (mine.examples, mine.positives) != (version["examples"], version["positives"]):
        counts = f"{mine.examples} examples, {mine.positives} positives"
        raise DisagreementError(f"{counts} instead of {version['examples']} and {version['positives']}")
    weights = mine.regression.weights
    found = {name: (weights.get(name, 0.0), mine.scaler.means.get(name, 0.0)) for name in state["features"]}
    for name, weight, mean in zip(state["features"], state["weights"], state["means"], strict=True):
        if name in KEPT and np.abs(np.subtract(found[name], (weight, mean))).max() > CLOSE * max(1.0, abs(mean)):
            raise DisagreementError(f"weight and mean of {name}: {found[name]} instead of {(weight, mean)}")
        if name not in KEPT and weight:
            raise DisagreementError(f"{name} should be constant and has weight {weight}")
    if abs(mine.regression.intercept - state["intercept"]) > CLOSE:
        raise DisagreementError(f"intercept {mine.regression.intercept} instead of {state['intercept']}")
