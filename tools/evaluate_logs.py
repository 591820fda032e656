"""Replays the public logs and evaluates each: every figure about them in docs/datasets.md comes from here."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from dataflows.mapping import LogMapping
from dataflows.policy_file import load_policy
from dataflows.promote import changed_champion
from detectors.policy import Policy

NAMES = ("wikipedia_bans", "ubuntu_irc", "conda")
PUBLISHED = ("--question", "next", "--from-quantile", "0.85")
"""The split and the label that papers on the Wikipedia log use."""


def present(logs: Path, asked: Sequence[str] = NAMES) -> list[str]:
    """Those of the logs that are in the folder."""
    return [name for name in asked if log_of(logs, name).exists()]


def log_of(logs: Path, name: str) -> Path:
    """The file of a log in the folder that holds them."""
    return logs / name / "events.csv.gz"


def mapping_of(name: str) -> LogMapping:
    """How the columns of a log become events."""
    return LogMapping.load(Path(f"deploy/mappings/{name}.toml"))


def policy_of(name: str, champion: str) -> Policy:
    """The policy that comes along for a log, with one of its models as champion."""
    policy = load_policy(Path(f"deploy/policies/{name}.toml"))
    return policy if policy.learning.champion == champion else changed_champion(policy, champion)


def main() -> int:
    """Replay and evaluate the logs that are there, and say which are not; 1 if none is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("logs", type=Path, help="the folder that holds them, each in one of its own")
    parser.add_argument("--out", type=Path, default=Path("out/evaluation"))
    arguments = parser.parse_args()
    found = present(arguments.logs)
    for name in found:
        click.echo(f"== {name}")
        out, log = arguments.out / name, log_of(arguments.logs, name)
        replay(log, name, f"deploy/policies/{name}.toml", out)
        if name == "wikipedia_bans":
            for also in ((), ("--skip-first",)):
                click.echo(f"\n== {name} as papers ask it: {' '.join((*PUBLISHED, *also))}")
                forewarn("evaluate", out, *PUBLISHED, *also)
            click.echo(f"\n== {name} as the policy asks it")
        forewarn("evaluate", out)
        click.echo(f"\n== {name} with thresholds by promise")
        replay(log, name, f"deploy/policies/promised/{name}.toml", out / "promised")
        forewarn("evaluate", out / "promised", "--no-boosting")
        click.echo()
    for name in sorted(set(NAMES) - set(found)):
        click.echo(f"{name}: not in {arguments.logs}; docs/datasets.md says where to get it", err=True)
    return 0 if found else 1


def replay(log: Path, name: str, policy: str, out: Path) -> None:
    """Replay a log by its mapping and a policy."""
    rules = ("--mapping", f"deploy/mappings/{name}.toml", "--policy", policy)
    forewarn("replay", log, *rules, "--out", out, "--top", 0)


def forewarn(*arguments: object) -> None:
    """Run a command of forewarn; end with it if it fails."""
    subprocess.run([sys.executable, "-m", "dataflows.cli", *map(str, arguments)], check=True)


if __name__ == "__main__":
    sys.exit(main())
