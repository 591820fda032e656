"""Building blocks of the tables in a mapping file: values, conditions, and their strict base class."""

from __future__ import annotations

import math
import re
import string
from collections.abc import Iterator
from typing import Annotated, Any, Generic, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from dataflows.mapping.errors import did_you_mean, wrong
from schemas.records.base import Id

T = TypeVar("T")
Scalar = str | int | float | bool
Column = Annotated[str, Field(min_length=1)]


class Declared(BaseModel):
    """Base of every table in a mapping file: an unknown key is an error that suggests the nearest known one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _knows_every_key(cls, data: Any) -> Any:
        known = [field.alias or name for name, field in cls.model_fields.items()]
        for key in data if isinstance(data, dict) else ():
            if key not in known:
                raise wrong(f"unknown key {key!r}: {did_you_mean(key, known)}")
        return data


def one_of(table: Declared, keys: tuple[str, ...]) -> str:
    """Return the one key of `keys` that is set in `table`; raise if none or several are."""
    names = [type(table).model_fields[key].alias or key for key in keys]
    given = [key for key in keys if getattr(table, key) is not None]
    if len(given) != 1:
        raise wrong(f"give exactly one of {', '.join(names)}")
    return given[0]


class Value(Declared, Generic[T]):
    """The source of an event's field: a constant, a column, or a template over columns.

    `regex` extracts its first group (or the whole match) from the cell; if nothing matches, the field is absent.
    `table` translates the result. `default` is used if the result is absent or not in the table.
    """

    value: T | None = None
    column: Column | None = None
    template: str | None = None
    regex: str | None = None
    table: dict[str, T] | None = None
    default: T | None = None

    @model_validator(mode="before")
    @classmethod
    def _a_bare_value_is_a_constant(cls, data: Any) -> Any:
        return data if isinstance(data, dict | Value) else {"value": data}

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        source = one_of(self, ("value", "column", "template"))
        if source == "value" and (self.regex, self.table, self.default) != (None, None, None):
            raise wrong("regex, table and default need a column: a constant has nothing to translate")
        if self.regex is not None:
            try:
                re.compile(self.regex)
            except re.error as error:
                raise wrong(f"regex does not compile ({error}): correct the pattern") from None
        if self.template is not None and not list(template_columns(self.template)):
            raise wrong('template names no column: write it as "page-{page}", or give a constant instead')
        return self

    def columns(self) -> Iterator[str]:
        """Yield the columns that this value reads."""
        if self.column is not None:
            yield self.column
        if self.template is not None:
            yield from template_columns(self.template)


def template_columns(template: str) -> Iterator[str]:
    """Yield the columns in the braces of a template."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise wrong(f"template cannot be read ({error}): write columns in braces") from None
    for _, column, spec, conversion in parts:
        if column is None:
            continue
        if not column or spec or conversion:
            raise wrong("template takes plain column names in braces, without format or conversion")
        yield column


def _not_a_constant(value: Value[Id]) -> Value[Id]:
    if value.value is not None:
        raise wrong(f'needs a column, or every event has the same user: write {{ column = "{value.value}" }}')
    return value


User = Annotated[Value[Id], AfterValidator(_not_a_constant)]


class Recipients(Value[Id]):
    """The users a message was addressed to: a list, or text that is split at `separator`."""

    separator: Annotated[str, Field(min_length=1)] | None = None


class Condition(Declared):
    """One test of one column; a cell and a TOML value are equal if they are written alike (`1`, `"1"`, `1.0`)."""

    column: Column
    equals: Scalar | None = None
    is_in: tuple[Scalar, ...] | None = Field(None, alias="in")
    not_empty: bool | None = None
    truthy: bool | None = None
    greater_than: float | None = None

    @model_validator(mode="after")
    def _is_one_test(self) -> Self:
        one_of(self, ("equals", "is_in", "not_empty", "truthy", "greater_than"))
        numbers = (one for one in (*(self.is_in or ()), self.equals, self.greater_than) if isinstance(one, float))
        if not all(map(math.isfinite, numbers)):
            raise wrong("compares with a number that is not finite: give another one")
        return self


class RowsWhere(Declared):
    """The rows for which all conditions hold."""

    when: tuple[Condition, ...]

    @model_validator(mode="after")
    def _has_a_condition(self) -> Self:
        if not self.when:
            raise wrong("when is empty and would take every row: give it a condition")
        return self
