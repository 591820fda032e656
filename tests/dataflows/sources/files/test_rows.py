"""Readers of rows: quoting as the format says, bounds, and one bad row that leaves its neighbours as they were."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dataflows.mapping.compile import RowMapper
from dataflows.mapping.mapping import LogMapping
from dataflows.sources.files import rows as bounds
from dataflows.sources.files.formats import open_rows
from dataflows.sources.files.log import Item, LogError, read_log
from dataflows.sources.files.rows import BadRow
from schemas.codec.inputs import Codec
from schemas.records.base import Raw
from schemas.records.rejects import Reject, RejectReason
from tests.kit.thorough import examples

COLUMNS = ("time", "user", "room", "text")
START = 1_700_000_000


def _mapping(**changes: Any) -> LogMapping:
    message = {
        "kind": "message",
        "user": {"column": "user"},
        "channel": {"column": "room"},
        "text": {"column": "text"},
        "scores": [],
    }
    time = {"column": "time", "unit": "s", "origin": "1970-01-01T00:00:00Z"}
    return LogMapping.model_validate({"name": "log", "time": time, "event": [message], **changes})


MAPPING = _mapping()


def _write(folder: Path, name: str, data: str | bytes) -> Path:
    path = folder / name
    content = data.encode() if isinstance(data, str) else data
    path.write_bytes(gzip.compress(content) if name.lower().endswith(".gz") else content)
    return path


def _row(number: int, text: str, separator: str = ",") -> str:
    return separator.join((str(START + number), f"user{number % 7}", "lobby", text)) + "\n"


def _texts(items: list[Item]) -> list[str]:
    return [item.value["text"] for item in items if isinstance(item, Raw)]


def _rejects(items: list[Item]) -> list[tuple[RejectReason, int]]:
    return [(item.reason, item.offset) for item in items if isinstance(item, Reject)]


@pytest.mark.parametrize("texts", [{5: '"unfinished thought', 25: '" lol'}, {5: '"never closed'}, {0: '"', 39: '"'}])
def test_a_quote_in_a_tsv_is_a_character_like_any_other(tmp_path: Path, texts: dict[int, str]) -> None:
    """The registration of text/tab-separated-values knows no quoting: every row is a row."""
    said = [texts.get(number, f"hello {number}") for number in range(40)]
    rows = "".join(_row(number, text, "\t") for number, text in enumerate(said))
    path = _write(tmp_path, "log.tsv", "\t".join(COLUMNS) + "\n" + rows)
    assert _texts(list(read_log(path, MAPPING))) == said


@pytest.mark.parametrize(
    "texts",
    [
        {5: '"never closed'},
        {5: '"unfinished thought', 25: '" lol'},
        {5: '"opened here', 25: 'and "closed" here"'},
        {5: '"opened here', 25: 'closed here"'},
        {5: '"', 6: '"', 7: '"'},
        {0: '"first', 39: '"last'},
        {5: '"one, two'},
    ],
)
def test_an_open_quote_in_a_csv_costs_its_own_row_and_no_neighbour(tmp_path: Path, texts: dict[int, str]) -> None:
    """Whether or not a later quote happens to close it."""
    opened = [number for number, text in texts.items() if text.startswith('"')]
    said = [texts.get(number, f"hello {number}") for number in range(40)]
    path = _write(tmp_path, "log.csv", ",".join(COLUMNS) + "\n" + "".join(map(_row, range(40), said)))
    items = list(read_log(path, MAPPING))
    kept = [text for number, text in enumerate(said) if number not in opened]
    assert _texts(items) == kept
    assert _rejects(items) == [(RejectReason.UNMAPPED_ROW, number) for number in opened]
    values = [item.value for item in items if isinstance(item, Reject)]
    assert values == [_row(number, said[number]).encode() for number in opened]


def test_a_mapping_chooses_the_quote(tmp_path: Path) -> None:
    """Another character, one for a TSV, or none for a CSV."""
    path = _write(tmp_path, "log.csv", ",".join(COLUMNS) + "\n" + _row(0, "'a, ''b''\nc'") + _row(1, '"'))
    assert _texts(list(read_log(path, _mapping(quote="'")))) == ["a, 'b'\nc", '"']
    path = _write(tmp_path, "log.csv", ",".join(COLUMNS) + "\n" + _row(0, '"a') + _row(1, 'b"'))
    assert _texts(list(read_log(path, _mapping(quote=False)))) == ['"a', 'b"']
    path = _write(tmp_path, "log.tsv", "\t".join(COLUMNS) + "\n" + _row(0, '"a\tb\nc"', "\t"))
    assert _texts(list(read_log(path, _mapping(quote='"')))) == ["a\tb\nc"]


@pytest.mark.parametrize("quote", [True, "", '""', 7, "\n", ","])
def test_a_quote_that_cannot_be_one_is_refused(quote: Any) -> None:
    """One character that is not the delimiter, or false."""
    with pytest.raises(ValueError, match=r"quote"):
        _mapping(quote=quote, delimiter=",")


CELLS = st.lists(st.text(alphabet='ab,"\n\r \N{SNOWMAN}', max_size=8), min_size=2, max_size=2)


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(CELLS, max_size=8), st.booleans())
def test_what_a_writer_of_csv_writes_is_read_back(texts: list[list[str]], quote_all: bool) -> None:
    """Embedded delimiters, quotes and line ends, in any cell and over any number of lines."""
    written = io.StringIO()
    writer = csv.writer(written, quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL, lineterminator="\n")
    rows = [[str(START + number), *cells, "end"] for number, cells in enumerate(texts)]
    writer.writerow(["time", "a", "b", "c"])
    writer.writerows(rows)
    with tempfile.TemporaryDirectory() as folder:
        read = open_rows(_write(Path(folder), "log.csv", written.getvalue()), ["time"])
        read.resembles = lambda cells: cells[0].isdigit()
        assert [list(row) for row in read] == rows


GOOD = [_row(number, f"hello {number}").encode() for number in range(6)]
JSON = [json.dumps(dict(zip(COLUMNS, row.decode().rstrip().split(","), strict=True))).encode() + b"\n" for row in GOOD]


@pytest.mark.slow
@settings(max_examples=examples(200), deadline=None)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.text(alphabet='",ab1{}[]:\\u\ufeff\n', max_size=40).map(str.encode),
        st.sampled_from(
            [b"\xef\xbb\xbf", b'"', b"1e306,a,b,c", b'{"time":1e306,"user":1}', b"[" * 5_000, b'{"a":' * 900]
        ),
    ),
    st.integers(0, 6),
)
@pytest.mark.parametrize("name", ["log.csv", "log.tsv", "log.jsonl"])
def test_rows_around_bad_bytes_come_out_unchanged(name: str, bad: bytes, at: int) -> None:
    """The records of the file without the bad line are among those of the file with it, unchanged and in order."""
    assume(not name.endswith("csv") or b'"' not in bad.rstrip(b"\n") or b"\n" not in bad)
    lines = JSON if name.endswith("jsonl") else [row.replace(b",", b"\t") if "tsv" in name else row for row in GOOD]
    header = b"" if name.endswith("jsonl") else (",".join(COLUMNS) + "\n").encode()
    header = header.replace(b",", b"\t") if "tsv" in name else header
    mapping = _mapping(sparse=list(COLUMNS))
    with tempfile.TemporaryDirectory() as folder:
        clean = list(read_log(_write(Path(folder), name, header + b"".join(lines)), mapping))
        dirty = header + b"".join([*lines[:at], bad + b"\n", *lines[at:]])
        items = list(read_log(_write(Path(folder), name, dirty), mapping))
    wanted = [_without_place(item) for item in clean]
    found = iter([_without_place(item) for item in items])
    assert len(wanted) == 6
    assert all(any(one == other for other in found) for one in wanted)
    for item in items:
        if isinstance(item, Raw):
            Codec().decode(item)


def _without_place(item: Item) -> Any:
    assert not isinstance(item, Reject) or item.value is not None
    if isinstance(item, Reject):
        return item.reason
    value = dict(item.value) if isinstance(item.value, dict) else {"bytes": item.value}
    return {key: value[key] for key in value if key != "event_id"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["log.csv.gz", "log.tsv.gz", "log.jsonl.gz", "log.csv", "log.jsonl"])
def test_a_line_without_an_end_is_a_reject_of_bounded_size(tmp_path: Path, name: str) -> None:
    """Its length is told, its first bytes are kept, memory does not grow with it, and reading goes on behind it."""
    lines = JSON if "jsonl" in name else [row.replace(b",", b"\t") if "tsv" in name else row for row in GOOD]
    header = b"" if "jsonl" in name else ",".join(COLUMNS).encode() + b"\n"
    header = header.replace(b",", b"\t") if "tsv" in name else header
    length = 16 * bounds.ROW_BYTES
    path = tmp_path / name
    with gzip.open(path, "wb", compresslevel=1) if name.endswith(".gz") else path.open("wb") as file:
        file.write(header + lines[0])
        for _ in range(16):
            file.write(b"x" * bounds.ROW_BYTES)
        file.write(b"\n" + lines[1])
    tracemalloc.start()
    items = list(read_log(path, MAPPING))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert _rejects(items) == [(RejectReason.TOO_LARGE, 1)]
    assert _texts(items) == ["hello 0", "hello 1"]
    (reject,) = (item for item in items if isinstance(item, Reject))
    assert f"the row has {length + 1:,} bytes" in reject.detail
    assert reject.value == b"x" * bounds.HEAD_BYTES
    assert peak < 4 * bounds.ROW_BYTES


def test_a_row_that_a_quote_makes_too_long_is_a_reject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that look like no row end with the bound; each of them is then a row of its own."""
    monkeypatch.setattr("dataflows.sources.files.csv_rows.ROW_BYTES", 100)
    path = _write(tmp_path, "log.csv", ",".join(COLUMNS) + "\n" + _row(0, '"a\n' + "text\n" * 50 + 'z"') + _row(1, "b"))
    items = list(read_log(path, MAPPING))
    assert _texts(items) == ["b"]
    assert _rejects(items) == [(RejectReason.UNMAPPED_ROW, number) for number in range(52)]


def test_many_open_quotes_are_read_in_linear_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No line is looked at more than a few times, whatever quotes are opened before it."""
    looked = 0

    def counted(line: bytes) -> str:
        nonlocal looked
        looked += 1
        return line.decode(errors="replace")

    monkeypatch.setattr("dataflows.sources.files.csv_rows._decoded", counted)
    rows = "".join(f'"{number}' + ',""' * (number % 3) + "\n" + "plain\n" * 5 for number in range(2_000))
    path = _write(tmp_path, "log.csv", ",".join(COLUMNS) + "\n" + rows)
    assert list(read_log(path, MAPPING))
    assert looked < 4 * 12_000


TABS = b"".join([",".join(COLUMNS).encode() + b"\n", *GOOD]).replace(b",", b"\t")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("log.CSV", TABS.replace(b"\t", b",")),
        ("LOG.Csv.GZ", TABS.replace(b"\t", b",")),
        ("log.TSV", TABS),
        ("log.JSONL.GZ", b"".join(JSON)),
        ("log.NDJSON", b"".join(JSON)),
    ],
)
def test_a_suffix_means_the_same_in_capitals(tmp_path: Path, name: str, data: bytes) -> None:
    """As some systems write them."""
    assert len(_texts(list(read_log(_write(tmp_path, name, data), MAPPING)))) == 6


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("log.csv.gz", b"time,user\n"),
        ("log.jsonl.gz", b"{}"),
        ("log.csv.gz", gzip.compress(b"time,user\n" * 50, mtime=0)[:20]),
    ],
)
def test_a_file_that_is_no_archive_is_answered_in_a_sentence(tmp_path: Path, name: str, data: bytes) -> None:
    """Before anything runs."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises(LogError, match=r"is damaged from its first row on \(.+\): fetch the log again"):
        read_log(tmp_path / name, MAPPING)


def test_an_object_deep_or_wide_beyond_reason_is_a_row_like_any_other(tmp_path: Path) -> None:
    """The columns of its depths are not looked for, and its neighbours are read."""
    deep = b'{"a":' * 1_000 + b"1" + b"}" * 1_000 + b"\n"
    wide = json.dumps({f"key{number}": {"x": number} for number in range(50_000)}).encode() + b"\n"
    items = list(read_log(_write(tmp_path, "log.jsonl", JSON[0] + deep + wide + JSON[1]), MAPPING))
    assert _texts(items) == ["hello 0", "hello 1"]
    assert _rejects(items) == [(RejectReason.UNMAPPED_ROW, 1), (RejectReason.UNMAPPED_ROW, 2)]


@pytest.mark.parametrize("time", ["1e306", "1e308", "-1e300", "1e99999", "9" * 5_000, "inf", "nan", "NaN", "true"])
def test_a_time_beyond_all_bounds_costs_its_row(tmp_path: Path, time: str) -> None:
    """In CSV and in JSON; the row is named by its number and the column by its name."""
    good = _row(1, "b")
    path = _write(tmp_path, "log.csv", ",".join(COLUMNS) + f"\n{time},ann,lobby,a\n" + good)
    items = list(read_log(path, MAPPING))
    assert (_texts(items), _rejects(items)) == (["b"], [(RejectReason.UNMAPPED_ROW, 0)])
    assert [("'time'" in item.detail) for item in items if isinstance(item, Reject)] == [True]
    line = f'{{"time":{time},"user":"ann","room":"lobby","text":"a"}}\n'.encode()
    path = _write(tmp_path, "log.jsonl", line + JSON[1])
    items = list(read_log(path, MAPPING))
    assert _texts(items) == ["hello 1"]
    assert len(_rejects(items)) == 1


@pytest.mark.parametrize("error", [OverflowError, RecursionError, ZeroDivisionError, UnicodeError, KeyError])
@pytest.mark.parametrize("step", ["skips", "events"])
@pytest.mark.parametrize("sort", [False, True])
def test_whatever_reading_a_row_raises_costs_that_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception], step: str, sort: bool
) -> None:
    """The one guard behind all conversions: the reject has the row's number and bytes, and the next row is read."""
    real = getattr(RowMapper, step)

    def fails(mapper: RowMapper, *given: Any) -> Any:
        row = given[1] if step == "events" else given[0]
        if row[3] == "bad":
            raise error("a fault that nobody thought of")
        return real(mapper, *given)

    monkeypatch.setattr(RowMapper, step, fails)
    data = ",".join(COLUMNS) + "\n" + _row(0, "a") + _row(1, "bad") + _row(2, "c")
    items = list(read_log(_write(tmp_path, "log.csv", data), _mapping(sort=sort)))
    assert _texts(items) == ["a", "c"]
    (reject,) = (item for item in items if isinstance(item, Reject))
    assert (reject.reason, reject.offset) == (RejectReason.UNMAPPED_ROW, 1)
    assert reject.detail == f"cannot be mapped ({error.__name__})"
    assert json.loads(reject.value or b"")["text"] == "bad"


def test_what_only_a_lenient_parser_reads_goes_to_validation_as_bytes(tmp_path: Path) -> None:
    """Half a surrogate pair in an optional text must not cost the message; decoding has the one rule for that."""
    record = '{"subject":"chat_message","event_id":"m1","event_time":1,"user_id":"ann","channel":"c","text":"a\\ud83d"}'
    (native,) = read_log(_write(tmp_path, "log.jsonl", record + "\n"))
    assert isinstance(native, Raw)
    assert (native.value, native.key) == (record.encode(), b"ann")
    line = '{"time":1,"user":"ann","room":"c","text":"a\\ud83d"}\n'
    (mapped,) = read_log(_write(tmp_path, "log.jsonl", line), MAPPING)
    assert isinstance(mapped, Raw)
    assert isinstance(mapped.value, bytes)
    assert json.loads(mapped.value)["text"] == "a\ud83d"
    assert mapped.key == b"ann"


def test_parts_that_validation_would_mend_reach_it(tmp_path: Path) -> None:
    """A score above 1 or beyond all floats, no recipients, too many of them: a row is not refused for those."""
    scored = _mapping(
        event=[
            {
                "kind": "message",
                "user": {"column": "user"},
                "channel": {"column": "room"},
                "recipients": {"column": "to"},
                "scores": [{"column": "score", "scorer": "s", "version": "1"}],
            }
        ],
        sparse=["to", "score"],
    )
    lines = [{"score": 1.00000536, "to": None}, {"score": 1e300, "to": [f"u{n}" for n in range(1_025)]}]
    base = {"time": 1, "user": "ann", "room": "c"}
    text = "".join(json.dumps({**base, **line}) + "\n" for line in lines)
    text += json.dumps(base)[:-1] + ',"score":1e999}\n'
    items = list(read_log(_write(tmp_path, "log.jsonl", text), scored))
    assert _rejects(items) == []
    values = [json.loads(i.value) if isinstance(i.value, bytes) else i.value for i in items if isinstance(i, Raw)]
    assert [value["scores"][0]["value"] for value in values] == [1.00000536, 1e300, float("inf")]
    assert [len(value.get("recipients", ())) for value in values] == [0, 1_025, 0]


def test_rows_are_read_without_a_mapping_by_width_alone(tmp_path: Path) -> None:
    """A labelled text that runs over lines is one row; one whose quote is never closed costs itself."""
    data = 'text,label\n"one\ntwo\nthree",1\n"open,0\nnext,1\nlast,0\n'
    read = list(open_rows(_write(tmp_path, "log.csv", data), ["text", "label"]))
    assert [row for row in read if not isinstance(row, BadRow)] == [
        ["one\ntwo\nthree", "1"],
        ["next", "1"],
        ["last", "0"],
    ]
    assert sum(isinstance(row, BadRow) for row in read) == 1


@pytest.mark.parametrize(
    "header", ['time,"user,room,text\n', "time,user\rroom,text\n", '"', "\xff\xfe", "x" * 5_000_000]
)
def test_a_header_that_cannot_be_read_is_answered_in_a_sentence(tmp_path: Path, header: str) -> None:
    """A quote that is open, the line ends of old computers, bytes that are no text, a line without an end."""
    path = _write(tmp_path, "log.csv", header.encode("latin-1") + b"".join(GOOD))
    with pytest.raises(LogError, match=r"log\.csv: (the header line cannot be read|is UTF-16|has no column)"):
        read_log(path, MAPPING)
