"""Reading of what a replay wrote about one user."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import ValidationError

from dataflows.runtime.escaping import visible
from dataflows.runtime.text_files import MARK
from detectors.features.catalogue import NAMES
from detectors.policy.policy import Policy
from evaluation.run_directory import POLICY
from evaluation.runs import Outputs, read_outputs
from schemas.errors import ExpectedError
from schemas.records.decisions import ModelVersion

MOST_ALIKE = 3
"""Maximum number of similar user ids that are suggested for an unknown one."""
_VERSION = re.compile(rb'"version":"([^"]*)"')


class ExplainError(ExpectedError, ValueError):
    """A user or a point that cannot be explained; the text is one sentence."""


@dataclass(frozen=True, slots=True)
class UserRun:
    """A replay's outputs, and those lines of its files that are about one user, since the user's latest erasure.

    `rows` are the user's decision points in the order of the log. `tiers` and `versions` belong to these rows. `erased`
    holds, by user id, the places in the log at which users were erased.
    """

    directory: Path
    outputs: Outputs
    policy: Policy
    user_id: str
    user: int
    rows: NDArray[np.int64]
    tiers: list[str]
    versions: list[str]
    outcomes: list[dict[str, Any]]
    risk: dict[int, dict[str, Any]]
    erased: list[tuple[str, int]]

    def matrix(self) -> NDArray[np.float64]:
        """Return the features of the user's points as rows, in the order of the catalogue."""
        features = self.outputs.features
        return np.stack([features[name][self.rows] for name in NAMES], axis=1)


def read_user(directory: Path, user_id: str) -> UserRun:
    """Return what a replay wrote about a user.

    Raises:
        EvaluationError: if the directory does not hold the outputs of a replay.
        ExplainError: if the user is not in it, or the replay is of another version of forewarn.
    """
    outputs = read_outputs(directory)
    policy = read_policy(directory, outputs.summary)
    if missing := [name for name in NAMES if name not in outputs.features]:
        raise ExplainError(
            f"{directory}: has no feature {missing[0]}, which another forewarn did not know: replay the log."
        )
    user = _find(outputs, user_id)
    user_id = outputs.users[user]
    since = outputs.erased.get(user, -1)
    rows = np.flatnonzero((outputs.user == user) & (outputs.seq > since))
    table = pq.read_table(directory / "features.parquet", columns=["tier", "model_version"]).take(pa.array(rows))
    risk = _lines(directory / "risk-events.jsonl")
    outcomes = [
        line
        for line in _lines(directory / "outcomes.jsonl")
        if line["user_id"] == user_id and line["seq"] > since and line.get("escalated_seq", line["seq"]) > since
    ]
    if orjson.loads((directory / "summary.json").read_bytes().removeprefix(MARK)) != outputs.summary:
        raise ExplainError(f"{directory}: a replay wrote there in the meantime: ask again.")
    return UserRun(
        directory=directory,
        outputs=outputs,
        policy=policy,
        user_id=user_id,
        user=user,
        rows=rows,
        tiers=table["tier"].to_pylist(),
        versions=table["model_version"].to_pylist(),
        outcomes=outcomes,
        risk={
            line["seq"]: line
            for line in risk
            if line["user_id"] == user_id and "tombstone" not in line and line["seq"] > since
        },
        erased=_erasures(risk),
    )


def read_tiers(directory: Path) -> list[str]:
    """Return the tiers in force after each point, in the order of the log."""
    tiers: list[str] = pq.read_table(directory / "features.parquet", columns=["tier"])["tier"].to_pylist()
    return tiers


def read_erasures(directory: Path) -> list[tuple[str, int]]:
    """Return the erased users, and the places in the log of their erasures."""
    return _erasures(_lines(directory / "risk-events.jsonl"))


def _erasures(risk: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(line["user_id"], line["seq"]) for line in risk if "tombstone" in line]


def read_versions(directory: Path, wanted: Collection[str]) -> dict[str, ModelVersion]:
    """Return the versions with these hashes that the run recorded.

    Raises:
        ExplainError: if the run recorded no versions, or one of those wanted is missing or made for other features.
    """
    path, left, found = directory / "models" / "versions.jsonl", set(wanted), dict[str, ModelVersion]()
    try:
        with path.open("rb") as file:
            for line in file if left else ():
                named = _VERSION.search(line)
                if named is not None and (version := named[1].decode()) in left:
                    found[version] = ModelVersion.model_validate_json(line)
                    left.remove(version)
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or "not model versions"
        raise ExplainError(f"{path}: cannot be read ({what}): replay the log again.") from None
    if left:
        raise ExplainError(f"{path}: has no version {min(left)}, which scored: replay the log again.")
    if other := [one.version for one in found.values() if one.features != NAMES]:
        raise ExplainError(f"{path}: version {other[0]} was made for other features: replay the log again.")
    return found


def read_policy(directory: Path, summary: dict[str, Any]) -> Policy:
    """Return the policy that a run was made with.

    Raises:
        ExplainError: if the run did not write it, or it is not the one that the summary names.
    """
    path = directory / POLICY
    try:
        policy = Policy.model_validate(orjson.loads(path.read_bytes().removeprefix(MARK)))
    except FileNotFoundError:
        raise ExplainError(
            f"{directory}: has no {POLICY}, which an older forewarn did not write: replay the log again."
        ) from None
    except (OSError, orjson.JSONDecodeError, ValidationError):
        raise ExplainError(f"{path}: not a policy that this forewarn knows: replay the log again.") from None
    if policy.version != summary["policy"]["version"]:
        raise ExplainError(
            f"{path}: not the policy of this run, which has the version "
            f"{summary['policy']['version']}: replay the log again."
        )
    return policy


def _find(outputs: Outputs, user_id: str) -> int:
    """Return the index of a user, whose id may also be given with the escapes of printed ids."""
    last = dict(zip(outputs.user.tolist(), outputs.seq.tolist(), strict=True))
    index = {name: code for code, name in enumerate(outputs.users)}
    user = index.get(user_id)
    if user is None:
        user = next((code for name, code in index.items() if visible(name) == user_id), None)
    named = [name for name, code in index.items() if last[code] > outputs.erased.get(code, -1)]
    if user is not None and last[user] > outputs.erased.get(user, -1):
        return user
    if user is not None:
        raise ExplainError(f"{visible(user_id)}: was erased, and has no decision point since: choose another user.")
    alike = [name for name in named if abs(len(name) - len(user_id)) <= MOST_ALIKE and name[:1] == user_id[:1]]
    close = get_close_matches(user_id, alike or named[:10_000], n=MOST_ALIKE)
    meant = f"did you mean {' or '.join(close)}?" if close else "choose one from its risk-events.jsonl."
    raise ExplainError(f"{user_id}: has no decision point in {outputs.name}: {meant}")


def _lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().removeprefix(MARK).splitlines()]
