"""Ways to break a copy of the released schemas."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from schemas.released.catalogue import Catalogue, released
from tests.kit.records import release

Edit = Callable[[dict[str, Any]], object]


def change(path: Path, edit: Edit) -> None:
    """Read a JSON file, edit it and write it back."""
    content = orjson.loads(path.read_bytes())
    edit(content)
    path.write_bytes(orjson.dumps(content))


def text_of(subject: str) -> dict[str, Any]:
    schema: dict[str, Any] = orjson.loads(released().text(subject, 1))
    return schema


def field(schema: dict[str, Any], name: str) -> dict[str, Any]:
    return next(f for f in schema["fields"] if f["name"] == name)


def broken(edit: Edit, subject: str = "moderation_event") -> Callable[[Path], Catalogue]:
    def make(folder: Path) -> Catalogue:
        second = text_of(subject)
        edit(second)
        return release(folder, subject, 2, second)

    return make


def without(name: str) -> Edit:
    return lambda schema: schema["fields"].remove(field(schema, name))
