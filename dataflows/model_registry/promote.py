"""Promotes a challenger of a policy file to champion, on evidence only, and rolls promotions back.

The evidence is the document of `forewarn compare` on two replays of one log: one under the present policy, one under
the policy with the new champion. The changes made to a policy file are recorded in a JSON Lines file beside it.
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
"""The header line of the `[learning]` section of a policy file, which names the models."""
DOTTED = re.compile(r"^[ \t]*learning[ \t]*\.", re.MULTILINE)
"""The start of a line that sets a `learning` key as a dotted key, without a section header."""


class Change(NamedTuple):
    """A promotion or a rollback: its time (ms), champion and policy version before and after, and the evidence.

    `evidence` is None for a rollback.
    """

    at: int
    what: What
    before: str
    after: str
    policy_before: str
    policy_after: str
    evidence: dict[str, Any] | None


CHANGE = TypeAdapter(Change)


def promote(policy_file: Path, name: str, evidence_file: Path, by: By = "average_precision") -> Change:
    """Make a challenger the champion, and the champion a challenger, if the evidence shows that it ranks better.

    Raises:
        PolicyError: if the policy file cannot be used.
        PromotionError: if the model is no challenger, or the evidence is about another change or insufficient.
    """
    policy = load_policy(policy_file)
    wanted = changed_champion(policy, name)
    if name in policy.models:
        raise PromotionError(
            f"{name} runs in River, and no River model decides in a live run: replay with --champion {name} to look at "
            "its warnings."
        )
    return _change(policy_file, policy, wanted, "promoted", weigh(evidence_file, policy, wanted, by))


def roll_back(policy_file: Path) -> Change:
    """Restore the champion before the latest promotion that has not been rolled back yet.

    Keep all other changes made to the policy since then: a rollback must be possible when it is needed.

    Raises:
        PolicyError: if the policy file cannot be used.
        PromotionError: if there is nothing to roll back, the champion was changed by hand, or the champion before is no
            challenger any more.
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
    """Return the recorded changes of a policy file, oldest first; none if there is no record.

    Raises:
        PromotionError: if the record cannot be read.
    """
    path = _record(policy_file)
    try:
        return [CHANGE.validate_json(line) for line in path.read_bytes().removeprefix(MARK).splitlines()]
    except FileNotFoundError:
        return []
    except (OSError, ValueError):
        raise PromotionError(f"{path}: not a record of promotions: restore it, or move it away.") from None


def took_effect(recorded: list[Change], champion: str) -> list[Change]:
    """Return the recorded changes that were carried out and not undone by hand; `champion` is the present one.

    A change is recorded before it is made. It was not carried out if the next change, or the present policy, still has
    the champion from before it.
    """
    found = [*(change.before for change in recorded), champion][1:]
    return [change for change, then in zip(recorded, found, strict=True) if then != change.before]


def changed_champion(policy: Policy, name: str) -> Policy:
    """Return the policy with the challenger `name` as champion and the old champion in its place.

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
    """Record the change, then write the policy file; `took_effect` depends on this order."""
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
    """Return a policy file's text with the champion and challengers of `wanted`.

    Comments, order and line ends stay as they are. The result is parsed again as a check.

    Raises:
        ValueError: if the text cannot be edited, or if the result does not parse as `wanted`.
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
