"""Mapping files: what they may say, what wrong ones are answered with, and what their rows become."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.mapping.cells import UnmappableError
from dataflows.mapping.compile import RowMapper
from dataflows.mapping.errors import MappingError
from dataflows.mapping.mapping import Action, LogMapping, Origin
from dataflows.mapping.values import Declared
from schemas.codec.inputs import Codec
from schemas.records.base import CHAT, MODERATION, Position, Raw
from schemas.records.events import ChatMessage, Sanction
from tests.kit.paths import ROOT

EXAMPLE = ROOT / "deploy" / "mappings" / "example.toml"

DAY = 1_704_067_200_000  # 2024-01-01T00:00:00Z

MINIMAL = """
name = "tiny"
[time]
column = "ts"
format = "iso"
[[event]]
kind = "message"
user = { column = "who" }
channel = "main"
"""


def _load(tmp_path: Path, text: str) -> LogMapping:
    path = tmp_path / "tiny.toml"
    path.write_text(text, encoding="utf-8")
    return LogMapping.load(path)


def _problems(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(MappingError) as caught:
        _load(tmp_path, text)
    assert str(caught.value).splitlines() == list(caught.value.problems)
    return [problem.removeprefix(f"{tmp_path / 'tiny.toml'}: ") for problem in caught.value.problems]


MESSAGE: dict[str, Any] = tomllib.loads(MINIMAL)["event"][0]


def _mapping(event: dict[str, Any] | list[dict[str, Any]] | None = None, **changes: Any) -> LogMapping:
    """The minimal mapping with changes: to its message, or with other events altogether."""
    blocks = event if isinstance(event, list) else [{**MESSAGE, **(event or {})}]
    return LogMapping.model_validate({**tomllib.loads(MINIMAL), **changes, "event": blocks})


def _row(mapping: LogMapping, row: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of one row, which has the columns it has."""
    mapper = RowMapper(mapping, list(row))
    cells = list(row.values())
    return [event for _, event in mapper.events(7, cells, mapper.time(cells))]


def _detail(mapping: LogMapping, row: dict[str, Any]) -> str:
    with pytest.raises(UnmappableError) as caught:
        _row(mapping, row)
    return caught.value.detail


def _sanction(**changes: Any) -> dict[str, Any]:
    block = {"kind": "sanction", "user": {"column": "who"}, "action": "ban", "severity": 5, "policy": "p"}
    return {**block, **changes}


ROW = {"ts": "2024-01-01T00:00:00Z", "who": "u1"}


def test_a_minimal_mapping_makes_exactly_the_keys_of_a_message() -> None:
    """Id from name, row and block; time; user; channel; nothing else."""
    assert _row(_mapping(), ROW) == [{"event_id": "tiny:7:0", "event_time": DAY, "user_id": "u1", "channel": "main"}]


def test_every_shipped_mapping_loads() -> None:
    """The files in deploy/mappings are valid."""
    paths = sorted((ROOT / "deploy" / "mappings").glob("*.toml"))
    names = [LogMapping.load(path).name for path in paths]
    assert {"wikipedia_bans", "ubuntu_irc", "conda", "community"} <= set(names)


def test_the_example_uses_every_key_there_is() -> None:
    """What the commented example does not show, nobody would find."""
    text = EXAMPLE.read_text(encoding="utf-8")
    shown = set(_keys(tomllib.loads(text)))
    declared = {f.alias or name for table in _subclasses(Declared) for name, f in table.model_fields.items()}
    # A constant is written bare, and the other way to tell the time stands in a comment.
    assert declared - shown == {"value", "format"}
    assert 'format = "iso"' in text


def _keys(found: Any) -> Iterator[str]:
    if isinstance(found, dict):
        for key, value in found.items():
            yield key
            yield from _keys(value)
    elif isinstance(found, list):
        for value in found:
            yield from _keys(value)


def _subclasses(table: type[Declared]) -> Iterator[type[Declared]]:
    for subclass in table.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def test_actions_and_sources_are_those_of_the_records() -> None:
    """A mapping offers what a sanction may hold, and nothing else."""
    assert get_args(Sanction.model_fields["action"].annotation) == get_args(Action)
    assert get_args(Sanction.model_fields["source"].annotation) == get_args(Origin)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("channel =", "chanel ="), "event 1 (message): unknown key 'chanel': did you mean 'channel'?"),
        (('"message"', '"mesage"'), "event 1: key kind: unknown kind 'mesage': did you mean 'message'?"),
        (('kind = "message"\n', ""), 'event 1: key kind: is missing: write kind = "message" or another kind of event'),
        (
            ('{ column = "who" }', '"who"'),
            'event 1 (message): key user: needs a column, or every event has the same user: write { column = "who" }',
        ),
        (("{ column =", "{ colum ="), "event 1 (message): key user: unknown key 'colum': did you mean 'column'?"),
        (('channel = "main"\n', ""), "event 1 (message): key channel: is missing: add it"),
        (('channel = "main"', "channel = 3"), "event 1 (message): key channel: must be a valid string, not 3"),
        (
            ('channel = "main"', 'channel = { template = "main" }'),
            (
                "event 1 (message): key channel: template names no column: "
                'write it as "page-{page}", or give a constant instead'
            ),
        ),
        (
            ('channel = "main"', 'channel = { column = "c", regex = "(" }'),
            (
                "event 1 (message): key channel: regex does not "
                "compile (missing ), unterminated subpattern at position 0): correct the pattern"
            ),
        ),
        (
            ('channel = "main"', 'channel = { value = "a", column = "c" }'),
            "event 1 (message): key channel: give exactly one of value, column, template",
        ),
        (
            ('channel = "main"', 'channel = { template = "{c!r}" }'),
            "event 1 (message): key channel: template takes plain column names in braces, without format or conversion",
        ),
        (('format = "iso"', 'format = "unix"'), "key time.format: must be 'iso', not 'unix'"),
        (
            ('format = "iso"', 'unit = "s"'),
            'key time: unit needs an origin: write origin = "1970-01-01T00:00:00Z" for Unix time',
        ),
        (('format = "iso"', 'format = "iso"\nunit = "s"'), "key time: give exactly one of format, unit"),
        (
            ('format = "iso"', 'unit = "s"\norigin = "2024-01-01"\nlane = { column = "m", spacing = "2 h" }'),
            (
                "key time.lane: spacing '2 h' is not a duration: "
                "write a whole number and a unit, such as 90s, 5m, 24h or 7d"
            ),
        ),
        (
            ('name = "tiny"', 'name = "two words"'),
            "key name: must match pattern '^[A-Za-z0-9_-]{1,64}$', not 'two words'",
        ),
        (('name = "tiny"', 'nam = "tiny"'), "unknown key 'nam': did you mean 'name'?"),
        (
            ("[[event]]", "[[skip]]\nwhen = []\n[[event]]"),
            "skip 1: when is empty and would take every row: give it a condition",
        ),
    ],
)
def test_a_mistake_is_answered_with_one_sentence_that_says_what_to_do(
    tmp_path: Path, change: tuple[str, str], problem: str
) -> None:
    """File, key and what to do; nothing else is complained about."""
    assert MINIMAL.replace(*change) != MINIMAL
    assert _problems(tmp_path, MINIMAL.replace(*change)) == [problem]


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    """Constants and tables of a sanction are held against the record's own bounds before anything runs."""
    text = (
        MINIMAL
        + """
[[event]]
kind = "sanction"
user = { column = "who" }
action = "bann"
severity = { column = "level", table = { grave = 9 } }
when = [{ column = "a", equals = 1, in = [3] }]
"""
    )
    assert _problems(tmp_path, text) == [
        "event 2 (sanction): key when[1]: give exactly one of equals, in, not_empty, truthy, greater_than",
        "event 2 (sanction): key action: must be 'warning', 'mute', 'kick', 'suspension', 'ban' or 'other', not 'bann'",
        "event 2 (sanction): key severity.table.grave: must be less than or equal to 5, not 9",
        "event 2 (sanction): key policy: is missing: add it",
    ]


def test_a_mapping_without_events_a_broken_file_and_a_missing_one_are_answered(tmp_path: Path) -> None:
    """The sentences name the file and what to do."""
    head = MINIMAL[: MINIMAL.index("[[event]]")]
    assert _problems(tmp_path, head) == ["key event: is missing: add it"]
    assert _problems(tmp_path, "event = []\n" + head) == ["event is empty: give at least one [[event]] block"]
    assert _problems(tmp_path, "name = ")[0].startswith("is not TOML (")
    (tmp_path / "tiny.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(MappingError, match="is not UTF-8: save the mapping as UTF-8 text"):
        LogMapping.load(tmp_path / "tiny.toml")
    with pytest.raises(
        MappingError, match=r"none\.toml: cannot be read \(No such file or directory\): name a mapping file"
    ):
        LogMapping.load(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("condition", "cell", "holds"),
    [
        ({"equals": "a"}, "a", True),
        ({"equals": "a"}, "A", False),
        ({"equals": ""}, "", True),
        ({"equals": 1}, "1", True),
        ({"equals": "1"}, 1, True),
        ({"equals": 1}, 1.0, True),
        ({"equals": True}, True, True),
        ({"equals": 1}, "1.5", False),
        ({"in": ["a", 2]}, 2, True),
        ({"in": ["a", 2]}, "b", False),
        ({"not_empty": True}, "x", True),
        ({"not_empty": True}, "", False),
        ({"not_empty": True}, None, False),
        ({"not_empty": False}, "", True),
        ({"not_empty": True}, 0, True),
        ({"truthy": True}, "1", True),
        ({"truthy": True}, "True", True),
        ({"truthy": True}, "0", False),
        ({"truthy": True}, "", False),
        ({"truthy": True}, None, False),
        ({"truthy": True}, "0.0", False),
        ({"truthy": True}, 2.5, True),
        ({"truthy": False}, "no", True),
        ({"greater_than": 1}, "1.5", True),
        ({"greater_than": 1}, "1", False),
        ({"greater_than": -1}, "", False),
        ({"greater_than": -1}, None, False),
        ({"greater_than": -1}, 0, True),
    ],
)
def test_a_condition_holds_for_these_cells(condition: dict[str, Any], cell: Any, holds: bool) -> None:
    """What is written alike is equal, whatever type the format gave it; empty is neither true nor greater."""
    mapping = _mapping({"when": [{"column": "x", **condition}]})
    assert bool(_row(mapping, {**ROW, "x": cell})) is holds


def test_all_conditions_of_a_block_must_hold_and_any_block_may() -> None:
    """An event block is an and; skip blocks are alternatives."""
    both = _mapping({"when": [{"column": "x", "equals": 1}, {"column": "y", "equals": 2}]})
    assert _row(both, {**ROW, "x": 1, "y": 2})
    assert not _row(both, {**ROW, "x": 1, "y": 1})
    skipping = _mapping(skip=[{"when": [{"column": "x", "equals": 1}]}, {"when": [{"column": "x", "equals": 2}]}])
    skips = RowMapper(skipping, ["ts", "who", "x"]).skips
    assert [skips(["", "", x]) for x in ("1", "2", "3")] == [True, True, False]


@pytest.mark.parametrize(
    ("time", "cells", "wanted"),
    [
        ({"format": "iso"}, ["2024-01-01T00:00:00Z"], DAY),
        ({"format": "iso"}, ["2024-01-01 00:00:00.123456"], DAY + 123),
        ({"format": "iso"}, ["2024-01-01T01:00:00+01:00"], DAY),
        ({"format": "iso"}, ["2024-01-01"], DAY),
        ({"unit": "s", "origin": "2024-01-01T00:00:00Z"}, ["36"], DAY + 36_000),
        ({"unit": "s", "origin": "2024-01-01T00:00:00"}, [-0.5], DAY - 500),
        ({"unit": "ms", "origin": "1970-01-01T00:00:00Z"}, ["1704067200001"], DAY + 1),
        (
            {"unit": "s", "origin": "2024-01-01T00:00:00Z", "lane": {"column": "m", "spacing": "2h"}},
            ["-8", "3"],
            DAY + 3 * 7_200_000 - 8_000,
        ),
        (
            {"unit": "s", "origin": "2024-01-01T00:00:00Z", "lane": {"column": "m", "spacing": "2h"}},
            ["1e1", 2.0],
            DAY + 2 * 7_200_000 + 10_000,
        ),
    ],
)
def test_times_are_milliseconds_since_the_epoch(time: dict[str, Any], cells: list[Any], wanted: int) -> None:
    """ISO text in UTC where it names no zone, numbers from an origin, and matches laid side by side."""
    mapping = _mapping(time={"column": "ts", **time})
    row = dict(zip(("ts", "m"), cells, strict=False)) | {"who": "u1"}
    assert _row(mapping, row)[0]["event_time"] == wanted


def test_a_remembered_time_is_that_of_its_own_row() -> None:
    """Rows of one minute share their time, a bad one has none, and the next minute has its own."""
    mapper = RowMapper(_mapping(), ["ts", "who"])
    first, second = "2024-01-01T00:00:00Z", "2024-01-01T00:01:00Z"
    assert [mapper.time([cell, "u1"]) - DAY for cell in (first, first, second, first)] == [0, 0, 60_000, 0]
    with pytest.raises(UnmappableError):
        mapper.time(["", "u1"])
    assert mapper.time([second, "u1"]) == DAY + 60_000


@pytest.mark.parametrize("cell", ["", None, "soon", "2024-13-01", "\uff11\uff12", "1_000", "nan", "1e999", [1]])
@pytest.mark.parametrize("time", [{"format": "iso"}, {"unit": "s", "origin": "2024-01-01T00:00:00Z"}])
def test_a_row_without_a_usable_time_is_unmappable(time: dict[str, Any], cell: Any) -> None:
    """The detail names the column and never the cell."""
    detail = _detail(_mapping(time={"column": "ts", **time}), {"ts": cell, "who": "u1"})
    assert "'ts'" in detail
    assert "soon" not in detail


@pytest.mark.parametrize("lane", ["", None, "-1", "1.5", "round"])
def test_a_lane_is_a_whole_number_from_zero(lane: Any) -> None:
    """Anything else would land a match somewhere in another one."""
    time = {"column": "ts", "unit": "s", "origin": "2024-01-01T00:00:00Z", "lane": {"column": "m", "spacing": "2h"}}
    assert "'m'" in _detail(_mapping(time=time), {"ts": "1", "m": lane, "who": "u1"})


@pytest.mark.parametrize(
    ("value", "cells", "wanted"),
    [
        ("fixed", {}, "fixed"),
        ({"column": "a"}, {"a": "x"}, "x"),
        ({"column": "a"}, {"a": 7.0}, "7"),
        ({"column": "a"}, {"a": ""}, None),
        ({"column": "a"}, {"a": float("nan")}, None),
        ({"column": "a", "default": "d"}, {"a": ""}, "d"),
        ({"template": "{a}/{b}!"}, {"a": "x", "b": 2}, "x/2!"),
        ({"template": "{a}/{b}"}, {"a": "x", "b": ""}, None),
        ({"template": "{{{a}}}"}, {"a": "x"}, "{x}"),
        ({"column": "a", "regex": "b(.)"}, {"a": "abcd"}, "c"),
        ({"column": "a", "regex": "b."}, {"a": "abcd"}, "bc"),
        ({"column": "a", "regex": "z(.)"}, {"a": "abcd"}, None),
        ({"column": "a", "regex": "z(.)", "default": "d"}, {"a": "abcd"}, "d"),
        ({"column": "a", "table": {"1": "one"}}, {"a": 1}, "one"),
        ({"column": "a", "table": {"1": "one"}, "default": "many"}, {"a": "2"}, "many"),
        ({"column": "a", "regex": "b(.)", "table": {"c": "see"}}, {"a": "abcd"}, "see"),
    ],
)
def test_a_value_is_taken_from_a_row_like_this(value: Any, cells: dict[str, Any], wanted: str | None) -> None:
    """Constant, column, template, regex, table, default; an absent optional field is left out."""
    assert _row(_mapping({"text": value}), {**ROW, **cells})[0].get("text") == wanted


def test_a_needed_value_that_is_empty_makes_the_row_unmappable() -> None:
    """No user, no event; the detail says which event and which field."""
    assert _detail(_mapping(), {**ROW, "who": ""}) == "event 1 (message): user is empty and an event needs it"
    listed = _mapping({"channel": {"column": "c", "table": {"a": "b"}}})
    assert "a value that the table does not list" in _detail(listed, {**ROW, "c": "z"})


def test_an_optional_cell_that_cannot_be_read_costs_the_part_and_not_the_row() -> None:
    """What stands in its place is no value of the part: decoding leaves the part out, and counts it."""
    scores = [{"column": "s", "scorer": "s", "version": "3"}, {"column": "u", "scorer": "r", "version": "1"}]
    table = {"column": "c", "table": {"a": "b"}}
    mapping = _mapping({"text": {"column": "t"}, "locale": table, "scores": scores, "recipients": {"column": "to"}})
    cells = {"t": {"a": 1}, "c": "z", "s": "high", "u": "0.5", "to": [{"a": 1}]}
    codec = Codec()
    event = codec.decode(Raw(CHAT, _row(mapping, {**ROW, **cells})[0], b"u1", Position("tiny", 0, 0, 0), None))
    assert isinstance(event, ChatMessage)
    assert (event.text, event.locale, event.recipients, len(event.scores)) == (None, None, (), 1)
    assert codec.take_mended() == {f"chat_message.{part}": 1 for part in ("text", "locale", "scores", "recipients")}


def test_recipients_are_cut_at_the_separator_or_are_a_list() -> None:
    """Each is one user, once, in order; none at all leaves the field out."""
    cut = _mapping({"recipients": {"column": "to", "separator": ";"}})
    assert _row(cut, {**ROW, "to": "b; a;;b"})[0]["recipients"] == ["b", "a"]
    assert _row(cut, {**ROW, "to": ["b", 3]})[0]["recipients"] == ["b", "3"]
    assert "recipients" not in _row(cut, {**ROW, "to": ""})[0]
    found = _mapping({"recipients": {"column": "to", "regex": r"^(\w+):"}})
    assert _row(found, {**ROW, "to": "ada: hi"})[0]["recipients"] == ["ada"]
    assert "recipients" not in _row(found, {**ROW, "to": "hi"})[0]


def test_scores_leave_out_empty_cells_and_say_which_scorer() -> None:
    """An absent score is not zero."""
    scores = [{"column": "t", "scorer": "s", "version": "3"}, {"column": "u", "scorer": "r", "version": "1"}]
    event = _row(_mapping({"scores": scores}), {**ROW, "t": "0.25", "u": ""})[0]
    assert event["scores"] == [{"scorer": "s", "version": "3", "value": 0.25}]


def test_severity_is_a_whole_number_from_a_cell_or_a_table() -> None:
    """`2` and `2.0` are a severity, `2.5` is not; out of bounds is left to validation."""
    mapping = _mapping(event=[_sanction(severity={"column": "level"})])
    assert [_row(mapping, {**ROW, "level": cell})[0]["sanction"]["severity"] for cell in ("2", 2.0, "9")] == [2, 2, 9]
    assert "is not a whole number" in _detail(mapping, {**ROW, "level": "2.5"})
    table = _mapping(event=[_sanction(severity={"column": "level", "table": {"grave": 4}, "default": 1})])
    assert [_row(table, {**ROW, "level": cell})[0]["sanction"]["severity"] for cell in ("grave", "")] == [4, 1]


def test_one_row_makes_all_of_its_events_or_none() -> None:
    """The second block cannot be filled, so the row's message is not made either."""
    blocks = [MESSAGE, _sanction(severity={"column": "level"})]
    mapping = _mapping(event=blocks)
    assert [event["event_id"] for event in _row(mapping, {**ROW, "level": 1})] == ["tiny:7:0", "tiny:7:1"]
    assert _detail(mapping, {**ROW, "level": ""}).startswith("event 2 (sanction): severity is empty")


def test_an_event_may_be_offset_from_its_row() -> None:
    """A sanction right after the message of the same row."""
    blocks = [MESSAGE, _sanction(offset_ms=1)]
    assert [event["event_time"] for event in _row(_mapping(event=blocks), ROW)] == [DAY, DAY + 1]


def test_the_logs_own_ids_are_used_and_may_not_repeat_in_a_row() -> None:
    """Two events with one id would be taken for a duplicate."""
    message = {**MESSAGE, "id": {"column": "id"}}
    assert _row(_mapping(event=[message]), {**ROW, "id": 12})[0]["event_id"] == "12"
    mapping = _mapping(event=[message, _sanction(id={"column": "id"})])
    assert "have the same id" in _detail(mapping, {**ROW, "id": 12})


NAMES = st.sampled_from(["a", "b", "c", "d"])


@given(st.lists(st.tuples(NAMES, NAMES)))
def test_a_name_means_the_person_who_holds_it_now(changes: list[tuple[str, str]]) -> None:
    """Against an oracle that follows each person: taking a name takes it from whoever had it."""
    mapping = _mapping(
        {"when": [{"column": "becomes", "equals": ""}], "recipients": {"column": "to"}},
        identity=[{"when": [{"column": "becomes", "not_empty": True}], "user": "who", "becomes": "becomes"}],
    )
    mapper = RowMapper(mapping, ["ts", "who", "becomes", "to"])
    holder = {name: name for name in "abcd"}
    for number, (name, becomes) in enumerate(changes):
        assert mapper.events(number, ["", name, becomes, ""], DAY) == []
        holder[becomes] = holder[name]
        for known in "abcd":
            ((_, event),) = mapper.events(number, ["", known, "", "a"], DAY)
            assert (event["user_id"], event["recipients"]) == (holder[known], [holder["a"]])


def test_reporters_are_persons_too_and_message_ids_are_not_names() -> None:
    """Identities resolve every user column, and nothing else."""
    report = {"kind": "report", "user": {"column": "who"}, "reporter": {"column": "by"}, "message_id": {"column": "by"}}
    rename = {"when": [{"column": "becomes", "not_empty": True}], "user": "who", "becomes": "becomes"}
    mapper = RowMapper(_mapping(event=[report], identity=[rename]), ["ts", "who", "becomes", "by"])
    mapper.events(0, ["", "old", "new", ""], DAY)
    ((_, event),) = mapper.events(1, ["", "x", "", "new"], DAY)
    assert event["report"] == {"reporter_id": "old", "message_id": "new"}


def test_a_rename_without_a_name_is_unmappable() -> None:
    """Joining somebody to nobody would lose a person."""
    rename = {"when": [{"column": "becomes", "equals": ""}], "user": "who", "becomes": "becomes"}
    assert _detail(_mapping(identity=[rename]), {**ROW, "becomes": ""}) == "identity: one of the two names is empty"


def test_what_a_mapping_makes_is_what_the_records_hold() -> None:
    """Every kind of event passes the same validation as a message from a topic."""
    blocks: list[dict[str, Any]] = [
        {
            **MESSAGE,
            "text": {"column": "x"},
            "locale": "en",
            "age_band": "18+",
            "recipients": {"column": "x"},
            "scores": [{"column": "p", "scorer": "s", "version": "1"}],
        },
        {"kind": "report", "user": {"column": "who"}, "reporter": {"column": "x"}, "category": "c", "channel": "main"},
        _sanction(),
        {"kind": "reversal", "user": {"column": "who"}, "sanction_id": {"template": "s-{x}"}, "reason": "appeal"},
        {
            "kind": "exposure",
            "user": {"column": "who"},
            "intervention": "i",
            "arm": "a",
            "probability": {"column": "p"},
        },
        {"kind": "erasure", "user": {"column": "who"}},
    ]
    mapper = RowMapper(_mapping(event=blocks), ["ts", "who", "x", "p"])
    made = mapper.events(0, [ROW["ts"], "u1", "y", "0.5"], DAY)
    assert [subject for subject, _ in made] == [CHAT, *[MODERATION] * 5]
    for subject, value in made:
        event = Codec().decode(Raw(subject, value, b"u1", Position("tiny", 0, 0, 0), None))
        assert not hasattr(event, "reason"), event
        assert event.model_dump(exclude_unset=True, mode="json") == value
        assert isinstance(event, ChatMessage) is (subject == CHAT)


def test_columns_are_told_once_in_the_order_of_first_mention() -> None:
    """What a log must have, whichever table names it."""
    mapping = _mapping(
        {"channel": {"template": "{b}-{a}"}, "scores": [{"column": "s", "scorer": "x", "version": "1"}]},
        skip=[{"when": [{"column": "k", "equals": 1}]}],
        identity=[{"when": [{"column": "k", "equals": 2}], "user": "who", "becomes": "new"}],
    )
    assert mapping.columns() == ("ts", "k", "who", "new", "b", "a", "s")
