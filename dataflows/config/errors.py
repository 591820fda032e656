"""Errors of the settings, one sentence each: problem, place, and remedy. No value is ever quoted."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from dataflows.runtime.validation import demand, dotted, fields_at, nearest
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
    meant = nearest(name, names)
    return f"known here: {', '.join(names)}." if meant is None else f"did you mean {prefix}{meant}?"


def sentence(detail: ErrorDetails, root: type[BaseModel], where: str) -> str:
    """Return one of pydantic's errors as a sentence; `where` contains the key and its source."""
    *section, key = detail["loc"] or ("",)
    match detail["type"]:
        case "missing":
            return f"{where} is missing: set it."
        case "extra_forbidden":
            prefix = f"{dotted(section)}." if section else ""
            return f"{where} is not a setting: {hint(str(key), fields_at(root, section), prefix)}"
        case "value_error":
            return f"{where} cannot be used: {demand(detail)}."
        case _:
            return f"{where} cannot be used: {detail['msg'][:1].lower()}{detail['msg'][1:]}."
