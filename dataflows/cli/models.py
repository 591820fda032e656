"""The `models` commands: promote a challenger, roll back a promotion, show both."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from dataflows.cli.common import FILE
from dataflows.config.policy import load_policy
from dataflows.model_registry.promote import Change, changes, promote, roll_back, took_effect
from dataflows.model_registry.promotion_check import WORDS
from dataflows.runtime.console import say

POLICY = click.option("--policy", "policy_file", type=FILE, required=True, help="The policy file that is changed.")


@click.group("models")
def models_group() -> None:
    """Promote, roll back and show models: the champion and its challengers."""


@models_group.command("promote")
@click.argument("name")
@POLICY
@click.option("--evidence", type=FILE, required=True, help="What `forewarn compare RUN_A RUN_B --json` printed.")
@click.option(
    "--by",
    type=click.Choice(["average_precision", "roc_auc"]),
    default="average_precision",
    show_default=True,
    help="The figure that has to be better.",
)
def promote_command(name: str, policy_file: Path, evidence: Path, by: Any) -> None:
    """Make the challenger NAME the champion of a policy, if the evidence shows that it ranks better.

    RUN_A is a replay under the policy as it is, RUN_B one of the same log with --champion NAME. The whole interval of
    NAME's lead must lie above zero, and its probabilities must be calibrated. The old champion becomes a challenger.
    """
    _tell(policy_file, promote(policy_file, name, evidence, by))


@models_group.command("rollback")
@POLICY
def rollback_command(policy_file: Path) -> None:
    """Bring back the champion before the latest promotion that still stands."""
    _tell(policy_file, roll_back(policy_file))


@models_group.command("show")
@click.option("--policy", "policy_file", type=FILE, required=True, help="The policy file.")
def show_command(policy_file: Path) -> None:
    """Show a policy's champion and challengers, and the promotions recorded beside the file."""
    policy = load_policy(policy_file)
    say(f"champion {policy.learning.champion}")
    say(f"challengers {', '.join(policy.learning.challengers) or 'none'}")
    recorded = changes(policy_file)
    standing = took_effect(recorded, policy.learning.champion)
    for change in recorded:
        when = datetime.fromtimestamp(change.at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        say(f"{when} {change.what}: {change.before} -> {change.after}{_because(change)}{_undone(change, standing)}")


def _undone(change: Change, standing: list[Change]) -> str:
    return "" if change in standing else " (not carried out, or undone by hand)"


def _because(change: Change) -> str:
    if change.evidence is None:
        return ""
    lead = f"{change.evidence['lead']['value']:+.4f}"
    return f" by {WORDS[change.evidence['by']]}, {lead} on {change.evidence['log']}"


def _tell(policy_file: Path, change: Change) -> None:
    say(f"{policy_file}: the champion was {change.before} and is {change.after}{_because(change)}")
    say("A deployment follows at its next start.")
