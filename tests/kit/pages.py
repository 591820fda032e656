"""The pages in docs/ as their tests read them: text, and tables by the heading they stand under."""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from tests.kit.paths import ROOT
from tools.docs.generated import cells


class Table(NamedTuple):
    """A table of a page: the heading it stands under, its columns' names, its rows."""

    heading: str
    columns: list[str]
    rows: list[list[str]]


@cache
def text(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


@cache
def tables(page: str) -> tuple[Table, ...]:
    found: list[Table] = []
    heading, table = "", None
    for line in text(page).splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        if not line.startswith("|"):
            table = None
        elif table is None:
            table = Table(heading, cells(line), [])
            found.append(table)
        elif not re.fullmatch(r"[|\- ]+", line):
            table.rows.append(cells(line))
    return tuple(found)


def table(page: str, heading: str, first: str) -> list[list[str]]:
    """The rows of the one table under a heading whose first column has this name."""
    (only,) = [found for found in tables(page) if found.heading == heading and found.columns[0] == first]
    return only.rows


def first_cells(page: str, heading: str, first: str) -> list[str]:
    return [row[0].strip("`") for row in table(page, heading, first)]
