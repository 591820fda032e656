"""A mapping compiled for a log's columns: declarations are evaluated once, and rows are processed by functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from dataflows.mapping.cells import Row, UnmappableError, as_float, as_number, as_whole, time_reader
from dataflows.mapping.getters import Getter, Getters, Test, Text, required
from dataflows.mapping.mapping import AnyEvent, Exposure, LogMapping, Message, Report, Reversal, Sanction
from schemas.records.base import CHAT, MODERATION, Subject

Build = Callable[[int, Row, int], dict[str, Any]]

NAMES = frozenset({"channel", "message_id", "sanction_id"})
"""Keys, besides users and the event's own id, whose value is an identifier: different ones must stay different."""

UNREADABLE = float("nan")
"""Value of an optional field whose cell cannot be read; no field of a record accepts it."""
MOST_KINDS = 1_024
"""Maximum number of values of the deciding column for which the applicable blocks are cached."""


_Join = tuple[Test | None, Text, Text]
_Wanted = tuple[Test | None, Subject, Build, str]


class _Applicable(NamedTuple):
    """The blocks that apply to a row of a kind, whose tests have passed: skip, identity joins, and events."""

    skip: bool
    joins: Sequence[_Join]
    events: Sequence[_Wanted]


class RowMapper:
    """Turns the rows of one reading of a log into events; contains the identities that the rows have joined so far.

    `skips` returns whether a row is left out, and `time` its event time (ms). Both depend on the row alone, so that a
    log can be sorted before `events` processes its rows in order. All three raise `UnmappableError`.
    """

    def __init__(self, mapping: LogMapping, columns: Sequence[str]) -> None:
        self._identity: dict[str, str] = {}
        self._known: dict[Any, _Applicable] = {}
        getters = Getters(columns, self._identity if mapping.identity else None)
        self.exact = getters.exact
        self.first_subject = _subject(mapping.event[0])
        self.time = time_reader(mapping.time, getters.index)
        self._skip = _any([getters.test(block.when) for block in mapping.skip])
        self._deciding = _deciding(mapping, getters.index)
        self._joins: list[_Join] = [
            (getters.test(block.when), getters.name(block.user), getters.name(block.becomes))
            for block in mapping.identity
        ]
        self._events: list[_Wanted] = [
            (
                getters.test(block.when) if block.when else None,
                _subject(block),
                _build(getters, mapping.name, number, block),
                f"event {number + 1} ({block.kind})",
            )
            for number, block in enumerate(mapping.event)
        ]
        self._ids_may_repeat = sum(block.id is not None for block in mapping.event) > 1

    def skips(self, row: Row) -> bool:
        """Return whether the row is left out."""
        known = self._applicable(row)
        return self._skip(row) if known is None else known.skip

    def events(self, number: int, row: Row, time: int) -> list[tuple[Subject, dict[str, Any]]]:
        """Return the events of row `number` at `time`, each with its subject.

        Raises:
            UnmappableError: if one of the events cannot be made; then the row has none.
        """
        known = self._applicable(row)
        for test, old_name, new_name in self._joins if known is None else known.joins:
            if test is None or test(row):
                held, taken = old_name(row), new_name(row)
                if held is None or taken is None:
                    raise UnmappableError("identity: one of the two names is empty")
                self._identity[taken] = self._identity.get(held, held)
        made: list[tuple[Subject, dict[str, Any]]] = []
        for wanted, subject, build, label in self._events if known is None else known.events:
            try:
                if wanted is None or wanted(row):
                    made.append((subject, build(number, row, time)))
            except UnmappableError as error:
                raise UnmappableError(f"{label}: {error.detail}") from None
        if self._ids_may_repeat and len({event["event_id"] for _, event in made}) < len(made):
            raise UnmappableError("two events of the row have the same id: give id to one [[event]] block only")
        return made

    def _applicable(self, row: Row) -> _Applicable | None:
        """Return the blocks that apply to the row, by the cell that decides it; None if no single cell does.

        Most logs have a handful of kinds: caching the blocks of each kind saves a tenth of the cost of a row.
        """
        kind = None if self._deciding < 0 else row[self._deciding]
        if type(kind) is not str:
            return None
        known = self._known.get(kind)
        if known is None:
            joins = [(None, user, becomes) for test, user, becomes in self._joins if test is None or test(row)]
            events: list[_Wanted] = [
                (None, subject, build, label)
                for test, subject, build, label in self._events
                if test is None or test(row)
            ]
            known = _Applicable(self._skip(row), joins, events)
            if len(self._known) < MOST_KINDS:
                self._known[kind] = known
        return known


def _deciding(mapping: LogMapping, index: dict[str, int]) -> int:
    """Return the index of the column whose text alone decides which blocks apply to a row; -1 if there is none."""
    blocks = (*mapping.skip, *mapping.identity, *mapping.event)
    conditions = [condition for block in blocks for condition in block.when]
    columns = {condition.column for condition in conditions}
    compared = all(condition.equals is not None or condition.is_in for condition in conditions)
    return index[columns.pop()] if compared and len(columns) == 1 else -1


def _subject(block: AnyEvent) -> Subject:
    return CHAT if isinstance(block, Message) else MODERATION


def _any(tests: Sequence[Test]) -> Test:
    if len(tests) < 2:
        return tests[0] if tests else lambda _row: False
    return lambda row: any(test(row) for test in tests)


def _build(getters: Getters, name: str, number: int, block: AnyEvent) -> Build:
    """Return the function that makes one block's event from (row number, row, time)."""
    user, offset = required(getters.user(block.user), "user"), block.offset_ms
    given = None if block.id is None else required(getters.value(block.id, names=True), "id")
    fields = list(_fields(getters, block))
    kind = None if isinstance(block, Message) else block.kind

    def build(row_number: int, row: Row, time: int) -> dict[str, Any]:
        event: dict[str, Any] = {
            "event_id": f"{name}:{row_number}:{number}" if given is None else given(row),
            "event_time": time + offset,
            "user_id": user(row),
        }
        detail = event
        if kind is not None:
            event["kind"] = kind
            if kind != "erasure":
                detail = event[kind] = {}
        for key, get in fields:
            found = get(row)
            if found is not None:
                detail[key] = found
        return event

    return build


def _fields(getters: Getters, block: AnyEvent) -> Iterator[tuple[str, Getter]]:
    """Yield the keys of a block's event (or of its detail) other than id, time, user and kind, each with its getter."""
    needed: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    match block:
        case Message():
            needed, optional = ("channel",), ("text", "locale", "age_band")
            if block.recipients is not None:
                yield "recipients", _optional(getters.recipients(block.recipients))
            if block.scores:
                yield "scores", _scores(getters, block)
        case Report():
            optional = ("category", "channel", "message_id")
            if block.reporter is not None:
                yield "reporter_id", _optional(getters.user(block.reporter))
        case Sanction():
            needed, optional = ("action", "policy"), ("source",)
            yield "severity", required(getters.value(block.severity, as_whole), "severity")
        case Reversal():
            needed, optional = ("sanction_id",), ("reason",)
        case Exposure():
            needed = ("intervention", "arm")
            yield "probability", required(getters.value(block.probability, as_number), "probability")
    for key in needed:
        yield key, required(getters.value(getattr(block, key), names=key in NAMES), key)
    for key in optional:
        if getattr(block, key) is not None:
            get = getters.value(getattr(block, key), names=key in NAMES)
            yield key, get if key in NAMES else _optional(get)


def _optional(get: Getter) -> Getter:
    """Return a getter that gives `UNREADABLE` for an unreadable cell: decoding drops (and counts) only the field."""

    def part(row: Row) -> Any:
        try:
            return get(row)
        except UnmappableError:
            return UNREADABLE

    return part


def _scores(getters: Getters, block: Message) -> Getter:
    """Return a getter of a row's scorer results; an empty cell is no result."""
    scorers = [(_optional(_number(getters.index[s.column], s.column)), s.scorer, s.version) for s in block.scores]

    def scores(row: Row) -> list[dict[str, Any]] | None:
        found = [
            {"scorer": scorer, "version": version, "value": value}
            for get, scorer, version in scorers
            if (value := get(row)) is not None
        ]
        return found or None

    return scores


def _number(at: int, column: str) -> Getter:
    return lambda row: as_float(row[at], column)
