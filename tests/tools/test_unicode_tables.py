"""The tables of the text normalisation are what Unicode's own files say."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest

from detectors.text import unicode_tables
from detectors.text.normalise import plain
from tools import unicode_tables as tool

UCD = Path("/usr/share/unicode")
"""Where Debian's package unicode-data puts the files; `.ci/run` installs it."""


def version_of(folder: Path) -> str | None:
    """The version of the files in a folder, None where there are none."""
    file = folder / "DerivedCoreProperties.txt"
    found = re.search(r"DerivedCoreProperties-([0-9.]+)\.txt", file.read_text()[:200]) if file.is_file() else None
    return None if found is None else found[1]


installed = pytest.mark.skipif(
    version_of(UCD) != unicode_tables.VERSION,
    reason=f"the files of Unicode {unicode_tables.VERSION} are not installed (Debian: unicode-data)",
)


@installed
def test_the_tables_are_those_that_the_files_give() -> None:
    """Byte for byte, so that nobody mends them by hand."""
    assert tool.TARGET.read_text() == tool.module(UCD, tool.KEPT)


@installed
def test_everything_that_the_files_call_ignorable_is_left_out() -> None:
    """And everything of the categories that nobody sees, but for white space and the marks that spell a word."""
    points = tool.properties(UCD / "DerivedCoreProperties.txt", "Default_Ignorable_Code_Point")
    kinds = tool.categories(UCD)
    points |= {point for point, kind in kinds.items() if kind in ("Mn", "Me", "Cf", "Cc")} - tool.white_space(UCD)
    assert len(points) > 5_000
    assert [f"{point:x}" for point in points if plain(f"ki{chr(point)}ll") != "kill"] == []


@installed
def test_python_knows_no_other_characters_than_the_tables_do() -> None:
    """Python's own tables are of this version or of an older one, so that no character is of two kinds."""
    kinds = tool.categories(UCD)
    assert tuple(map(int, unicodedata.unidata_version.split("."))) <= tuple(map(int, unicode_tables.VERSION.split(".")))
    differing = [
        f"{point:x}"
        for point, kind in kinds.items()
        if (known := unicodedata.category(chr(point))) not in ("Cn", kind) and "M" in known[:1] + kind[:1]
    ]
    assert differing == []


def test_a_tool_that_is_told_no_folder_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one sentence."""
    monkeypatch.setattr("sys.argv", ["unicode_tables"])
    with pytest.raises(SystemExit, match="say where the Unicode files are"):
        tool.main()
