"""Conditions and values compiled for a log's columns: each becomes a function of a row."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dataflows.mapping.cells import Row, UnmappableError, as_id, as_number, as_text, as_truth
from dataflows.mapping.values import Condition, Recipients, Value

Test = Callable[[Row], bool]
Getter = Callable[[Row], Any]
Text = Callable[[Row], str | None]
Convert = Callable[[Any, str], Any]


def required(get: Getter, key: str) -> Getter:
    """Return a getter that raises `UnmappableError` if the value is absent."""

    def present(row: Row) -> Any:
        found = get(row)
        if found is None:
            raise UnmappableError(f"{key} is empty and an event needs it")
        return found

    return present


class Getters:
    """Compiler for one order of columns and one set of identities, with which user names are resolved.

    `identity` is shared and read at every row: the caller adds to it when users change their names.
    """

    def __init__(self, columns: Sequence[str], identity: Mapping[str, str] | None) -> None:
        self.index = {column: at for at, column in enumerate(columns)}
        self.exact: set[str] = set()
        """Columns that are identifiers or are compared, so that their numbers must not be rounded."""
        self._identity = identity

    def test(self, conditions: Sequence[Condition]) -> Test:
        """Return a test of whether all conditions hold for a row."""
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
        self.exact.add(column)

        def is_one_of(row: Row) -> bool:
            cell = row[at]
            return ((cell or None) if type(cell) is str else as_text(cell, column)) in accepted

        return is_one_of

    def text(self, column: str) -> Text:
        """Return a getter of a column's cell as text, None if empty."""
        at = self.index[column]

        def text(row: Row) -> str | None:
            cell = row[at]
            # Nearly every cell of nearly every log is a string already; those need no call.
            return (cell or None) if type(cell) is str else as_text(cell, column)

        return text

    def name(self, column: str) -> Text:
        """Return a getter of a column's cell as an identifier, None if empty."""
        at = self.index[column]
        self.exact.add(column)

        def name(row: Row) -> str | None:
            cell = row[at]
            # Short texts without a plus sign, as nearly all names are, cannot be rounded numbers; those need no call.
            return (cell or None) if type(cell) is str and len(cell) < 17 and "+" not in cell else as_id(cell, column)

        return name

    def value(self, value: Value[Any], convert: Convert = as_text, *, names: bool = False) -> Getter:
        """Return a getter of a declared value, None if absent.

        `convert` converts a cell; constants have their type already. `names` marks the value as an identifier: see
        `as_id`.
        """
        default = value.default
        if value.value is not None:
            constant = value.value
            return lambda _row: constant
        column = value.column or value.template or ""
        if value.column is not None and value.regex is None and value.table is None and convert is not as_text:
            at = self.index[column]  # directly from the cell: a number need not become text first
            return lambda row: default if (found := convert(row[at], column)) is None else found
        read = self.name if names else self.text
        text = self._template(value.template, read) if value.template is not None else read(column)
        if value.regex is not None:
            text = _extracting(text, re.compile(value.regex))
        if value.table is not None:
            return _translating(text, value.table, default, column)
        if default is None and convert is as_text:
            return text
        return lambda row: default if (found := text(row)) is None else convert(found, column)

    def _template(self, template: str, read: Callable[[str], Text]) -> Text:
        """Return a getter that fills a template, None if one of its columns is empty."""
        parts = list(string.Formatter().parse(template))
        pieces = [(literal, None if column is None else read(column)) for literal, column, _, _ in parts]

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
        """Return a getter of a user name, resolved to the person who has it at that row."""
        get, identity = self.value(value, names=True), self._identity
        if identity is None:
            return get
        return lambda row: identity.get(name, name) if (name := get(row)) is not None else None

    def recipients(self, value: Recipients) -> Getter:
        """Return a getter of a message's distinct recipients, each resolved to a person; None if there are none."""
        column, separator = value.column or value.template or "", value.separator
        identity = {} if self._identity is None else self._identity
        plain = value.column is not None and value.regex is None and value.table is None
        at = self.index[column] if plain else -1
        # A plain cell may be a list, which is not text.
        get = (lambda row: row[at]) if plain else self.value(value, names=True)
        if plain:
            self.exact.add(column)

        def people(row: Row) -> list[str | None] | None:
            cell = get(row)
            if cell is None or cell == "":
                return None
            names: list[str | None]
            if isinstance(cell, list | tuple):
                names = [_recipient(name, column) for name in cell if name is not None and name != ""]
            else:
                text = as_id(cell, column) or ""
                names = [name.strip() for name in text.split(separator)] if separator else [text]
                names = [name for name in names if name]
            return list(dict.fromkeys(None if name is None else identity.get(name, name) for name in names)) or None

        return people


def _recipient(cell: Any, column: str) -> str | None:
    """Return one of several recipients; None, which validation drops, if the cell is not a valid name."""
    try:
        return as_id(cell, column)
    except UnmappableError:
        return None


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
