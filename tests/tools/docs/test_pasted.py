from __future__ import annotations

from pathlib import Path

import click
import pytest

from tools.docs.pasted import (
    CLI_PAGE,
    PasteError,
    stale_help,
    stale_topology,
    with_topology,
    write_help,
    write_topology,
)

README = "# Title\n\n<!-- topology -->\nold\n<!-- /topology -->\n\nThe end.\n"


def made(diagram: str = "flowchart TD", *, fails: bool = False) -> click.Group:
    """A command line that draws this diagram, or that cannot."""
    cli = click.Group(help="All of it.")

    @cli.command("topology", help="Draw.")
    def topology() -> None:
        if fails:
            raise click.ClickException("There is no flow.")
        click.echo(diagram)

    return cli


def test_the_topology_goes_between_its_markers_and_touches_nothing_else(tmp_path: Path) -> None:
    """What is pasted is found to be up to date, until the flow changes."""
    (tmp_path / "README.md").write_text(README)
    assert len(list(stale_topology(tmp_path, made()))) == 1
    write_topology(tmp_path, made())
    written = (tmp_path / "README.md").read_text()
    assert written == README.replace("\nold\n", "\n\n```mermaid\nflowchart TD\n```\n\n")
    assert list(stale_topology(tmp_path, made())) == []
    (problem,) = stale_topology(tmp_path, made("flowchart LR"))
    assert problem.line == 6


@pytest.mark.parametrize(
    "readme",
    ["", "<!-- topology -->\n", "<!-- /topology --><!-- topology -->", README + README],
)
def test_a_readme_without_a_place_for_the_topology_is_refused(tmp_path: Path, readme: str) -> None:
    """Missing, reversed and repeated markers are a problem to mend, and nothing is written."""
    (tmp_path / "README.md").write_text(readme)
    with pytest.raises(PasteError, match="once each"):
        with_topology(readme, made())
    assert len(list(stale_topology(tmp_path, made()))) == 1


def test_a_command_that_fails_is_a_problem_with_its_own_words(tmp_path: Path) -> None:
    """No traceback is ever pasted."""
    (tmp_path / "README.md").write_text(README)
    (problem,) = stale_topology(tmp_path, made(fails=True))
    assert "There is no flow." in problem.sentence


def test_the_page_of_help_texts_is_checked_against_the_commands(tmp_path: Path) -> None:
    """A missing page, a changed help and a new command are each noticed; a page just written is right."""
    assert len(list(stale_help(tmp_path, made()))) == 1
    write_help(tmp_path, made())
    assert list(stale_help(tmp_path, made())) == []
    page = tmp_path / CLI_PAGE
    assert "## forewarn topology" in page.read_text()
    assert "Usage: forewarn topology [OPTIONS]" in page.read_text()
    page.write_text(page.read_text().replace("Draw.", "Paint."))
    (problem,) = stale_help(tmp_path, made())
    assert "Paint." in page.read_text().splitlines()[problem.line - 1]
    write_help(tmp_path, made())
    cli = made()
    cli.command("new")(lambda: None)
    assert len(list(stale_help(tmp_path, cli))) == 1
