"""Parquet files: one value that Python does not hold, or that is no text, costs its own row."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflows.mapping.mapping import LogMapping
from dataflows.sources.files import parquet_rows, rows
from dataflows.sources.files.log import Item, LogError, read_log
from schemas.records.base import Raw
from schemas.records.rejects import Reject, RejectReason
from tests.kit.thorough import examples

START = 1_700_000_000_000


def _mapping(**time: Any) -> LogMapping:
    message = {"kind": "message", "user": {"column": "user"}, "channel": "main", "text": {"column": "text"}}
    return LogMapping.model_validate({"name": "log", "time": {"column": "time", **time}, "event": [message]})


ISO = _mapping(format="iso")
SECONDS = _mapping(unit="s", origin="1970-01-01T00:00:00Z")


def _read(folder: Path, mapping: LogMapping = ISO, **columns: Any) -> list[Item]:
    path = folder / "log.parquet"
    pq.write_table(pa.table(columns), path)
    return list(read_log(path, mapping))


def _users(items: list[Item]) -> list[bytes | None]:
    return [item.key for item in items if isinstance(item, Raw)]


def _rejects(items: list[Item]) -> list[tuple[RejectReason, int]]:
    return [(item.reason, item.offset) for item in items if isinstance(item, Reject)]


DAYS = 2_932_897  # 10000-01-01, in days since 1970


@pytest.mark.parametrize(
    ("kind", "good", "bad", "kept"),
    [
        (pa.timestamp("ms"), START, DAYS * 86_400_000, "10000-01-01 00:00:00"),
        (pa.timestamp("ms", tz="Europe/Berlin"), START, 2**62, str(2**62)),
        (pa.timestamp("us"), START * 1_000, DAYS * 86_400_000_000, "10000-01-01 00:00:00"),
        (pa.timestamp("us", tz="UTC"), START * 1_000, -(2**62), "-"),
        (pa.timestamp("s"), START // 1_000, DAYS * 86_400, "10000-01-01 00:00:00"),
        (pa.date32(), 19_000, DAYS, "10000-01-01"),
        (pa.date32(), 19_000, -800_000, "-0221-09-04"),
        (pa.date64(), 19_000 * 86_400_000, DAYS * 86_400_000, "10000-01-01"),
    ],
)
def test_a_time_beyond_the_calendar_costs_its_row(
    tmp_path: Path, kind: pa.DataType, good: int, bad: int, kept: str
) -> None:
    """Beyond the year 9999 or before the year 1; the reject names the column and keeps the value."""
    whole = pa.array([good, bad, good, None], pa.int32() if str(kind) == "date32[day]" else pa.int64())
    items = _read(tmp_path, time=whole.cast(kind), user=["ann", "bob", "cy", "di"], text=["a", "b", "c", "d"])
    assert _users(items) == [b"ann", b"cy"]
    assert _rejects(items) == [(RejectReason.UNMAPPED_ROW, 1), (RejectReason.UNMAPPED_ROW, 3)]
    first = next(item for item in items if isinstance(item, Reject))
    assert "column 'time'" in first.detail
    assert b"bob" in (first.value or b"")
    assert kept.encode() in (first.value or b"")


ODD: list[Any] = [
    pa.array([1, 2], pa.int64()).cast(pa.time64("ns")),
    pa.array([2**62, 1], pa.int64()).cast(pa.duration("ns")),
    pa.array([{"a": 1}, None]),
    pa.array([[1], None]),
    pa.array([float("inf"), 1.0]),
    pa.array([float("nan"), 1.0]),
    pa.array([2**63, 2**64 - 1], pa.uint64()),
    pa.array([Decimal(10) ** 70, Decimal(1)], pa.decimal256(76, 0)),
    pa.array([True, None]),
    pa.array([b"\xff", b"x"], pa.binary()),
    pa.array(["x", None]).dictionary_encode(),
    pa.array([None, None]),
    pa.array([1.5, None], pa.float16()),
]


@pytest.mark.parametrize("at", ["time", "user", "text"])
@pytest.mark.parametrize("odd", ODD, ids=lambda odd: str(odd.type))
@pytest.mark.parametrize("mapping", [ISO, SECONDS], ids=["iso", "seconds"])
def test_a_column_of_any_type_ends_as_records_and_rejects(
    tmp_path: Path, mapping: LogMapping, odd: Any, at: str
) -> None:
    """Times of day, durations, nested values, infinities, large numbers: nothing raises, every row is accounted for."""
    time: Any = pa.array([START, START], pa.timestamp("ms")) if mapping is ISO else [1, 2]
    items = _read(tmp_path, mapping, **{"time": time, "user": ["ann", "bob"], "text": ["a", "b"], at: odd})
    assert [item.at.offset if isinstance(item, Raw) else item.offset for item in items] == [0, 1]


def test_strings_without_an_annotation_are_utf8(tmp_path: Path) -> None:
    """As old Spark and Impala wrote them, also in lists, in dictionaries and of a fixed length."""
    users = pa.array(["änn".encode(), b"\xff", b"cy"], pa.binary())
    fixed = pa.array([b"aa", b"bb", b"cc"], pa.binary(2))
    items = _read(tmp_path, time=pa.array([START] * 3, pa.timestamp("ms")), user=users, text=fixed)
    assert _users(items) == ["änn".encode(), b"cy"]
    assert _rejects(items) == [(RejectReason.INVALID_UTF8, 1)]
    assert [item.value["text"] for item in items if isinstance(item, Raw)] == ["aa", "cc"]
    large = pa.array([b"ann"] * 3, pa.large_binary())
    assert _users(_read(tmp_path, time=[date(2024, 1, 1)] * 3, user=large, text=["a"] * 3)) == [b"ann"] * 3


def test_old_96_bit_times_beyond_64_bits_of_nanoseconds_are_not_wrapped(tmp_path: Path) -> None:
    """A ban until 2999 must not become a time of the 18th century."""
    moment = datetime(2999, 12, 31, tzinfo=UTC)
    table = {"time": pa.array([moment], pa.timestamp("ms")), "user": ["ann"], "text": ["a"]}
    pq.write_table(pa.table(table), tmp_path / "log.parquet", use_deprecated_int96_timestamps=True)
    (raw,) = read_log(tmp_path / "log.parquet", ISO)
    assert isinstance(raw, Raw)
    assert raw.value["event_time"] == round(moment.timestamp() * 1000)


def test_a_text_beyond_the_bound_costs_its_row(tmp_path: Path) -> None:
    """Its length is told and its first bytes are kept."""
    long = "x" * (rows.ROW_BYTES + 1)
    times = pa.array([START] * 3, pa.timestamp("ms"))
    items = _read(tmp_path, time=times, user=["ann", "bob", "cy"], text=["a", long, "c"])
    assert _users(items) == [b"ann", b"cy"]
    assert _rejects(items) == [(RejectReason.TOO_LARGE, 1)]
    (reject,) = (item for item in items if isinstance(item, Reject))
    assert f"{rows.ROW_BYTES + 1:,} bytes" in reject.detail
    assert reject.value == b"x" * rows.HEAD_BYTES


def test_a_long_text_that_many_rows_share_is_not_held_for_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch whose texts are too long together is read row by row, with the same records."""
    times = pa.array([START + number for number in range(100)], pa.timestamp("ms"))
    columns = {"time": times, "user": [f"u{number}" for number in range(100)], "text": ["y" * 1_000] * 100}
    wanted = _read(tmp_path, **columns)
    monkeypatch.setattr(parquet_rows, "BATCH_BYTES", 50_000)
    asked: list[int] = []
    row = parquet_rows.ParquetRows._row
    monkeypatch.setattr(parquet_rows.ParquetRows, "_row", lambda *given: asked.append(1) or row(*given))
    assert _read(tmp_path, **columns) == wanted
    assert len(asked) == 100


def test_what_is_no_parquet_or_has_a_column_twice_is_answered(tmp_path: Path) -> None:
    """In a sentence, before anything runs."""
    path = tmp_path / "log.parquet"
    path.write_bytes(b"PAR1" + b"\0" * 50 + b"PAR1")
    with pytest.raises(LogError, match="is not Parquet, or damaged"):
        read_log(path, ISO)
    twice = pa.Table.from_arrays([pa.array([1]), pa.array(["a"]), pa.array(["b"])], names=["time", "user", "user"])
    pq.write_table(twice, path)
    with pytest.raises(LogError, match="has column 'user' twice"):
        read_log(path, ISO)


@settings(max_examples=examples(150), deadline=None)
@given(st.data())
def test_a_file_with_any_bytes_in_it_is_read_or_damaged(data: st.DataObject) -> None:
    """Nothing but a sentence about the file is raised, wherever it is damaged."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.parquet"
        times = pa.array([START + number for number in range(50)], pa.timestamp("ms"))
        users = [f"user{number % 5}" for number in range(50)]
        pq.write_table(pa.table({"time": times, "user": users, "text": users}), path)
        whole = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 5))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))] if data.draw(st.booleans()) else whole)
        with suppress(LogError):
            for item in read_log(path, ISO):
                assert isinstance(item, Raw | Reject)
