"""Cells: when two of them name the same user, and which ones cannot say whom they name."""

from __future__ import annotations

import json
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.mapping.cells import ShortFloat, UnmappableError, as_float, as_id, as_number, as_text, as_whole
from dataflows.mapping.mapping import LogMapping
from dataflows.mapping.values import Condition
from dataflows.sources.files.log import read_log
from schemas.records.base import Raw
from schemas.records.rejects import Reject, RejectReason

MAPPING = LogMapping.model_validate(
    {
        "name": "ids",
        "time": {"column": "time", "unit": "s", "origin": "1970-01-01T00:00:00Z"},
        "event": [
            {
                "kind": "message",
                "user": {"column": "user"},
                "channel": {"template": "room-{room}"},
                "recipients": {"column": "to"},
            }
        ],
    }
)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("7", "7"),
        ("7.0", "7.0"),
        ("1e3", "1e3"),
        (7, "7"),
        (7.0, "7"),
        (1e3, "1000"),
        (0.0, "0"),
        (-0.0, "0"),
        (Decimal("-0.00"), "0"),
        (Decimal("7.00"), "7"),
        (Decimal("1E+3"), "1000"),
        (Decimal("0.10"), "0.1"),
        (0.1, "0.1"),
        (1e-7, "0.0000001"),
        (True, "true"),
        (False, "false"),
        (2**53 - 1.0, "9007199254740991"),
        (1 << 200, str(1 << 200)),
        (float("nan"), None),
        ("", None),
        (None, None),
        (b"caf\xc3\xa9", "café"),
    ],
)
def test_a_number_names_by_its_value_and_text_by_what_is_written(cell: Any, text: str | None) -> None:
    """One rule for all formats: 7.0 is 7, the text 7.0 is not, and true is neither 1 nor yes."""
    assert as_id(cell, "user") == as_text(cell, "user") == text


@pytest.mark.parametrize(
    "cell",
    [
        2.0**53,
        -(2.0**53),
        1.2345678901234568e24,
        123456789012345.67,
        0.1 + 0.2,
        ShortFloat(2.0**24, 24),
        ShortFloat(0.5, 24),
        ShortFloat(2.0**11, 11),
        "1.2345678901234568e+18",
        "1.2345678901234568E18",
        "1.23457E+18",
        "1.23457E+11",
        "1234567890123456768.0",
        "+1.5E+30",
    ],
)
def test_a_rounded_number_names_nobody(cell: Any) -> None:
    """It may stand for several; the sentence names the column, says why and what to do."""
    with pytest.raises(UnmappableError, match=r"column 'user' is not exact: .*write ids as text"):
        as_id(cell, "user")


@pytest.mark.parametrize(
    "name", ["1e99", "2E5", "1.5E+1", "12345678901234567890", "a+b@c.example", "1234567.0", "3.14", "x" * 256, "+" * 40]
)
def test_a_name_that_only_resembles_a_number_is_a_name(name: str) -> None:
    """What no program prints for a rounded number stays as it is."""
    assert as_id(name, "user") == name


@given(st.one_of(st.integers(), st.floats(), st.decimals(), st.text(), st.binary(), st.booleans(), st.none()))
def test_any_cell_is_read_or_unmappable(cell: Any) -> None:
    """Whatever a cell holds, nothing else is raised."""
    for read in (as_text, as_id, as_float, as_number, as_whole):
        with suppress(UnmappableError):
            read(cell, "x")


@given(st.integers(), st.integers())
def test_two_floats_that_name_the_same_are_the_same_number(one: int, other: int) -> None:
    """No two whole numbers share a name, whether they came as a float or not."""
    names = []
    for number in (one, other):
        try:
            names.append(as_id(float(number), "x"))
        except (UnmappableError, OverflowError):
            return
    assert (names[0] == names[1]) is (one == other)


@pytest.mark.parametrize("cell", [10**400, Decimal("1E+999999"), "9" * 5_000, "1e999", float("inf"), True, [1], "0x10"])
def test_a_number_that_is_none_is_unmappable(cell: Any) -> None:
    """Neither infinities nor numbers beyond all floats nor truth values."""
    with pytest.raises(UnmappableError, match="'x' is not a number"):
        as_number(cell, "x")


@pytest.mark.parametrize(
    ("cell", "whole"), [("9007199254740993", 2**53 + 1), (Decimal(2**53 + 1), 2**53 + 1), (3.0, 3)]
)
def test_whole_numbers_are_read_digit_by_digit(cell: Any, whole: int) -> None:
    """Neighbours beyond 2^53 stay two."""
    assert as_whole(cell, "x") == whole
    with pytest.raises(UnmappableError, match="not exact"):
        as_whole(2.0**53, "x")


def _users(path: Path) -> tuple[list[bytes | None], list[Reject]]:
    items = list(read_log(path, MAPPING))
    return [item.key for item in items if isinstance(item, Raw)], [item for item in items if isinstance(item, Reject)]


def test_ids_of_any_size_are_exact_in_json(tmp_path: Path) -> None:
    """Twenty-five digits, in a list and in a template as well; what is written as a float is what it is."""
    ids = [10**24 + 1, 10**24 + 2, 2**64, 2**64 + 1, 2**53 + 1]
    lines = [{"time": number, "user": one, "room": one, "to": [one]} for number, one in enumerate(ids)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    text += json.dumps({"time": 8, "user": "ann", "room": "a", "to": ["b", ids[0]]}) + "\n"
    text += '{"time":9,"user":9007199254740993.0,"room":1e25,"to":-0.0}\n'
    (tmp_path / "log.jsonl").write_text(text)
    raws = [item for item in read_log(tmp_path / "log.jsonl", MAPPING) if isinstance(item, Raw)]
    said = [(raw.value["user_id"], raw.value["channel"], raw.value["recipients"]) for raw in raws]
    assert said == [
        *((str(one), f"room-{one}", [str(one)]) for one in ids),
        ("ann", "room-a", ["b", str(ids[0])]),
        ("9007199254740993", "room-1" + "0" * 25, ["0"]),
    ]


def test_ids_in_a_column_of_floats_are_refused_where_they_were_rounded(tmp_path: Path) -> None:
    """As when a gap made pandas store whole numbers as floats: small ones are exact, an empty one is a gap."""
    ids = [float(2**60), 7.0, None, float(2**60 + 64), float(2**53 - 1)]
    table = {"time": list(range(5)), "user": pa.array(ids, pa.float64()), "room": ["a"] * 5, "to": ["b"] * 5}
    pq.write_table(pa.table(table), tmp_path / "log.parquet")
    users, rejects = _users(tmp_path / "log.parquet")
    assert users == [b"7", b"9007199254740991"]
    assert [(reject.reason, reject.offset) for reject in rejects] == [
        (RejectReason.UNMAPPED_ROW, at) for at in (0, 2, 3)
    ]
    assert ["not exact" in reject.detail for reject in rejects] == [True, False, True]


def test_ids_in_a_column_of_short_floats_are_refused_sooner(tmp_path: Path) -> None:
    """Single precision is exact below 2^24."""
    ids = pa.array([16_777_215.0, 16_777_216.0], pa.float32())
    table = {"time": [0, 1], "user": ids, "room": ["a"] * 2, "to": ["b"] * 2}
    pq.write_table(pa.table(table), tmp_path / "log.parquet")
    users, rejects = _users(tmp_path / "log.parquet")
    assert users == [b"16777215"]
    assert "not exact" in rejects[0].detail


def test_decimals_and_dictionaries_name_by_value(tmp_path: Path) -> None:
    """Decimals of any scale, and text stored once for many rows."""
    users = pa.array([Decimal("12345678901234567890.00"), Decimal("0.50")], pa.decimal128(38, 2))
    room = pa.array(["a", "a"]).dictionary_encode()
    pq.write_table(pa.table({"time": [0, 1], "user": users, "room": room, "to": ["b"] * 2}), tmp_path / "log.parquet")
    assert _users(tmp_path / "log.parquet") == ([b"12345678901234567890", b"0.5"], [])


def test_a_recipient_that_cannot_be_named_does_not_cost_the_message(tmp_path: Path) -> None:
    """Its place is left to validation, which leaves out and counts; the others are there."""
    (tmp_path / "log.jsonl").write_text('{"time":1,"user":"ann","room":"a","to":["bob",{"x":1},null,1e999,"cy"]}\n')
    (raw,) = read_log(tmp_path / "log.jsonl", MAPPING)
    assert isinstance(raw, Raw)
    value = json.loads(raw.value) if isinstance(raw.value, bytes) else raw.value
    assert value["recipients"] == ["bob", None, "cy"]


@pytest.mark.parametrize("condition", [{"equals": float("nan")}, {"in": [1, float("inf")]}, {"greater_than": -1e999}])
def test_a_condition_compares_with_finite_numbers(condition: dict[str, Any]) -> None:
    """Not a number would mean an empty cell."""
    with pytest.raises(ValueError, match="compares with a number that is not finite"):
        Condition.model_validate({"column": "x", **condition})
