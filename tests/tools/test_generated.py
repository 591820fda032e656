"""Generated blocks: the code fills the columns it knows, the page keeps the others, the check finds differences."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.docs.facts import FACTS, Facts, alternatives, default_of, type_of
from tools.docs.generated import UnknownBlockError, stale_blocks, with_facts, write_blocks

ROOT = Path(__file__).resolve().parents[2]
PAGE = (
    "# Page\n\n<!-- generated: keys -->\n| key | meaning |\n|---|---|\n| `a` | first \\| best |\n| `gone` | old |\n"
    "<!-- /generated -->\n\nThe end.\n"
)
SOURCES = {
    "keys": lambda: Facts(
        ("key", "default", "meaning"), [{"key": "`a`", "default": "1"}, {"key": "`b`", "default": "2"}]
    ),
    "words": lambda: "A sentence.",
}


def written(page: str) -> str:
    return with_facts(page, SOURCES)


def test_the_code_fills_its_columns_and_the_page_keeps_its_own() -> None:
    """A row that is no more goes; the text around the block stays."""
    page = written(PAGE)
    assert "| `a` | 1 | first \\| best |\n| `b` | 2 |  |\n" in page
    assert "gone" not in page
    assert page.startswith("# Page\n\n<!-- generated: keys -->\n\n| key | default | meaning |")
    assert page.endswith("<!-- /generated -->\n\nThe end.\n")


def test_writing_twice_changes_nothing() -> None:
    """Also for a block of text."""
    once = written(f"{PAGE}\n<!-- generated: words -->\n<!-- /generated -->\n")
    assert written(once) == once
    assert "\n\nA sentence.\n\n" in once


def test_a_page_that_is_out_of_date_is_a_problem_at_its_line(tmp_path: Path) -> None:
    """A default that changed is found, and writing mends it."""
    (tmp_path / "page.md").write_text(written(PAGE).replace("| 1 |", "| 7 |").replace("| 2 |  |", "| 2 | second |"))
    (problem,) = stale_blocks(tmp_path, ["page.md"], SOURCES)
    assert (problem.line, "make docs" in problem.sentence) == (7, True)
    write_blocks(tmp_path, ["page.md"], SOURCES)
    assert list(stale_blocks(tmp_path, ["page.md"], SOURCES)) == []


def test_a_row_without_a_word_is_a_problem(tmp_path: Path) -> None:
    """A key that nobody has described is named."""
    (tmp_path / "page.md").write_text(written(PAGE))
    (problem,) = stale_blocks(tmp_path, ["page.md"], SOURCES)
    assert problem.line == 8
    assert "`b`" in problem.sentence


def test_a_block_of_unknown_facts_is_refused(tmp_path: Path) -> None:
    """By the writer and by the check."""
    page = "<!-- generated: none -->\n<!-- /generated -->\n"
    (tmp_path / "page.md").write_text(page)
    with pytest.raises(UnknownBlockError, match="'none'"):
        written(page)
    assert len(list(stale_blocks(tmp_path, ["page.md"], SOURCES))) == 1


def test_every_fact_there_is_stands_on_a_page() -> None:
    """No table of the code goes undocumented."""
    pages = "".join(path.read_text("utf-8") for path in (ROOT / "docs").rglob("*.md"))
    assert [name for name in FACTS if f"<!-- generated: {name} -->" not in pages] == []


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 5}, "1 to 5"),
        ({"type": "integer", "exclusiveMinimum": 0}, "1 or more"),
        ({"type": "number", "exclusiveMinimum": 0.0, "maximum": 1.0}, "above 0, at most 1"),
        ({"type": "number", "exclusiveMinimum": 0.0, "exclusiveMaximum": 1.0}, "above 0, below 1"),
        ({"type": "number", "minimum": 0.5, "exclusiveMaximum": 1.0}, "0.5 to below 1"),
        ({"type": "number", "exclusiveMinimum": 0}, "a number above 0"),
        ({"type": "integer", "ge": 0}, "duration"),
        ({"anyOf": [{"type": "integer", "ge": 0, "gt": 0}, {"type": "null"}]}, "duration above 0"),
        ({"type": "boolean"}, "true or false"),
        ({"enum": ["a", "b", "c"], "type": "string"}, '`"a"`, `"b"` or `"c"`'),
        ({"type": "string", "format": "password"}, "secret text"),
        ({"type": "string", "format": "file-path"}, "path"),
        ({"type": "string", "minLength": 1, "maxLength": 9}, "text, 1 to 9 characters"),
        ({"$ref": "#/$defs/Other"}, "section"),
    ],
)
def test_types_and_bounds_are_said_in_words(schema: dict[str, object], said: str) -> None:
    """Of everything that policies and settings hold."""
    assert type_of("key", schema) == said


def test_a_single_alternative_stands_alone() -> None:
    """Without an 'or'."""
    assert alternatives(["only"]) == '`"only"`'


def test_defaults_are_stated_as_a_file_would() -> None:
    """Durations with a unit, lists as TOML, what must be given as needed."""
    from detectors.policy.sections import LearningPolicy, TargetPolicy  # noqa: PLC0415 - two sections to ask

    learning, target = LearningPolicy.model_fields, TargetPolicy.model_fields
    assert default_of(learning["publish_every"], "duration above 0") == '`"10m"`'
    assert default_of(learning["challengers"], "list of models and variants") == '`["bayes"]`'
    assert (default_of(target["horizon"], "duration"), default_of(target["reset_after"], "duration")) == (
        "needed",
        "none",
    )
