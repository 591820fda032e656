"""Blocks of a page that come from the code, between `<!-- generated: NAME -->` and `<!-- /generated -->`.

A block is a section of text, or a table in which the code fills the columns it knows and the page keeps the others.
`make docs` writes the blocks; the check finds those that are out of date, and cells that nobody has filled.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from tools.docs.facts import FACTS, Facts, Made
from tools.docs.repository import Problem, first_difference, line_of

_BLOCK = re.compile(r"<!-- generated: (?P<name>[\w-]+) -->\n(?P<body>.*?)<!-- /generated -->", re.DOTALL)
Sources = Mapping[str, Callable[[], Made]]
_CELLS = re.compile(r"(?<!\\)\|")


class UnknownBlockError(Exception):
    """A page asks for facts that there are none of; the message is one sentence."""


def cells(line: str) -> list[str]:
    """Split a row of a table."""
    return [cell.strip() for cell in _CELLS.split(line.strip().removeprefix("|").removesuffix("|"))]


def with_facts(page: str, facts: Sources = FACTS) -> str:
    """Return the page with every block as the code has it now.

    Raises:
        UnknownBlockError: if a block has a name that is not among the facts.
    """

    def block(found: re.Match[str]) -> str:
        name = found["name"]
        if name not in facts:
            raise UnknownBlockError(f"there are no facts called {name!r}; tools/docs/facts.py has those there are.")
        made = facts[name]()
        body = made if isinstance(made, str) else _table(made, found["body"])
        return f"<!-- generated: {name} -->\n\n{body.strip()}\n\n<!-- /generated -->"

    return _BLOCK.sub(block, page)


def _table(facts: Facts, page: str) -> str:
    kept = _kept(page)
    lines = [f"| {' | '.join(facts.columns)} |", "|" + "---|" * len(facts.columns)]
    for row in facts.rows:
        written = kept.get(row[facts.columns[0]], {})
        lines.append(f"| {' | '.join(row.get(column, written.get(column, '')) for column in facts.columns)} |")
    return "\n".join(lines) + "\n"


def _kept(page: str) -> dict[str, dict[str, str]]:
    """Return the cells of the table that a block contains, by the first cell of the row and by column."""
    rows = [cells(line) for line in page.splitlines() if line.startswith("|")]
    return {row[0]: dict(zip(rows[0], row, strict=False)) for row in rows[2:]}


def stale_blocks(root: Path, pages: Iterable[str], facts: Sources = FACTS) -> Iterator[Problem]:
    """Yield a problem for each page whose blocks are not as the code has them, and for each row without a word."""
    for name in pages:
        page = (root / name).read_text("utf-8")
        try:
            wanted = with_facts(page, facts)
        except UnknownBlockError as error:
            yield Problem(name, 1, str(error))
            continue
        if wanted != page:
            yield Problem(name, first_difference(page, wanted), "a generated block is out of date; run 'make docs'.")
        yield from _unsaid(name, page, facts)


def _unsaid(name: str, page: str, facts: Sources) -> Iterator[Problem]:
    """Yield a problem for each row whose first column that only the page can fill is empty."""
    for block in _BLOCK.finditer(page):
        made = facts[block["name"]]()
        missing = [] if isinstance(made, str) else [c for c in made.columns if not any(c in row for row in made.rows)]
        if not missing or isinstance(made, str):
            continue
        column, start = made.columns.index(missing[0]), line_of(page, block.start())
        for number, line in enumerate(block[0].splitlines()):
            row = cells(line) if line.startswith("|") else []
            if len(row) == len(made.columns) and not row[column]:
                yield Problem(name, start + number, f"the cell {missing[0]!r} of {row[0]} is empty; fill it.")


def write_blocks(root: Path, pages: Iterable[str], facts: Sources = FACTS) -> None:
    """Write every generated block as the code has it now."""
    for name in pages:
        path = root / name
        page = path.read_text("utf-8")
        wanted = with_facts(page, facts)
        if wanted != page:
            path.write_text(wanted, "utf-8")
