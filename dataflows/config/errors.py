"""Errors of the settings, one sentence each: problem, place, and remedy. No value is ever quoted."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from schemas.errors import ExpectedError


class SettingsError(ExpectedError):
    """Settings that cannot be used; `problems` contains a sentence for each problem, and the text a line for each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(*problems)


def hint(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return the known name that was probably meant, or a list of all known names.

    >>> hint("lates", ["late", "dead_letters"], "topics.")
    'did you mean topics.late?'
    """
    names = sorted(known)
    close = get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {prefix}{close[0]}?"
    return f"known here: {', '.join(names)}."


def sentence(detail: ErrorDetails, root: type[BaseModel], where: str) -> str:
    """Return one of pydantic's errors as a sentence; `where` contains the key and its source."""
    path = [str(part) for part in detail["loc"]]
    match detail["type"]:
        case "missing":
            return f"{where} is missing: set it."
        case "extra_forbidden":
            prefix = "".join(f"{part}." for part in path[:-1])
            return f"{where} is not a setting: {hint(path[-1], _fields_at(root, path[:-1]), prefix)}"
        case "value_error":
            return f"{where} cannot be used: {detail['msg'].removeprefix('Value error, ')}."
        case _:
            return f"{where} cannot be used: {detail['msg'][:1].lower()}{detail['msg'][1:]}."


def _fields_at(root: type[BaseModel], path: list[str]) -> list[str]:
    """Return the fields of the section at `path` below `root`, looking through `Section | None`."""
    model = root
    for part in path:
        annotation = model.model_fields[part].annotation
        model = next(
            choice
            for choice in (annotation, *get_args(annotation))
            if isinstance(choice, type) and issubclass(choice, BaseModel)
        )
    return list(model.model_fields)
