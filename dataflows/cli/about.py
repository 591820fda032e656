"""The commands `schemas` and `topology`."""

from __future__ import annotations

import click

from dataflows.runtime.console import say
from dataflows.topology import topology
from schemas.checks.check import check_all


@click.group("schemas")
def schemas_group() -> None:
    """Check the Avro schemas of every topic."""


@schemas_group.command("check")
def schemas_check() -> None:
    """Check that released schemas are unchanged, compatible with every earlier version, and agree with the corpus."""
    problems = check_all()
    for problem in problems:
        say(problem, err=True)
    if problems:
        raise click.exceptions.Exit(1)
    say("schemas: released files unchanged, versions compatible, corpus passes")


@click.command("topology")
def topology_command() -> None:
    """Print the dataflow as a Mermaid diagram."""
    for line in topology().splitlines():
        say(line)
