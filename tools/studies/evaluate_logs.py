"""Replays the public logs and evaluates each: every figure about them in docs/datasets.md comes from here."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import click

from dataflows.config.policy import load_policy
from dataflows.mapping.mapping import LogMapping
from dataflows.model_registry.promote import changed_champion
from detectors.policy.policy import Policy

NAMES = ("wikipedia_bans", "ubuntu_irc", "conda")
PUBLISHED = ("--question", "next", "--from-quantile", "0.85")
ALSO = {
    "wikipedia_bans": (("as papers ask it", PUBLISHED), ("as papers ask it", (*PUBLISHED, "--skip-first"))),
    "ubuntu_irc": (("in time to act", ("--ahead", "5m")),),
    "conda": (("at a player's first toxic line", ("--where", "report_count_7d=1", "--where", "report_since=absent")),),
}
"""What is asked of a log besides what its policy asks, in words and as options; papers ask `PUBLISHED` of Wikipedia."""

LINES = (
    *("--text", "utterance", "--group", "match_id"),
    *("--label", "intent", "--positive", "E", "--positive", "I"),
)
"""What a toxic line is in CONDA, for `train-text`."""


class Asked(NamedTuple):
    """What the tools for the public logs are told: where the logs are, where outputs go, and which logs."""

    logs: Path
    out: Path
    names: tuple[str, ...]

    @property
    def found(self) -> list[str]:
        """Those of the logs asked for that are there."""
        return [name for name in self.names if log_of(self.logs, name).exists()]


def asked(description: str | None, out: str | None = None) -> Asked:
    """What the command line of such a tool says; `out` is where outputs go if it says nothing, None without any."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("logs", type=Path, help="the folder that holds them, each in one of its own")
    parser.add_argument("--log", action="append", choices=NAMES, help="only this one; may be repeated")
    parser.set_defaults(out=Path())
    if out is not None:
        parser.add_argument("--out", type=Path, default=Path(out))
    arguments = parser.parse_args()
    return Asked(arguments.logs, arguments.out, tuple(arguments.log or NAMES))


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
    arguments = asked(__doc__, "out/evaluation")
    found = arguments.found
    for name in found:
        click.echo(f"== {name}")
        out, log = arguments.out / name, log_of(arguments.logs, name)
        replay(log, name, f"deploy/policies/{name}.toml", out)
        for words, options in ALSO[name]:
            click.echo(f"\n== {name} {words}: {' '.join(options)}")
            forewarn("evaluate", out, *options)
        click.echo(f"\n== {name} as the policy asks it")
        forewarn("evaluate", out)
        click.echo(f"\n== {name} with thresholds by promise")
        replay(log, name, f"deploy/policies/promised/{name}.toml", out / "promised")
        forewarn("evaluate", out / "promised", "--no-boosting")
        click.echo()
    if "conda" in found:
        click.echo("== conda: what its lines say, on matches that the scorer never saw")
        forewarn("train-text", log_of(arguments.logs, "conda"), *LINES, "--out", arguments.out / "conda" / "text.json")
    for name in sorted(set(arguments.names) - set(found)):
        click.echo(f"{name}: not in {arguments.logs}; docs/datasets.md says where to get it", err=True)
    return 0 if found else 1


def replay(log: Path, name: str, policy: str, out: Path) -> None:
    """Replay a log by its mapping and a policy."""
    rules = ("--mapping", f"deploy/mappings/{name}.toml", "--policy", policy)
    forewarn("replay", log, *rules, "--out", out, "--top", 0)


def forewarn(*arguments: object) -> None:
    """Run a command of forewarn; end with it if it fails."""
    subprocess.run([sys.executable, "-m", "dataflows.cli.main", *map(str, arguments)], check=True)


if __name__ == "__main__":
    sys.exit(main())
