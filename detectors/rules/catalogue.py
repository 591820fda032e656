"""The rules that a policy can name, and the rules that a policy enables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from detectors.policy.sections import RulePolicy
from detectors.rules.base import Rule
from detectors.rules.many_strangers import ManyStrangers
from detectors.rules.repeated_text import RepeatedText
from detectors.rules.report_burst import ReportBurst
from detectors.rules.velocity import Velocity
from schemas.records.decisions import Tier

RULES: dict[str, type[Rule]] = {rule.name: rule for rule in (Velocity, ReportBurst, RepeatedText, ManyStrangers)}


class ActiveRule(NamedTuple):
    """An enabled rule, and the tier it raises to."""

    rule: Rule
    tier: Tier


def active_rules(rules: Mapping[str, RulePolicy]) -> tuple[ActiveRule, ...]:
    """Return the enabled ones of a policy's rules, sorted by name."""
    return tuple(
        ActiveRule(RULES[name](settings.limit), settings.tier)
        for name, settings in sorted(rules.items())
        if settings.enabled
    )
