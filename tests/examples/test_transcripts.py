"""Pasted transcripts: the pages show what the commands print today."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.paths import ROOT
from tools.docs.transcripts import TranscriptError, commands, with_transcripts

pytestmark = pytest.mark.slow

PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md") if "<!-- run -->" in path.read_text("utf-8"))


def test_a_block_holds_commands_and_what_they_printed() -> None:
    """Lines that end in a backslash go on; output is not typed."""
    assert commands("$ one \\\n  two\nprinted\n$ three\n") == ["one \\\n  two", "three"]


def test_transcripts_are_run_anew_and_share_a_directory(tmp_path: Path) -> None:
    """Other blocks are left alone."""
    (tmp_path / "examples").mkdir()
    (tmp_path / "deploy").mkdir()
    first = "<!-- run -->\n```console\n$ echo a > f\nold\n```\n\n```console\n$ kept\n```\n\n"
    page = f"{first}<!-- run -->\n```console\n$ cat f\n```\n"
    assert with_transcripts(page, tmp_path) == page.replace("\nold", "").replace("$ cat f\n", "$ cat f\na\n")


def test_a_command_that_fails_is_told_with_its_last_line(tmp_path: Path) -> None:
    """Nothing is pasted then."""
    page = "<!-- run -->\n```console\n$ echo no >&2; false\n```\n"
    with pytest.raises(TranscriptError, match="ended with 1 and said: no"):
        with_transcripts(page, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_every_transcript_is_what_the_commands_print(page: Path) -> None:
    """Run `make docs` to paste them anew."""
    text = page.read_text("utf-8")
    assert with_transcripts(text, ROOT) == text
