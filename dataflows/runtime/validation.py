"""Helpers that turn pydantic's errors into sentences, for every kind of file that is validated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from types import NoneType
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

Loc = Sequence[int | str]
"""The place of an error: keys, and indexes into lists."""


def dotted(loc: Loc) -> str:
    """Return a place as a dotted path.

    >>> dotted(("target", "when", 0, "count"))
    'target.when.0.count'
    """
    return ".".join(map(str, loc))


def demand(detail: ErrorDetails) -> str:
    """Return the message of an error as a demand (`must be ...`), or unchanged if one of our validators raised it."""
    return detail["msg"].removeprefix("Value error, ").replace("Input should", "must")


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was probably meant, if there is one.

    >>> nearest("lates", ["late", "dead_letters"])
    'late'
    """
    return next(iter(get_close_matches(word, list(known), n=1)), None)


def fields_at(root: type[BaseModel], loc: Loc) -> list[str]:
    """Return the sorted keys of the section at a place below `root`, also inside lists, tables and `Section | None`."""
    model: Any = root
    for part in loc:
        if isinstance(part, int):
            continue
        fields = getattr(model, "model_fields", {})
        model = fields[part].annotation if part in fields else model
        while not (isinstance(model, type) and issubclass(model, BaseModel)):
            choices = [choice for choice in getattr(model, "__args__", ()) if _may_hold_keys(choice)]
            if not choices:
                return []
            model = choices[-1]
    return sorted(model.model_fields)


def _may_hold_keys(choice: Any) -> bool:
    return choice is not NoneType and (isinstance(choice, type) or hasattr(choice, "__args__"))
