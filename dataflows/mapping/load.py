"""Mapping files of every kind, by suffix."""

from __future__ import annotations

from pathlib import Path

from dataflows.mapping.mapping import LogMapping
from dataflows.mapping.sql import SqlMapping

Mapping = LogMapping | SqlMapping


def load_mapping(path: Path | str) -> Mapping:
    """Read a mapping file: SQL if its name ends in `.sql`, otherwise TOML.

    Raises:
        MappingError: with one sentence for each problem.
    """
    path = Path(path)
    return SqlMapping.load(path) if path.suffix.lower() == ".sql" else LogMapping.load(path)
