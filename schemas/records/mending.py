"""Mending: an optional part that fails validation is repaired or left out, and the record is kept.

| part | repair |
|---|---|
| `text` | half a surrogate pair, or a byte that is not UTF-8, becomes U+FFFD; over-long text is cut |
| `recipients` | invalid ids are left out, and the first 1,024 of the others kept |
| `scores` | a value up to 0.0001 outside [0, 1] is clipped; invalid results are left out; the first 64 are kept |
| any other part, or a part of the wrong type | left out |

A part that is left out is treated as absent from the record. Mandatory fields are never mended: an id that is cut or
replaced is another id. Mending runs only after a strict validation failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from types import MappingProxyType, UnionType
from typing import Any, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from schemas.records.base import CHAT, LONGEST_TEXT, MODERATION, MOST_RECIPIENTS, MOST_SCORES, Id
from schemas.records.events import ChatMessage, ModerationEvent, ScorerResult

SCORE_TOLERANCE = 1e-4
"""Largest distance from [0, 1] at which a score is clipped: a softmax in 32-bit floats can give 1.00000536."""
LOOKED_AT = 8_192
"""Most entries of a list that are validated, because each refused entry costs as much as a small record."""

_MODELS: Mapping[str, type[BaseModel]] = MappingProxyType({CHAT: ChatMessage, MODERATION: ModerationEvent})
_ABSENT = object()
_ID, _RESULT = TypeAdapter(Id), TypeAdapter(ScorerResult)
_LISTS = (list, tuple, set, frozenset)


def _optional_parts(model: type[BaseModel]) -> Iterator[str]:
    for name, info in model.model_fields.items():
        kinds: tuple[Any, ...] = get_args(info.annotation) if get_origin(info.annotation) is UnionType else ()
        detail = next((kind for kind in kinds if issubclass(kind, BaseModel)), None)
        if detail is not None:  # `kind` decides whether the detail itself may be absent
            yield from (f"{name}.{part}" for part in _optional_parts(detail))
        elif not info.is_required():
            yield name


PARTS: Mapping[str, frozenset[str]] = MappingProxyType(
    {subject: frozenset(_optional_parts(model)) for subject, model in _MODELS.items()}
)
"""The optional parts of each input subject's records. A part inside a detail has its path: `report.category`."""


def mend(subject: str, value: Any, error: ValidationError) -> tuple[Any, frozenset[str]]:
    """Return a copy of a refused mapping with its refused parts mended, and the names of those parts.

    Raises:
        ValidationError: `error` itself, if it also concerns something that is not optional.
    """
    parts: set[str] = set()
    for complaint in error.errors(include_url=False, include_context=False, include_input=False):
        part = optional_part(subject, ".".join(map(str, complaint["loc"])))
        if part is None:
            raise error
        parts.add(part)
    mended = dict(value)
    for part in parts:
        field, _, inner = part.partition(".")
        if inner:
            mended[field] = dict(mended[field])
            _repair(mended[field], inner)
        else:
            _repair(mended, field)
    return mended, frozenset(parts)


def optional_part(subject: str, path: str) -> str | None:
    """Return the optional part that contains a path such as `scores.0.value`; None if none does."""
    steps = path.split(".")
    return next((part for part in (steps[0], ".".join(steps[:2])) if part in PARTS.get(subject, ())), None)


def _repair(holder: dict[str, Any], field: str) -> None:
    repaired = _REPAIRS.get(field, _left_out)(holder[field])
    if repaired is _ABSENT:
        del holder[field]
    else:
        holder[field] = repaired


def _left_out(_value: Any) -> Any:
    return _ABSENT


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if not isinstance(value, str):
        return _ABSENT
    return value[:LONGEST_TEXT].encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _recipients(value: Any) -> Any:
    return list(islice(_valid(_ID, value), MOST_RECIPIENTS)) if isinstance(value, _LISTS) else _ABSENT


def _scores(value: Any) -> Any:
    if not isinstance(value, _LISTS):
        return _ABSENT
    return list(islice(_valid(_RESULT, map(_clipped, value)), MOST_SCORES))


def _clipped(result: Any) -> Any:
    """Return a scorer's result with a value just outside [0, 1] moved to the bound; return anything else unchanged."""
    value = result.get("value") if isinstance(result, Mapping) else None
    if not isinstance(value, int | float) or not -SCORE_TOLERANCE <= value <= 1 + SCORE_TOLERANCE:
        return result
    return {**result, "value": min(max(value, 0.0), 1.0)}


def _valid(kind: TypeAdapter[Any], entries: Any) -> Iterator[Any]:
    for entry in islice(entries, LOOKED_AT):
        try:
            yield kind.validate_python(entry)
        except ValidationError:
            continue


_REPAIRS: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {"text": _text, "recipients": _recipients, "scores": _scores}
)
