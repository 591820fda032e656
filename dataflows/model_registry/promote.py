"""Makes a challenger the champion of a policy file, on evidence only, and takes that back.

The evidence is the document of `forewarn compare` of two replays of one log: one under the policy as it is, one under
the policy as it would be. Beside the policy file stands what was done to it.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Literal, NamedTuple

import orjson
import tomlkit
from pydantic import TypeAdapter
from tomlkit.exceptions import TOMLKitError

from dataflows.config.policy import load_policy
from dataflows.model_registry.promotion_check import By, PromotionError, weigh
from dataflows.runtime.atomic import write_whole
from dataflows.runtime.clock import now_ms
from dataflows.runtime.text_files import MARK, read_text
from detectors.models.catalogue import READS
from detectors.policy.parse import parse_policy
from detectors.policy.policy import Policy
from detectors.rules.catalogue import RULES

What = Literal["promoted", "rolled back"]
HEADER = re.compile(r"^[ \t]*\[[ \t]*learning[ \t]*\][ \t]*(#[^\r\n]*)?(?=\r?$)", re.MULTILINE)
"""The line that begins the section of a policy file that names the models."""
DOTTED = re.compile(r"^[ \t]*learning[ \t]*\.", re.MULTILINE)
"""What a line of that section begins with where it is written without a header."""


class Change(NamedTuple):
    """A champion was promoted, or a promotion rolled back: when (ms), from which model to which, on what evidence."""

    at: int
    what: What
    before: str
    after: str
    policy_before: str
    policy_after: str
    evidence: dict[str, Any] | None


CHANGE = TypeAdapter(Change)


def promote(policy_file: Path, name: str, evidence_file: Path, by: By = "average_precision") -> Change:
    """Make a challenger the champion, and the champion a challenger, if the evidence says that it ranks better.

    Raises:
        PolicyError: if the policy file cannot be used.
        PromotionError: if the model is no challenger, or the evidence is of something else or not enough.
    """
    policy = load_policy(policy_file)
    wanted = changed_champion(policy, name)
    return _change(policy_file, policy, wanted, "promoted", weigh(evidence_file, policy, wanted, by))


def roll_back(policy_file: Path) -> Change:
    """Bring back the champion before the latest promotion that has not been rolled back yet.

    Whatever else was changed in the policy since stays: a rollback must be possible when it is needed.

    Raises:
        PolicyError: if the policy file cannot be used.
        PromotionError: if there is nothing to roll back, or the champions are not those of the promotion any more.
    """
    policy = load_policy(policy_file)
    champion, standing = policy.learning.champion, list[Change]()
    for change in took_effect(changes(policy_file), champion):
        if change.what == "promoted":
            standing.append(change)
        elif standing:
            standing.pop()
    if not standing:
        raise PromotionError(f"{_record(policy_file)}: no promotion is left to roll back.")
    latest = standing[-1]
    if latest.after != champion:
        raise PromotionError(
            f"{policy_file}: the champion is {champion}, but the latest promotion made it {latest.after}: somebody "
            f"changed it by hand, so change learning.champion by hand again."
        )
    if latest.before not in policy.learning.challengers:
        raise PromotionError(
            f"{policy_file}: {latest.before}, the champion before, is no challenger any more, so it has learnt nothing "
            "since: put it among learning.challengers, and roll back when it has learnt."
        )
    return _change(policy_file, policy, changed_champion(policy, latest.before), "rolled back", None)


def changes(policy_file: Path) -> list[Change]:
    """What was done to a policy file, oldest first.

    Raises:
        PromotionError: if the record beside it cannot be read.
    """
    path = _record(policy_file)
    try:
        return [CHANGE.validate_json(line) for line in path.read_bytes().removeprefix(MARK).splitlines()]
    except FileNotFoundError:
        return []
    except (OSError, ValueError):
        raise PromotionError(f"{path}: not a record of promotions: restore it, or move it away.") from None


def took_effect(recorded: list[Change], champion: str) -> list[Change]:
    """Those of the changes on record that were carried out and not undone by hand, with the champion there is now.

    A change is recorded before it is made. Where what came next found the champion of before, it was cut short.
    """
    found = [*(change.before for change in recorded), champion][1:]
    return [change for change, then in zip(recorded, found, strict=True) if then != change.before]


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


def _change(
    path: Path,
    policy: Policy,
    wanted: Policy,
    what: What,
    evidence: dict[str, Any] | None,
) -> Change:
    """Note what is about to be done to the policy, then do it: see `took_effect`."""
    try:
        text = edited(read_text(path), policy, wanted)
    except (OSError, ValueError):
        raise PromotionError(f"{path}: cannot be edited safely: set champion and challengers by hand.") from None
    change = Change(
        now_ms(), what, policy.learning.champion, wanted.learning.champion, policy.version, wanted.version, evidence
    )
    record = b"".join(orjson.dumps(one._asdict()) + b"\n" for one in (*changes(path), change))
    try:
        write_whole(_record(path), record)
        write_whole(path.resolve(), text.encode())
    except OSError as error:
        raise PromotionError(
            f"{error.filename or path}: cannot be written ({error.strerror}), and the champion stays what it was."
        ) from None
    return change


def edited(text: str, policy: Policy, wanted: Policy) -> str:
    """A policy file's text with another champion, and otherwise as it is: comments, order and line ends.

    Raises:
        ValueError: if that cannot be had; the result is read again to see.
    """
    learning = policy.learning
    stated = tomllib.loads(text).get("learning", {})
    values = {"champion": orjson.dumps(learning.champion), "challengers": orjson.dumps(learning.challengers)}
    lines = [f"{key} = {value.decode()}" for key, value in values.items() if key not in stated]
    end = "\r\n" if "\r\n" in text else "\n"
    if lines and (header := HEADER.search(text)):
        text = text[: header.end()] + "".join(end + line for line in lines) + text[header.end() :]
    elif lines and (dotted := DOTTED.search(text)):
        added = "".join(f"learning.{line}{end}" for line in lines)
        text = text[: dotted.start()] + added + text[dotted.start() :]
    elif not stated:
        text = end.join([text.removesuffix(end), "", "[learning]", *lines, ""])
    try:
        document: Any = tomlkit.parse(text)
        section = document["learning"]
        section["champion"] = wanted.learning.champion
        named = section.setdefault("challengers", list(wanted.learning.challengers))
        for place, name in enumerate(wanted.learning.challengers):
            if named[place] != name:
                named[place] = name
        text = tomlkit.dumps(document)
    except (LookupError, TOMLKitError) as error:
        raise ValueError(str(error)) from None
    if parse_policy(tomllib.loads(text), RULES, READS) != wanted:
        raise ValueError("it reads as another policy")
    return text


def _record(policy_file: Path) -> Path:
    path = policy_file.resolve()
    return path.with_name(f"{path.name}.promotions.jsonl")
