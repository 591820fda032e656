"""Mapping files in SQL: SELECT statements that name the canonical columns of events.

DuckDB runs them (`dataflows.sources.sql`). This module does not import it, so that no other mapping pays for it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from dataflows.mapping.errors import MappingError
from dataflows.runtime.text_files import TextError, read_text

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_NAMED = re.compile(r"^--[ \t]*name:[ \t]*(.*?)[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class SqlMapping:
    """The text of a SQL mapping. `name` is the topic of its events and the prefix of their generated ids."""

    path: Path
    name: str
    text: str

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a mapping file. Its name is in a line `-- name: NAME`, or else is the file's name without the suffix.

        Raises:
            MappingError: if the file cannot be read, or its name cannot be the name of a topic.
        """
        path = Path(path)
        text = mapping_text(path)
        named = _NAMED.search(text)
        return cls(path, mapping_name(path, path.stem if named is None else named[1], "-- name: my_log"), text)


def mapping_text(path: Path) -> str:
    """Return the text of a mapping file that is code.

    Raises:
        MappingError: if it cannot be read.
    """
    try:
        return read_text(path)
    except OSError as error:
        raise MappingError([f"{path}: cannot be read ({error.strerror}): name a mapping file"]) from None
    except TextError as error:
        raise MappingError([f"{path}: {error}".replace("save it", "save the mapping")]) from None


def mapping_name(path: Path, name: str, line: str) -> str:
    """Return the name of a mapping that is code, if it can be the name of a topic.

    Raises:
        MappingError: if it cannot; `line` is the line to write into the mapping.
    """
    if _NAME.fullmatch(name) is None:
        raise MappingError(
            [f"{path}: {name!r} is no name for events (letters, digits, - and _, at most 64): write a line {line!r}"]
        )
    return name
