"""Mapping files of every kind, by suffix."""

from __future__ import annotations

from pathlib import Path

from dataflows.mapping.mapping import LogMapping
from dataflows.mapping.python import PythonMapping
from dataflows.mapping.sql import SqlMapping

Mapping = LogMapping | SqlMapping | PythonMapping


def load_mapping(path: Path | str) -> Mapping:
    """Read a mapping file: SQL if its name ends in `.sql`, Python if in `.py`, which runs it, otherwise TOML.

    Raises:
        MappingError: with one sentence for each problem.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind == ".sql":
        return SqlMapping.load(path)
    return PythonMapping.load(path) if kind == ".py" else LogMapping.load(path)
