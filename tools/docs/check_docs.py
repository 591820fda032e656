"""Checks of the documents against the code: `python -m tools.docs.check_docs`.

The command prints one line per problem, `file:line: sentence`, and exits with status 1 if there is any. With `--write`
it checks nothing and updates pasted output instead.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from dataflows.cli.main import main as forewarn
from tools.docs.commands import undocumented_commands, unknown_commands
from tools.docs.forbidden import forbidden_strings
from tools.docs.generated import UnknownBlockError, stale_blocks, write_blocks
from tools.docs.links import broken_links, missing_files
from tools.docs.pasted import CLI_PAGE, README, PasteError, stale_help, stale_topology, write_help, write_topology
from tools.docs.repository import ROOT, Problem, own_files
from tools.docs.transcripts import TranscriptError, with_transcripts


def _write_facts(root: Path, _cli: click.Command) -> None:
    write_blocks(root, pages(own_files(root)))


def _write_transcripts(root: Path, _cli: click.Command) -> None:
    for name in pages(own_files(root)):
        page = (root / name).read_text("utf-8")
        if (wanted := with_transcripts(page, root)) != page:
            (root / name).write_text(wanted, "utf-8")


_WRITERS = {"topology": write_topology, "help": write_help, "facts": _write_facts, "transcripts": _write_transcripts}


def pages(names: list[str]) -> list[str]:
    """Return the documents that may hold generated blocks: those of the site."""
    return [name for name in names if name.startswith("docs/") and name.endswith(".md")]


def problems(root: Path, cli: click.Command) -> Iterator[Problem]:
    """Yield every problem of the documents below `root`; `cli` is their command line."""
    files = own_files(root)
    yield from forbidden_strings(root, files)
    documents = [name for name in files if name.endswith(".md")]
    yield from broken_links(root, documents)
    if README not in documents:
        yield Problem(README, 1, "there is no README.md; write one.")
        return
    # The changelog is correct for past releases, so it is not checked.
    yield from missing_files(root, [name for name in documents if name != "CHANGELOG.md"])
    yield from unknown_commands(root, [name for name in documents if name != "CHANGELOG.md"], cli)
    # The page of help texts is generated and names every command, so it does not count as documentation of any.
    guides = [name for name in documents if name == README or (name.startswith("docs/") and name != CLI_PAGE)]
    yield from undocumented_commands(root, guides, cli)
    yield from stale_topology(root, cli)
    yield from stale_help(root, cli)
    yield from stale_blocks(root, pages(files))


@click.command()
@click.option(
    "--write", type=click.Choice(sorted(_WRITERS)), multiple=True, help="Paste this anew instead of checking."
)
def main(write: tuple[str, ...]) -> None:
    """Check README.md, docs/ and every other document against the commands and files they mention."""
    try:
        for what in write:
            _WRITERS[what](ROOT, forewarn)
    except (PasteError, UnknownBlockError, TranscriptError, OSError) as error:
        raise click.ClickException(f"Nothing could be pasted: {error}") from error
    found = [] if write else list(problems(ROOT, forewarn))
    for problem in found:
        click.echo(str(problem), err=True)
    if found:
        sys.exit(1)


if __name__ == "__main__":
    main()
