"""Parsing of policies, with checks across their sections."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from detectors.features.catalogue import NAMES
from detectors.policy.policy import Policy
from detectors.policy.river_classes import classifier_from
from detectors.policy.sections import STACK, RiverPolicy, VariantPolicy

TAKEN = ("as_of", "challengers", "champion", "event_id", "newness", "pinned", "seq", "user_id")
"""Names beside those of models in the outputs of a replay; no variant can have one of them."""


MODEL_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")
"""The pattern of a variant's name, which is also the name of a file and of a column."""


def parse_policy(data: dict[str, Any], known_rules: Collection[str], models: Mapping[str, Collection[str]]) -> Policy:
    """Return the policy in a parsed TOML document; `models` maps each known model to the features it reads.

    Raises:
        ValueError: (pydantic's ValidationError is one) if a value is wrong, or a rule or model does not exist.
    """
    policy = Policy.model_validate(data)
    _known("rule", policy.rules, known_rules)
    for name, variant in policy.variants.items():
        _check_variant(name, variant, known_rules, models)
    for name in (STACK, *policy.variants):
        _check_members(policy, name, models)
    for name, river in policy.models.items():
        _check_river(name, river, {*known_rules, *models, *policy.variants})
    known = {*models, *policy.variants, *policy.models}
    _known("model", [policy.learning.champion, *policy.learning.challengers], known)
    if policy.learning.champion in policy.learning.challengers:
        raise ValueError(f"model {policy.learning.champion!r} is champion and challenger: name it once")
    return policy


def _check_variant(name: str, variant: VariantPolicy, rules: Collection[str], models: Collection[str]) -> None:
    _check_name(f"variants.{name}", name, {*models, *rules})
    _known("model", [variant.model], models, f"variants.{name}: ")
    if variant.members is not None and variant.model != STACK:
        raise ValueError(f"variants.{name}: {variant.model} has no members: leave them out, or make it a {STACK}")
    if not variant.ignore and variant.members is None:
        raise ValueError(f"variants.{name} is {variant.model} itself: say what it is to ignore")
    for pattern in variant.ignore:
        if not any(fnmatchcase(feature, pattern) for feature in NAMES):
            raise ValueError(
                f"variants.{name}: {pattern!r} matches no feature: docs/reference/features.md names them all"
            )


def _check_river(name: str, river: RiverPolicy, named: Collection[str]) -> None:
    _check_name(f"models.{name}", name, named)
    try:
        classifier_from(river.river, river.parameters)
    except ValueError as error:
        raise ValueError(f"models.{name}: {error}") from None


def _check_name(where: str, name: str, named: Collection[str]) -> None:
    """Check that the name of a variant or a River model is free, and can be the name of a file and of a column."""
    if name in named:
        raise ValueError(f"{where} is named like a model or a rule: give it a name of its own")
    if name in TAKEN or not MODEL_NAME.fullmatch(name):
        raise ValueError(f"{where} cannot be called that: use letters, digits and _, and none of {', '.join(TAKEN)}")


def _known(kind: str, asked: Iterable[str], known: Collection[str], where: str = "") -> None:
    if unknown := sorted(set(asked) - set(known)):
        raise ValueError(f"{where}unknown {kind} {unknown[0]!r}: choose from {', '.join(sorted(known))}")


def _check_members(policy: Policy, name: str, models: Mapping[str, Collection[str]]) -> None:
    variant, members = policy.variants.get(name), policy.members(name)
    where = name if variant is None else f"variants.{name}"
    stacks = {STACK, *(other for other in policy.variants if policy.members(other))}
    if twice := sorted({member for member in members if members.count(member) > 1}):
        raise ValueError(f"{where} names its member {twice[0]!r} twice: name it once")
    _known("member", members, {*models, *policy.variants} - stacks, f"{where}: ")
    for part in members or (variant.model if variant else name,):
        left_out = [one for one in (variant, policy.variants.get(part)) if one]
        reads = models[left_out[-1].model if part in policy.variants else part]
        if all(any(one.ignores(feature) for one in left_out) for feature in reads):
            raise ValueError(f"{where} leaves {part} nothing to read: ignore less")
