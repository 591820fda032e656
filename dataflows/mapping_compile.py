"""A mapping compiled for a log's columns: declarations are looked at once, rows meet only closures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dataflows.mapping import AnyEvent, Exposure, LogMapping, Message, Report, Reversal, Sanction
from dataflows.mapping_cells import Row, UnmappableError, as_number, as_whole, time_reader
from dataflows.mapping_getters import Getter, Getters, Test, required
from schemas.records import CHAT, MODERATION, Subject

Build = Callable[[int, Row, int], dict[str, Any]]


class RowMapper:
    """Turns the rows of one reading of a log into events; it holds the identities that the rows have joined so far.

    `skips` tells whether a row is left out and `time` reads its event time (ms); both see the row alone, so that a log
    can be sorted before `events` meets its rows in order. All three raise `UnmappableError`.
    """

    def __init__(self, mapping: LogMapping, columns: Sequence[str]) -> None:
        self._identity: dict[str, str] = {}
        getters = Getters(columns, self._identity if mapping.identity else None)
        self.first_subject = _subject(mapping.event[0])
        self.time = time_reader(mapping.time, getters.index)
        self.skips = _any([getters.test(block.when) for block in mapping.skip])
        self._joins = [
            (getters.test(block.when), getters.text(block.user), getters.text(block.becomes))
            for block in mapping.identity
        ]
        self._events: list[tuple[Test | None, Subject, Build, str]] = [
            (
                getters.test(block.when) if block.when else None,
                _subject(block),
                _build(getters, mapping.name, number, block),
                f"event {number + 1} ({block.kind})",
            )
            for number, block in enumerate(mapping.event)
        ]
        self._ids_may_repeat = sum(block.id is not None for block in mapping.event) > 1

    def events(self, number: int, row: Row, time: int) -> list[tuple[Subject, dict[str, Any]]]:
        """The events of row `number` at `time`, each with its subject: all of them or, by an error, none."""
        for test, user, becomes in self._joins:
            if test(row):
                held, taken = user(row), becomes(row)
                if held is None or taken is None:
                    raise UnmappableError("identity: one of the two names is empty")
                self._identity[taken] = self._identity.get(held, held)
        made: list[tuple[Subject, dict[str, Any]]] = []
        for wanted, subject, build, label in self._events:
            try:
                if wanted is None or wanted(row):
                    made.append((subject, build(number, row, time)))
            except UnmappableError as error:
                raise UnmappableError(f"{label}: {error.detail}") from None
        if self._ids_may_repeat and len({event["event_id"] for _, event in made}) < len(made):
            raise UnmappableError("two events of the row have the same id: give id to one [[event]] block only")
        return made


def _subject(block: AnyEvent) -> Subject:
    return CHAT if isinstance(block, Message) else MODERATION


def _any(tests: Sequence[Test]) -> Test:
    if len(tests) < 2:
        return tests[0] if tests else lambda _row: False
    return lambda row: any(test(row) for test in tests)


def _build(getters: Getters, name: str, number: int, block: AnyEvent) -> Build:
    """The function that makes one block's event out of (row number, row, time)."""
    user, offset = required(getters.user(block.user), "user"), block.offset_ms
    given = None if block.id is None else required(getters.value(block.id), "id")
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
    """The keys of a block's event (or of its detail) besides id, time, user and kind, each with its getter."""
    needed: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    match block:
        case Message():
            needed, optional = ("channel",), ("text", "locale", "age_band")
            if block.recipients is not None:
                yield "recipients", getters.recipients(block.recipients)
            if block.scores:
                yield "scores", _scores(getters, block)
        case Report():
            optional = ("category", "channel", "message_id")
            if block.reporter is not None:
                yield "reporter_id", getters.user(block.reporter)
        case Sanction():
            needed = ("action", "policy", "source")
            yield "severity", required(getters.value(block.severity, as_whole), "severity")
        case Reversal():
            needed, optional = ("sanction_id",), ("reason",)
        case Exposure():
            needed = ("intervention", "arm")
            yield "probability", required(getters.value(block.probability, as_number), "probability")
    for key in needed:
        yield key, required(getters.value(getattr(block, key)), key)
    for key in optional:
        if getattr(block, key) is not None:
            yield key, getters.value(getattr(block, key))


def _scores(getters: Getters, block: Message) -> Getter:
    """The scorer results of a row; an empty cell is no result."""
    scorers = [(getters.index[s.column], s.column, s.scorer, s.version) for s in block.scores]

    def scores(row: Row) -> list[dict[str, Any]] | None:
        found = [
            {"scorer": scorer, "version": version, "value": value}
            for at, column, scorer, version in scorers
            if (value := as_number(row[at], column)) is not None
        ]
        return found or None

    return scores
