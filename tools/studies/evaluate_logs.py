"""Replay and evaluation of the public logs: the source of every figure about them in docs/lab-book/datasets.md."""

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
"""Evaluations of a log besides that of its policy: a description, and options. `PUBLISHED` is the protocol of papers on
the Wikipedia log."""

LINES = (
    *("--text", "utterance", "--group", "match_id"),
    *("--label", "intent", "--positive", "E", "--positive", "I"),
)
"""Definition of a toxic line in CONDA, as options of `train-text`."""


class Asked(NamedTuple):
    """Arguments of the tools for the public logs: the folder of the logs, the folder for outputs, and the log names."""

    logs: Path
    out: Path
    names: tuple[str, ...]

    @property
    def found(self) -> list[str]:
        """Return the requested logs that exist."""
        return [name for name in self.names if log_of(self.logs, name).exists()]


def asked(description: str | None, out: str | None = None) -> Asked:
    """Return the command-line arguments of a tool for the public logs.

    `out` is the default folder for outputs; with None the tool has no such option.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("logs", type=Path, help="the folder that holds them, each in one of its own")
    parser.add_argument("--log", action="append", choices=NAMES, help="only this one; may be repeated")
    parser.set_defaults(out=Path())
    if out is not None:
        parser.add_argument("--out", type=Path, default=Path(out))
    arguments = parser.parse_args()
    return Asked(arguments.logs, arguments.out, tuple(arguments.log or NAMES))


def log_of(logs: Path, name: str) -> Path:
    """Return the file of a log in the folder of the logs."""
    return logs / name / "events.csv.gz"


def mapping_of(name: str) -> LogMapping:
    """Return the mapping from the columns of a log to events."""
    return LogMapping.load(Path(f"deploy/mappings/{name}.toml"))


def policy_of(name: str, champion: str) -> Policy:
    """Return the policy shipped for a log, with one of its models as champion."""
    policy = load_policy(Path(f"deploy/policies/{name}.toml"))
    return policy if policy.learning.champion == champion else changed_champion(policy, champion)


def main() -> int:
    """Replay and evaluate the requested logs that exist, and print the missing ones; return 1 if none exists."""
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
        click.echo(f"{name}: not in {arguments.logs}; docs/lab-book/datasets.md says where to get it", err=True)
    return 0 if found else 1


def replay(log: Path, name: str, policy: str, out: Path) -> None:
    """Replay a log with its mapping and a policy."""
    rules = ("--mapping", f"deploy/mappings/{name}.toml", "--policy", policy)
    forewarn("replay", log, *rules, "--out", out, "--top", 0)


def forewarn(*arguments: object) -> None:
    """Run a command of forewarn in another process.

    Raises:
        subprocess.CalledProcessError: if it fails.
    """
    subprocess.run([sys.executable, "-m", "dataflows.cli.main", *map(str, arguments)], check=True)


if __name__ == "__main__":
    sys.exit(main())
