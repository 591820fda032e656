"""Keep pasted output up to date: the topology in README.md, every help text in docs/reference/cli.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from click.testing import CliRunner

from tools.docs.commands import PROGRAM, commands
from tools.docs.repository import Problem, first_difference, line_of

README = "README.md"
CLI_PAGE = "docs/reference/cli.md"
_START, _END = "<!-- topology -->", "<!-- /topology -->"


class PasteError(Exception):
    """Output that cannot be produced, or that has no place in its document; the message is one sentence."""


def output_of(cli: click.Command, words: Sequence[str]) -> str:
    """Return the output of a command in a terminal 80 columns wide.

    Raises:
        PasteError: if the command fails.
    """
    result = CliRunner().invoke(cli, list(words), prog_name=PROGRAM)
    if result.exit_code:
        said = (result.stderr.strip() or repr(result.exception)).splitlines()[-1]
        raise PasteError(f"'{' '.join((PROGRAM, *words))}' ended with {result.exit_code}: {said}")
    return result.stdout.strip() + "\n"


def with_topology(readme: str, cli: click.Command) -> str:
    """Return the README with the current Mermaid topology between its two markers.

    Raises:
        PasteError: if the markers are not there once each and in order, or if the command fails.
    """
    if readme.count(_START) != 1 or readme.count(_END) != 1 or readme.index(_START) > readme.index(_END):
        raise PasteError(f"it needs '{_START}' and '{_END}', once each and in this order, around the topology.")
    before, rest = readme.split(_START)
    after = rest.split(_END)[1]
    return f"{before}{_START}\n\n```mermaid\n{output_of(cli, ['topology'])}```\n\n{_END}{after}"


def cli_page(cli: click.Command) -> str:
    """Return the page with every command's help."""
    parts = [
        "# The command line\n\n",
        "Written by `make docs` from what each command says of itself with `--help`; edit the commands instead.\n",
    ]
    for path, _ in commands(cli):
        parts.append(f"\n## {' '.join((PROGRAM, *path))}\n\n```text\n{output_of(cli, [*path, '--help'])}```\n")
    return "".join(parts)


def stale_topology(root: Path, cli: click.Command) -> Iterator[Problem]:
    """Yield a problem if the topology in the README is not that of the dataflow that runs."""
    readme = (root / README).read_text("utf-8")
    try:
        wanted = with_topology(readme, cli)
    except PasteError as error:
        yield Problem(README, line_of(readme, max(readme.find(_START), 0)), str(error))
        return
    if wanted != readme:
        yield Problem(README, first_difference(readme, wanted), "the topology is out of date; run 'make topology'.")


def stale_help(root: Path, cli: click.Command) -> Iterator[Problem]:
    """Yield a problem if the help in docs/reference/cli.md is not that which the commands print."""
    page = (root / CLI_PAGE).read_text("utf-8") if (root / CLI_PAGE).exists() else ""
    try:
        wanted = cli_page(cli)
    except PasteError as error:
        yield Problem(CLI_PAGE, 1, str(error))
        return
    if wanted != page:
        yield Problem(CLI_PAGE, first_difference(page, wanted), "the help is out of date; run 'make docs'.")


def write_topology(root: Path, cli: click.Command) -> None:
    """Paste the current topology into the README."""
    readme = root / README
    readme.write_text(with_topology(readme.read_text("utf-8"), cli), "utf-8")


def write_help(root: Path, cli: click.Command) -> None:
    """Write the current help of every command to docs/reference/cli.md."""
    page = cli_page(cli)
    (root / CLI_PAGE).parent.mkdir(parents=True, exist_ok=True)
    (root / CLI_PAGE).write_text(page, "utf-8")
