"""The examples of the how-to page for mappings in SQL and Python give the events that the page shows."""

from __future__ import annotations

import gzip
import json
import os
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataflows.mapping.load import load_mapping
from dataflows.sources.files.log import Item, read_log
from schemas.codec.inputs import Codec
from schemas.records.base import Raw
from schemas.records.rejects import Reject
from tests.kit.paths import ROOT

PAGE = ROOT / "docs" / "how-to" / "map-any-log.md"
WRITE = "FOREWARN_WRITE_EXAMPLES"
"""Variable that makes the test write the events into the page instead of comparing them."""
_BLOCK = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def examples() -> dict[str, list[tuple[str, str]]]:
    """The titled blocks below each heading of the third level."""
    parts = re.split(r"^### (.*)\n", PAGE.read_text("utf-8"), flags=re.MULTILINE)[1:]
    return {heading: _BLOCK.findall(part) for heading, part in zip(parts[::2], parts[1::2], strict=True)}


def write(path: Path, content: str) -> None:
    """Write an input in the form that its name asks for."""
    path.parent.mkdir(exist_ok=True)
    data = content.encode("latin-1" if ".latin1." in path.name else "utf-8")
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(data))
    elif path.suffix == ".zst":
        with pa.output_stream(str(path), compression="zstd") as stream:
            stream.write(data)
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([json.loads(line) for line in content.splitlines()]), path)
    else:
        path.write_bytes(data)


def shown(item: Item) -> str:
    """An event or reject as the page shows it."""
    if isinstance(item, Reject):
        return json.dumps({"reject": item.detail})
    value: Any = item.value
    return json.dumps({key: one for key, one in value.items() if one == one}, ensure_ascii=False)  # noqa: PLR0124


@pytest.mark.parametrize("heading", examples())
def test_an_example_gives_the_events_that_it_shows(heading: str, tmp_path: Path) -> None:
    """Twice the same, and every record is one that forewarn accepts, apart from parts that are unreadable."""
    blocks = dict(examples()[heading])
    file = "mapping.py" if "mapping.py" in blocks else "mapping.sql"
    mapping, events = blocks.pop(file), blocks.pop("events")
    (tmp_path / file).write_text(mapping)
    log = tmp_path / "log"
    log.mkdir()
    for name, content in blocks.items():
        write(log / name, content)
    read = load_mapping(tmp_path / file)
    source = log if len(blocks) > 1 else log / next(iter(blocks))
    items = list(read_log(source, read))
    assert [repr(item) for item in read_log(source, read)] == [repr(item) for item in items]
    assert not [found for item in items if isinstance(item, Raw) and isinstance(found := Codec().decode(item), Reject)]
    lines = "".join(f"{shown(item)}\n" for item in items)
    if os.environ.get(WRITE):
        page = PAGE.read_text("utf-8")
        head, found, tail = page.partition(f"### {heading}\n")
        PAGE.write_text(head + found + tail.replace(f'title="events"\n{events}```', f'title="events"\n{lines}```', 1))
        return
    assert lines == events


def test_every_example_has_inputs_a_mapping_and_events() -> None:
    """So that none is left out of the test."""
    assert len(examples()) >= 10
    for heading, blocks in examples().items():
        titles = [title for title, _ in blocks]
        assert "events" in titles, heading
        assert len({"mapping.sql", "mapping.py"} & set(titles)) == 1, heading
        assert len(titles) == len(set(titles)), heading
