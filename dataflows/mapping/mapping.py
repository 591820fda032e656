"""Mapping files, which declare how the rows of an arbitrary log become events.

A mapping is TOML. This module contains its tables, and `dataflows.mapping.values` their building blocks.
`dataflows.mapping.compile` turns them into functions, `dataflows.sources.files.log` applies these to rows, and
`docs/reference/mapping.md` is the guide for the engineer who writes a mapping.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from dataflows.mapping.errors import MappingError, sentences, wrong
from dataflows.mapping.values import Column, Condition, Declared, Recipients, RowsWhere, User, Value, one_of
from dataflows.runtime.text_files import TextError, read_text
from dataflows.runtime.times import epoch_ms, iso_datetime
from detectors.features.declare import duration_ms
from schemas.records.base import Id, Label, Probability

__all__ = ["LogMapping", "MappingError"]

Action = Literal["warning", "mute", "kick", "suspension", "ban", "other"]
Severity = Annotated[int, Field(strict=True, ge=1, le=5)]
Origin = Literal["human", "automated", "unknown"]


class Identity(RowsWhere):
    """From such a row on, the name in `becomes` belongs to the person who had the name in `user`."""

    user: Column
    becomes: Column


class Lane(Declared):
    """Places logs without a calendar side by side: row time = origin + `column` * `spacing` + the row's own clock."""

    column: Column
    spacing: str

    @model_validator(mode="after")
    def _spacing_is_a_duration(self) -> Self:
        try:
            duration_ms(self.spacing)
        except ValueError as error:
            raise wrong(f"spacing {error}") from None
        return self

    @property
    def spacing_ms(self) -> int:
        """Return the spacing in milliseconds."""
        return duration_ms(self.spacing)


def _moment(given: Any) -> Any:
    """Return a text parsed as an ISO time, like the log's own times; return any other value unchanged."""
    if isinstance(given, str):
        try:
            return iso_datetime(given)
        except ValueError:
            raise wrong(f"must be an ISO time such as 2024-03-01T00:00:00Z, not {given!r}") from None
    return given


class Time(Declared):
    """A row's event time: ISO text (UTC if it has no zone), or a number of `unit` since `origin`."""

    column: Column
    format: Literal["iso"] | None = None
    unit: Literal["s", "ms"] | None = None
    origin: Annotated[datetime, BeforeValidator(_moment)] | None = None
    lane: Lane | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        kind = one_of(self, ("format", "unit"))
        if kind == "unit" and self.origin is None:
            raise wrong('unit needs an origin: write origin = "1970-01-01T00:00:00Z" for Unix time')
        if kind == "format" and (self.origin is not None or self.lane is not None):
            raise wrong("origin and lane belong to unit: remove them, an ISO time has its own calendar")
        return self

    @property
    def origin_ms(self) -> int:
        """Return the origin in milliseconds since the epoch; 0 for ISO times."""
        if self.origin is None:
            return 0
        return epoch_ms(self.origin)


class EventBlock(Declared):
    """Keys common to all kinds of events: the rows that make one, its user, and its offset from the row's time."""

    when: tuple[Condition, ...] = ()
    id: Value[Id] | None = None
    offset_ms: int = 0
    user: User


class Score(Declared):
    """A column with an external scorer's result for the message, as a probability; an empty cell is no result."""

    column: Column
    scorer: Label
    version: Label


class Message(EventBlock):
    """A row that contains a message from `user`."""

    kind: Literal["message"]
    channel: Value[Label]
    text: Value[str] | None = None
    recipients: Recipients | None = None
    locale: Value[str] | None = None
    age_band: Value[str] | None = None
    scores: tuple[Score, ...] = ()


class Report(EventBlock):
    """A row in which `user` was reported; `reporter` is absent if the log does not contain it."""

    kind: Literal["report"]
    reporter: User | None = None
    category: Value[Label] | None = None
    channel: Value[Label] | None = None
    message_id: Value[Id] | None = None


class Sanction(EventBlock):
    """A row in which the platform acted against `user`."""

    kind: Literal["sanction"]
    action: Value[Action]
    severity: Value[Severity]
    policy: Value[Label]
    source: Value[Origin] = Value[Origin](value="unknown")


class Reversal(EventBlock):
    """A row in which the sanction whose event id is `sanction_id` was overturned."""

    kind: Literal["reversal"]
    sanction_id: Value[Id]
    reason: Value[Label] | None = None


class Exposure(EventBlock):
    """A row in which `user` was shown an intervention, with the probability of that choice."""

    kind: Literal["exposure"]
    intervention: Value[Label]
    arm: Value[Label]
    probability: Value[Probability]


class Erasure(EventBlock):
    """A row in which `user` asked for erasure."""

    kind: Literal["erasure"]


AnyEvent = Annotated[Message | Report | Sanction | Reversal | Exposure | Erasure, Field(discriminator="kind")]


class LogMapping(Declared):
    """One log's mapping; `name` is the topic in the coordinates of its events, and the prefix of their derived ids.

    `quote` is the quoting character of CSV or TSV, empty for none, None for the default of the suffix. `sort` reads the
    whole log and sorts its rows by time first. `sparse` lists columns that a JSONL log may lack in its first thousand
    rows.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    quote: str | None = None
    sort: bool = False
    sparse: tuple[Column, ...] = ()
    time: Time
    skip: tuple[RowsWhere, ...] = ()
    identity: tuple[Identity, ...] = ()
    event: tuple[AnyEvent, ...]

    @field_validator("quote", mode="before")
    @classmethod
    def _quote_is_a_character_or_false(cls, given: Any) -> Any:
        if given is False:
            return ""
        if given is not None and (not isinstance(given, str) or len(given) != 1):
            raise wrong("must be one character, or false where the log has no quoting")
        return given

    @model_validator(mode="after")
    def _can_be_taken_apart(self) -> Self:
        for key, given in (("delimiter", self.delimiter), ("quote", self.quote)):
            if given in ("\n", "\r"):
                raise wrong(f"{key} ends a line: give another character")
        if self.quote and self.quote == self.delimiter:
            raise wrong("quote and delimiter are the same character: correct one of them")
        return self

    @model_validator(mode="after")
    def _makes_something(self) -> Self:
        if not self.event:
            raise wrong("event is empty: give at least one [[event]] block")
        return self

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a mapping file.

        Raises:
            MappingError: with one sentence for each problem: file, key, remedy.
        """
        path = Path(path)
        try:
            document = tomllib.loads(read_text(path))
        except OSError as error:
            raise MappingError([f"{path}: cannot be read ({error.strerror}): name a mapping file"]) from None
        except TextError as error:
            raise MappingError([f"{path}: {error}".replace("save it", "save the mapping")]) from None
        except tomllib.TOMLDecodeError as error:
            raise MappingError([f"{path}: is not TOML ({error}): correct that line"]) from None
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            raise MappingError(sentences(path, error)) from None

    def columns(self) -> tuple[str, ...]:
        """Return every column that the mapping reads, once, in the order of first mention."""
        return tuple(dict.fromkeys(_columns_of(self)))


def _columns_of(table: Declared) -> Iterator[str]:
    if isinstance(table, Value):
        yield from table.columns()
    elif isinstance(table, Identity):
        yield from (table.user, table.becomes)
    elif isinstance(table, Time | Lane | Condition | Score):
        yield table.column
    for name in type(table).model_fields:
        found = getattr(table, name)
        for inner in found if isinstance(found, tuple) else (found,):
            if isinstance(inner, Declared):
                yield from _columns_of(inner)
