"""Replays the public logs and evaluates each: every figure about them in docs/datasets.md comes from here."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import click

NAMES = ("wikipedia_bans", "ubuntu_irc", "conda")
PUBLISHED = ("--question", "next", "--from-quantile", "0.85")
"""The split and the label that papers on the Wikipedia log use."""


def main() -> int:
    """Replay and evaluate the logs that are there, and say which are not; 1 if none is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("logs", type=Path, help="the folder that holds them, each in one of its own")
    parser.add_argument("--out", type=Path, default=Path("out/evaluation"))
    arguments = parser.parse_args()
    found = [name for name in NAMES if (arguments.logs / name / "events.csv.gz").exists()]
    for name in found:
        click.echo(f"== {name}")
        out, log = arguments.out / name, arguments.logs / name / "events.csv.gz"
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
