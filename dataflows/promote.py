"""Makes a challenger the champion of a policy file, on evidence only, and takes that back.

The evidence is the document of `forewarn compare` of two replays of one log: one under the policy as it is, one under
the policy as it would be. Beside the policy file stands what was done to it.
"""

from __future__ import annotations

import tomllib
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, NamedTuple

import orjson
import tomlkit
from tomlkit.exceptions import TOMLKitError

from dataflows.clock import now_ms
from dataflows.files import write_whole
from dataflows.policy_file import load_policy
from detectors.models.catalogue import MODELS
from detectors.policy import Policy, parse_policy
from detectors.rules.catalogue import RULES

LEAST_POSITIVES = 30
"""Evidence on fewer positive points decides nothing."""
CALIBRATED = 0.02
"""A calibration error up to this is good enough; above it, the new champion's must not be larger than the old one's."""
What = Literal["promoted", "rolled back"]
By = Literal["average_precision", "roc_auc"]
WORDS: dict[By, str] = {"average_precision": "average precision", "roc_auc": "the area under the ROC curve"}


class PromotionError(ValueError):
    """A champion that is not changed, in a sentence."""


class Change(NamedTuple):
    """A champion was promoted, or a promotion rolled back: when (ms), from which model to which, on what evidence."""

    at: int
    what: What
    before: str
    after: str
    policy_before: str
    policy_after: str
    evidence: dict[str, Any] | None


def promote(policy_file: Path, name: str, evidence_file: Path, by: By = "average_precision") -> Change:
    """Make a challenger the champion, and the champion a challenger, if the evidence says that it ranks better.

    Raises:
        PolicyError: if the policy file cannot be used.
        PromotionError: if the model is no challenger, or the evidence is of something else or not enough.
    """
    policy = load_policy(policy_file)
    wanted = changed_champion(policy, name)
    data = _bytes(evidence_file)
    evidence = _weighed(evidence_file, data, policy, wanted, by)
    evidence["hash"] = blake2b(data, digest_size=8).hexdigest()
    return _change(policy_file, policy, wanted, "promoted", evidence)


def roll_back(policy_file: Path) -> Change:
    """Bring back the champion before the latest promotion that has not been rolled back yet.

    Whatever else was changed in the policy since stays: a rollback must be possible when it is needed.

    Raises:
        PolicyError: if the policy file cannot be used.
        PromotionError: if there is nothing to roll back, or the champions are not those of the promotion any more.
    """
    policy = load_policy(policy_file)
    standing: list[Change] = []
    for change in changes(policy_file):
        if change.what == "promoted":
            standing.append(change)
        elif standing:
            standing.pop()
    if not standing:
        raise PromotionError(f"{_record(policy_file)}: no promotion is left to roll back.")
    latest, champion = standing[-1], policy.learning.champion
    if latest.after != champion:
        raise PromotionError(
            f"{policy_file}: the champion is {champion}, but the latest promotion made it {latest.after}: somebody "
            f"changed it by hand, so change learning.champion by hand again."
        )
    return _change(policy_file, policy, changed_champion(policy, latest.before), "rolled back", None)


def changes(policy_file: Path) -> list[Change]:
    """What was done to a policy file, oldest first.

    Raises:
        PromotionError: if the record beside it cannot be read.
    """
    path = _record(policy_file)
    try:
        return [Change(**orjson.loads(line)) for line in path.read_bytes().splitlines()]
    except FileNotFoundError:
        return []
    except (OSError, TypeError, ValueError):
        raise PromotionError(f"{path}: not a record of promotions: restore it, or move it away.") from None


def changed_champion(policy: Policy, name: str) -> Policy:
    """The policy with a challenger as champion, and the champion in its place.

    Raises:
        PromotionError: if the model is the champion already, or no challenger.
    """
    learning = policy.learning
    if name == learning.champion:
        raise PromotionError(f"{name} is the champion of policy {policy.name} already.")
    if name not in learning.challengers:
        known = f"name one of {', '.join(learning.challengers)}" if learning.challengers else "there are none"
        raise PromotionError(f"{name} is no challenger of policy {policy.name}, so it has learnt nothing: {known}.")
    challengers = tuple(learning.champion if model == name else model for model in learning.challengers)
    return policy.model_copy(
        update={"learning": learning.model_copy(update={"champion": name, "challengers": challengers})}
    )


def _weighed(path: Path, data: bytes, policy: Policy, wanted: Policy, by: By) -> dict[str, Any]:
    """What the evidence says, if it is about this change and says yes."""
    try:
        document = orjson.loads(data)
        before, after = (document["runs"][which] for which in ("before", "after"))
        versions = before["policy"]["version"], after["policy"]["version"]
        lead, errors = document["after_above_before"], (before["calibration_error"], after["calibration_error"])
        positives, asked = after["positives"], document["protocol"]
    except (KeyError, TypeError, ValueError):
        raise PromotionError(f"{path}: not what `forewarn compare RUN_A RUN_B --json` prints.") from None
    name, champion = wanted.learning.champion, policy.learning.champion
    how = f"compare a replay under the policy as it is with one with --champion {name}"
    for which, found, meant in zip(("first", "second"), versions, (policy.version, wanted.version), strict=True):
        if found != meant:
            raise PromotionError(f"{path}: the {which} run is of policy {found} and not of {meant}: {how}.")
    if positives < LEAST_POSITIVES:
        raise PromotionError(
            f"{path}: {positives} positive points decide nothing, it takes {LEAST_POSITIVES}: compare on a longer log."
        )
    if lead is None:
        raise PromotionError(f"{path}: the targets differ, so no model is shown to be better: {how}.")
    figure = lead[by]
    if figure["low"] is None or figure["low"] <= 0:
        told = "not defined" if figure["low"] is None else f"{figure['value']:+.4f}"
        interval = "" if figure["low"] is None else f", between {figure['low']:+.4f} and {figure['high']:+.4f}"
        raise PromotionError(
            f"{path}: {name} is not shown to be better than {champion} by {WORDS[by]}: its lead is {told}{interval}, "
            "and the whole interval has to lie above zero."
        )
    if errors[1] is None or errors[1] > max(CALIBRATED, errors[0] or 0.0):
        raise PromotionError(
            f"{path}: the calibration error of {name} is {_told(errors[1])}, above {CALIBRATED} and that of "
            f"{champion}, {_told(errors[0])}: its tiers would not mean what they say."
        )
    return {
        "log": document["log"],
        "points": document["points"],
        "positives": positives,
        "protocol": asked,
        "by": by,
        "lead": figure,
        "calibration_error": errors[1],
    }


def _change(
    path: Path,
    policy: Policy,
    wanted: Policy,
    what: What,
    evidence: dict[str, Any] | None,
) -> Change:
    """Write the policy, and then what was done to it."""
    text = _edited(path, wanted)
    change = Change(
        now_ms(), what, policy.learning.champion, wanted.learning.champion, policy.version, wanted.version, evidence
    )
    record = _record(path)
    done = b"".join(orjson.dumps(one._asdict()) + b"\n" for one in (*changes(path), change))
    try:
        write_whole(path, text.encode())
        write_whole(record, done)
    except OSError as error:
        raise PromotionError(f"{error.filename or path}: cannot be written ({error.strerror}).") from None
    return change


def _edited(path: Path, wanted: Policy) -> str:
    """The policy file with another champion and otherwise as it is, comments and all."""
    try:
        document: Any = tomlkit.parse(path.read_text(encoding="utf-8"))
        learning = document.setdefault("learning", tomlkit.table())
        learning["champion"] = wanted.learning.champion
        learning["challengers"] = list(wanted.learning.challengers)
        text = tomlkit.dumps(document)
        found = parse_policy(tomllib.loads(text), set(RULES), set(MODELS))
    except (TOMLKitError, TypeError, ValueError):
        found = None
    if found != wanted:
        raise PromotionError(f"{path}: cannot be edited safely: set champion and challengers by hand.")
    return text


def _told(error: float | None) -> str:
    return "not defined" if error is None else f"{error:.4f}"


def _record(policy_file: Path) -> Path:
    return policy_file.with_name(f"{policy_file.name}.promotions.jsonl")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PromotionError(f"{path}: cannot be read ({error.strerror}).") from None
