"""Errors of mapping files, one sentence each: file, key and remedy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from dataflows.runtime.validation import demand, dotted, nearest
from schemas.errors import ExpectedError


class MappingError(ExpectedError, ValueError):
    """A mapping file cannot be used; `problems` contains one sentence for each reason."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(*problems)


def wrong(sentence: str) -> PydanticCustomError:
    """Return an error for validators to raise, whose text is shown unchanged."""
    return PydanticCustomError("mapping", "{sentence}", {"sentence": sentence})


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a question with the nearest known word, or a list of all known words if none is near.

    >>> did_you_mean("chanel", ["channel", "text"])
    "did you mean 'channel'?"
    """
    words = list(known)
    meant = nearest(word, words)
    return f"the known ones are {', '.join(words)}" if meant is None else f"did you mean {meant!r}?"


def sentences(path: Path, error: ValidationError) -> list[str]:
    """Return one sentence for each error that pydantic found in the file at `path`."""
    return [f"{path}: {_where(found['loc'])}{_what(found)}" for found in error.errors(include_url=False)]


def _where(loc: tuple[int | str, ...]) -> str:
    """Return `event 2 (sanction): key severity: ` for `("event", 1, "sanction", "severity", "value")`."""
    parts = list(loc)
    if parts and parts[-1] == "value":
        parts.pop()
    words: list[str] = []
    keys: list[str] = []
    if len(parts) > 1 and isinstance(parts[1], int):
        kind = f" ({parts[2]})" if parts[0] == "event" and len(parts) > 2 else ""
        words.append(f"{parts[0]} {parts[1] + 1}{kind}: ")
        parts = parts[3:] if kind else parts[2:]
    for part in parts:
        if isinstance(part, int) and keys:
            keys[-1] += f"[{part + 1}]"
        else:
            keys.append(str(part))
    if keys:
        words.append(f"key {dotted(keys)}: ")
    return "".join(words)


def _what(found: ErrorDetails) -> str:
    kind, context = found["type"], found.get("ctx", {})
    if kind == "mapping":
        return found["msg"]
    if kind == "missing":
        return "is missing: add it"
    if kind == "union_tag_not_found":
        return 'key kind: is missing: write kind = "message" or another kind of event'
    if kind == "union_tag_invalid":
        known = [tag.strip("' ") for tag in str(context["expected_tags"]).split(",")]
        return f"key kind: unknown kind {context['tag']!r}: {did_you_mean(str(context['tag']), known)}"
    given = found["input"]
    contrast = f", not {given!r}" if isinstance(given, str | int | float) else ""
    return demand(found).replace("String should", "must") + contrast
