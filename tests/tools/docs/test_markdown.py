from __future__ import annotations

from pathlib import Path

import pytest

from tools.docs.links import broken_links, missing_files
from tools.docs.markdown import Fence, anchors, fences


def test_a_fence_knows_its_language_and_the_line_of_its_text() -> None:
    """The first line of the text is the one behind the opening fence; more words of the language line do not count."""
    text = "# Title\n\n```console title=x\n$ one\ntwo\n```\n\n~~~\nplain\n~~~\n"
    assert list(fences(text)) == [Fence("console", "$ one\ntwo\n", 4), Fence("", "plain\n", 9)]


def test_headings_give_the_anchors_a_code_host_gives() -> None:
    """Lower case, hyphens for spaces, punctuation dropped, repeats numbered, ids in HTML as they are."""
    text = '# What is `forewarn`, then?\n\n## Twice\n\n## Twice\n\n<a id="Here"></a>\n'
    assert anchors(text) == {"what-is-forewarn-then", "twice", "twice-1", "Here"}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "guide.md").write_text("# A guide\n")
    (tmp_path / "a file.txt").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    "target",
    [
        "docs/guide.md",
        "docs/guide.md#a-guide",
        "docs/",
        "a%20file.txt",
        "#top",
        "https://example.org/docs/none.md",
        "mailto:somebody@example.org",
    ],
)
def test_a_link_that_leads_somewhere_is_let_through(repository: Path, target: str) -> None:
    """Files, folders, headings, escaped names; other hosts are not our business."""
    (repository / "README.md").write_text(f"# Top\n\nSee [this]({target}).\n")
    assert list(broken_links(repository, ["README.md"])) == []


@pytest.mark.parametrize(
    ("written", "line"),
    [
        ("See [this](docs/none.md).", 3),
        ("See [this](docs/guide.md#none).", 3),
        ("See [this](#none).", 3),
        ("See [this](../elsewhere.md).", 3),
        ("![picture](docs/none.png)", 3),
        ("| a | b |\n| --- | --- |\n| c | [this](docs/none.md) |", 5),
        ("[this]\n\n[this]: docs/none.md", 3),
    ],
)
def test_a_link_that_leads_nowhere_is_reported_with_its_line(repository: Path, written: str, line: int) -> None:
    """In text, pictures, tables and references alike."""
    (repository / "README.md").write_text(f"# Top\n\n{written}\n")
    (problem,) = broken_links(repository, ["README.md"])
    assert (problem.path, problem.line) == ("README.md", line)


def test_what_stands_in_a_code_block_is_no_link(repository: Path) -> None:
    """Examples may show links that lead nowhere."""
    (repository / "README.md").write_text("```text\n[this](docs/none.md)\n```\n\n`[this](docs/none.md)`\n")
    assert list(broken_links(repository, ["README.md"])) == []


@pytest.mark.parametrize("code", ["docs/none.md", "docs/old/guide.md", "pytest docs/none.md -k word"])
def test_a_path_named_as_code_that_leads_nowhere_is_reported(repository: Path, code: str) -> None:
    """Also where it is an argument of a command."""
    (repository / "README.md").write_text(f"# Top\n\nSee `{code}`.\n")
    (problem,) = missing_files(repository, ["README.md"])
    assert problem.line == 3


@pytest.mark.parametrize(
    "code", ["docs/guide.md", "docs/", "docs/NNNN-title.md", "out/docs/none.md", "other/none.md", "docs"]
)
def test_a_path_named_as_code_that_is_there_or_no_path_of_ours_is_let_through(repository: Path, code: str) -> None:
    """Patterns in capitals, outputs and other folders are not ours to check."""
    (repository / "README.md").write_text(f"# Top\n\nSee `{code}`.\n")
    assert list(missing_files(repository, ["README.md"])) == []
