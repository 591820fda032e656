"""The outputs of a replay as arrays: decision points, escalations and warnings."""

from __future__ import annotations

from codecs import BOM_UTF8
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from evaluation.labels import Escalation, OutcomeRecord, upheld
from evaluation.run_directory import unfinished
from schemas.errors import ExpectedError
from schemas.records.decisions import Tier

Values = NDArray[np.float64]
Times = NDArray[np.int64]
Flags = NDArray[np.bool_]


class EvaluationError(ExpectedError, ValueError):
    """A run cannot be evaluated; the text is one sentence."""


@dataclass(frozen=True, slots=True)
class Warned:
    """A risk event that raised its user's tier, by a rule or by a score.

    `row` is the row of its decision point. `as_of` is in ms.
    """

    row: int
    user: int
    as_of: int
    tier: str
    previous: Tier
    by_rule: bool
    probability: float | None
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outputs:
    """A replay's outputs. Points are rows in the order of the log; `user` indexes `users`.

    Everything is joined by its place in the log, `seq`: event ids are unique only within a user.

    `scores` holds the probabilities of the champion and the challengers by model, NaN where absent. `features` holds
    the columns as served. `escalations` are by index of the user. `erased` holds the place of the latest erasure of
    each erased user, by index of the user.
    """

    name: str
    summary: dict[str, Any]
    users: list[str]
    user: NDArray[np.int64]
    as_of: Times
    seq: Times
    event_id: list[str]
    champion: str
    scores: dict[str, Values]
    features: dict[str, Values]
    escalations: dict[int, list[Escalation]]
    warnings: list[Warned]
    tier_changes: NDArray[np.int64]
    erased: dict[int, int] = field(default_factory=dict)

    @property
    def horizon(self) -> int:
        """Return the prediction horizon of the target (ms)."""
        return int(self.summary["policy"]["horizon_ms"])

    @property
    def expiry(self) -> int:
        """Return the duration of a warning (ms)."""
        return int(self.summary["policy"]["expiry_ms"])

    def __len__(self) -> int:
        return len(self.user)


KEPT = ("user_id", "as_of", "event_id", "seq", "score", "insufficient_history", "tier", "model_version")
"""Columns of features.parquet that are not features."""


def read_outputs(run_dir: Path) -> Outputs:
    """Return the outputs of a replay.

    Raises:
        EvaluationError: if the directory holds none, incomplete ones, those of an older forewarn, or no points.
    """
    try:
        if unfinished(run_dir, "summary.json"):
            raise EvaluationError(
                f"{run_dir}: a replay was cut short while it moved its files in: replay the log again."
            )
        read = (run_dir / "summary.json").read_bytes()
        summary = orjson.loads(read.removeprefix(BOM_UTF8))
        served = pq.read_table(run_dir / "features.parquet")
        shadow = pq.read_table(run_dir / "shadow.parquet")
        outcomes = _lines(run_dir / "outcomes.jsonl")
        risk = _lines(run_dir / "risk-events.jsonl")
        if (run_dir / "summary.json").read_bytes() != read:
            raise EvaluationError(f"{run_dir}: a replay wrote there in the meantime: ask again.")
    except (OSError, orjson.JSONDecodeError, pa.ArrowException) as error:
        what = getattr(error, "strerror", None) or type(error).__name__
        raise EvaluationError(f"{run_dir}: not the outputs of a replay ({what}): give the --out of one.") from None
    if "seq" not in served.column_names or "promised" not in summary.get("policy", {}):
        raise EvaluationError(f"{run_dir}: written by an older forewarn: replay the log again.")
    if not served.num_rows:
        raise EvaluationError(f"{run_dir}: holds no decision points, so there is nothing to evaluate.")
    named: list[str] = served["user_id"].to_pylist()
    code = {user: index for index, user in enumerate(dict.fromkeys(named))}
    champion = summary["models"]["champion"]
    scores = {champion: _floats(served, "score")}
    scores |= {name: _floats(shadow, name) for name in summary["models"]["challengers"]}
    outcomes = [outcome for outcome in outcomes if outcome["user_id"] in code]  # other users never had a decision point
    seq: Times = served["seq"].to_numpy()
    if not all("seq" in line for line in risk):
        raise EvaluationError(f"{run_dir}: written by an older forewarn: replay the log again.")
    raised, changes = _risk(risk, code, {place: row for row, place in enumerate(seq.tolist())})
    return Outputs(
        name=summary["log"],
        summary=summary,
        users=list(code),
        user=np.array([code[user] for user in named], dtype=np.int64),
        as_of=served["as_of"].cast(pa.int64()).to_numpy(),
        seq=seq,
        event_id=served["event_id"].to_pylist(),
        champion=champion,
        scores=scores,
        features={name: _floats(served, name) for name in served.column_names if name not in KEPT},
        escalations=upheld(
            OutcomeRecord(code[o["user_id"]], o["kind"], o["as_of"], o["seq"], o.get("cause"), o.get("record_seq"))
            for o in outcomes
        ),
        warnings=raised,
        tier_changes=changes,
        erased={code[line["user_id"]]: line["seq"] for line in risk if "tombstone" in line and line["user_id"] in code},
    )


def _lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().removeprefix(BOM_UTF8).splitlines()]


def _floats(table: pa.Table, name: str) -> Values:
    values: Values = table[name].to_numpy(zero_copy_only=False)
    return values.astype(np.float64)


def _risk(lines: list[dict[str, Any]], code: dict[str, int], rows: dict[int, int]) -> tuple[list[Warned], Times]:
    """Return the warnings and each user's number of tier changes; `rows` maps a point's place in the log to its row."""
    warned: list[Warned] = []
    changes = np.zeros(len(code), dtype=np.int64)
    ranks = {tier.value: tier.rank for tier in Tier}
    for line in lines:
        if line.get("tombstone"):
            continue
        user = code[line["user_id"]]
        changes[user] += 1
        if ranks[line["tier"]] > ranks[line["previous_tier"]]:
            warned.append(
                Warned(
                    rows[line["seq"]],
                    user,
                    line["as_of"],
                    line["tier"],
                    Tier(line["previous_tier"]),
                    any(reason["contribution"] is None for reason in line["reasons"]),
                    line["probability"],
                    tuple(reason["feature"] for reason in line["reasons"]),
                )
            )
    return warned, changes
