"""Checks the evidence for a change of champion: the document of `forewarn compare --json`.

The two replays must differ in nothing but the champion, and must show that the new champion is better.
"""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from dataflows.runtime.text_files import TextError, decode_text
from detectors.policy.policy import Policy
from schemas.errors import ExpectedError

LEAST_USERS = 30
"""Minimum number of users who escalate: the intervals are a bootstrap over users, so fewer decide nothing."""
CALIBRATED = 0.02
"""A calibration error up to this is accepted; above it, the new champion's must not be larger than the old one's."""
By = Literal["average_precision", "roc_auc"]
WORDS: dict[By, str] = {"average_precision": "average precision", "roc_auc": "the area under the ROC curve"}


class PromotionError(ExpectedError, ValueError):
    """A change of champion that cannot be made; the text is a sentence."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)


class _Figure(_Part):
    value: float | None
    low: float | None
    high: float | None


class _Leads(_Part):
    average_precision: _Figure
    roc_auc: _Figure


class _Policy(_Part):
    version: str


class _Run(_Part):
    policy: _Policy
    champion: str
    pinned: bool
    positives: int
    positive_users: int
    calibration_error: float | None


class _Runs(_Part):
    before: _Run
    after: _Run


class _Protocol(_Part):
    question: str
    from_quantile: float
    until_quantile: float
    skip_first: bool
    ahead_ms: int


class _Compared(_Part):
    """The fields of the document that are checked."""

    log: str
    protocol: _Protocol
    points: int
    same_points: bool
    runs: _Runs
    after_above_before: _Leads | None


def weigh(path: Path, policy: Policy, wanted: Policy, by: By) -> dict[str, Any]:
    """Return the main figures of the evidence in a file, if it supports the change from `policy` to `wanted`.

    The whole interval of the new champion's lead by the figure `by` must lie above zero.

    Raises:
        PromotionError: if the file is no such document, is about another change, or its evidence is insufficient.
    """
    try:
        data = path.read_bytes()
        found = _Compared.model_validate_json(decode_text(data))
    except OSError as error:
        raise PromotionError(f"{path}: cannot be read ({error.strerror}).") from None
    except TextError as error:
        raise PromotionError(f"{path}: {error}.") from None
    except ValidationError:
        raise PromotionError(f"{path}: not what `forewarn compare RUN_A RUN_B --json` prints.") from None
    name, champion = wanted.learning.champion, policy.learning.champion
    before, after = found.runs.before, found.runs.after
    how = f"compare a replay under the policy as it is with one with --champion {name}"
    for which, run, meant in (("first", before, policy), ("second", after, wanted)):
        if run.policy.version != meant.version:
            raise PromotionError(
                f"{path}: the {which} run is of policy {run.policy.version} and not of {meant.version}: {how}."
            )
        if run.pinned:
            raise PromotionError(
                f"{path}: the {which} run was scored by a pinned {run.champion}, which may have learnt from the very "
                f"log: {how}, without --model."
            )
    if not found.same_points:
        raise PromotionError(
            f"{path}: the runs differ in more than the champion, in their decision points or the features served: "
            f"replay the same log with the same mapping, text model and forewarn, and {how}."
        )
    if found.protocol.question != "horizon":
        raise PromotionError(
            f"{path}: it asks about what comes next, and the policy warns of its horizon: compare without --question."
        )
    if after.positive_users < LEAST_USERS:
        raise PromotionError(
            f"{path}: {after.positive_users} users who escalate decide nothing, it takes {LEAST_USERS}: compare on a "
            "longer log."
        )
    if found.after_above_before is None:
        raise PromotionError(f"{path}: the targets differ, so no model is shown to be better: {how}.")
    figure: _Figure = getattr(found.after_above_before, by)
    if figure.value is None or figure.low is None or figure.high is None or figure.low <= 0:
        raise PromotionError(
            f"{path}: {name} is not shown to be better than {champion} by {WORDS[by]}: its lead is {_lead(figure)}, "
            "and the whole interval has to lie above zero."
        )
    old, new = before.calibration_error, after.calibration_error
    if new is None or new > max(CALIBRATED, old or 0.0):
        raise PromotionError(
            f"{path}: the calibration error of {name} is {_told(new)}, above {CALIBRATED} and that of {champion}, "
            f"{_told(old)}: its tiers would not mean what they say."
        )
    return {
        "log": found.log,
        "points": found.points,
        "positives": after.positives,
        "positive_users": after.positive_users,
        "protocol": found.protocol.model_dump(),
        "by": by,
        "lead": figure.model_dump(),
        "calibration_error": new,
        "calibration_error_before": old,
        "hash": blake2b(data, digest_size=8).hexdigest(),
    }


def _lead(figure: _Figure) -> str:
    if figure.value is None or figure.low is None or figure.high is None:
        return "not defined"
    return f"{figure.value:+.4f}, between {figure.low:+.4f} and {figure.high:+.4f}"


def _told(error: float | None) -> str:
    return "not defined" if error is None else f"{error:.4f}"
