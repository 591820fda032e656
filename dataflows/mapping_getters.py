"""Conditions and values compiled for a log's columns: each becomes a closure from a row to its answer."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dataflows.mapping_cells import Row, UnmappableError, as_number, as_text, as_truth
from dataflows.mapping_values import Condition, Recipients, Value

Test = Callable[[Row], bool]
Getter = Callable[[Row], Any]
Text = Callable[[Row], str | None]
Convert = Callable[[Any, str], Any]


def required(get: Getter, key: str) -> Getter:
    """A getter that turns an absent value into an unmappable row."""

    def present(row: Row) -> Any:
        found = get(row)
        if found is None:
            raise UnmappableError(f"{key} is empty and an event needs it")
        return found

    return present


class Getters:
    """Compiles against one order of columns, and against the identities that user names are resolved with.

    `identity` is shared and read at every row: the caller adds to it as people change names.
    """

    def __init__(self, columns: Sequence[str], identity: Mapping[str, str] | None) -> None:
        self.index = {column: at for at, column in enumerate(columns)}
        self._identity = identity

    def test(self, conditions: Sequence[Condition]) -> Test:
        """Whether all conditions hold."""
        tests = [self._one_test(condition) for condition in conditions]
        if len(tests) == 1:
            return tests[0]
        return lambda row: all(test(row) for test in tests)

    def _one_test(self, condition: Condition) -> Test:
        column, at = condition.column, self.index[condition.column]
        if condition.not_empty is not None:
            filled = condition.not_empty
            return lambda row: (as_text(row[at], column) is not None) is filled
        if condition.truthy is not None:
            wanted = condition.truthy
            return lambda row: as_truth(row[at], column) is wanted
        if condition.greater_than is not None:
            bound = condition.greater_than
            return lambda row: (number := as_number(row[at], column)) is not None and number > bound
        accepted = frozenset(as_text(one, column) for one in condition.is_in or (condition.equals,))

        def is_one_of(row: Row) -> bool:
            cell = row[at]
            return ((cell or None) if type(cell) is str else as_text(cell, column)) in accepted

        return is_one_of

    def text(self, column: str) -> Text:
        """A column's cell as text, None where it is empty."""
        at = self.index[column]

        def text(row: Row) -> str | None:
            cell = row[at]
            # Nearly every cell of nearly every log is a string already: no call for those.
            return (cell or None) if type(cell) is str else as_text(cell, column)

        return text

    def value(self, value: Value[Any], convert: Convert = as_text) -> Getter:
        """What a value declares, None where it is absent. `convert` reads a cell; constants have their type already."""
        default = value.default
        if value.value is not None:
            constant = value.value
            return lambda _row: constant
        column = value.column or value.template or ""
        if value.column is not None and value.regex is None and value.table is None and convert is not as_text:
            at = self.index[column]  # straight from the cell: a number need not become text first
            return lambda row: default if (found := convert(row[at], column)) is None else found
        text = self._template(value.template) if value.template is not None else self.text(column)
        if value.regex is not None:
            text = _extracting(text, re.compile(value.regex))
        if value.table is not None:
            return _translating(text, value.table, default, column)
        if default is None and convert is as_text:
            return text
        return lambda row: default if (found := text(row)) is None else convert(found, column)

    def _template(self, template: str) -> Text:
        """Fills a template; absent where one of its columns is."""
        parts = list(string.Formatter().parse(template))
        pieces = [(literal, None if column is None else self.text(column)) for literal, column, _, _ in parts]

        def fill(row: Row) -> str | None:
            filled = ""
            for literal, get in pieces:
                filled += literal
                if get is not None:
                    cell = get(row)
                    if cell is None:
                        return None
                    filled += cell
            return filled

        return fill

    def user(self, value: Value[Any]) -> Getter:
        """A user name, resolved to the person who holds it now."""
        get, identity = self.value(value), self._identity
        if identity is None:
            return get
        return lambda row: identity.get(name, name) if (name := get(row)) is not None else None

    def recipients(self, value: Recipients) -> Getter:
        """The distinct users a message was addressed to, each resolved to a person; None where there are none."""
        column, separator = value.column or value.template or "", value.separator
        identity = {} if self._identity is None else self._identity
        plain = value.column is not None and value.regex is None and value.table is None
        at = self.index[column] if plain else -1
        get = (lambda row: row[at]) if plain else self.value(value)  # a plain cell may be a list, which is not text

        def people(row: Row) -> list[str] | None:
            cell = get(row)
            if cell is None or cell == "":
                return None
            if isinstance(cell, list | tuple):
                names = [as_text(name, column) for name in cell]
            else:
                text = as_text(cell, column) or ""
                names = [name.strip() for name in text.split(separator)] if separator else [text]
            return list(dict.fromkeys(identity.get(name, name) for name in names if name)) or None

        return people


def _extracting(text: Text, pattern: re.Pattern[str]) -> Text:
    group = min(pattern.groups, 1)

    def extract(row: Row) -> str | None:
        cell = text(row)
        match = pattern.search(cell) if cell is not None else None
        return (match[group] or None) if match is not None else None

    return extract


def _translating(text: Text, table: Mapping[str, Any], default: Any, column: str) -> Getter:
    def translate(row: Row) -> Any:
        cell = text(row)
        if cell is None:
            return default
        found = table.get(cell, default)
        if found is None:
            raise UnmappableError(
                f"column {column!r} holds a value that the table does not list, and there is no default"
            )
        return found

    return translate
