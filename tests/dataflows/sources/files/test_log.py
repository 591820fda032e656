"""The log source: every format gives the same records, no row stops a log, and a reading resumes where it stopped."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflows.mapping.mapping import LogMapping
from dataflows.sinks.memory import MemorySink
from dataflows.sources.files.log import Item, LogCounts, LogError, LogSource, read_log
from schemas.codec.inputs import Codec
from schemas.records.base import CHAT, Position, Raw
from schemas.records.rejects import Reject, RejectReason
from tests.kit.paths import ROOT
from tests.kit.thorough import examples

DATA = ROOT / "tests" / "data"
MAPPINGS = ROOT / "deploy" / "mappings"
DATASETS = ROOT.parent / "shared" / "datasets"

COMMUNITY = LogMapping.load(MAPPINGS / "example.toml")

MAPPING = LogMapping.model_validate(
    {
        "name": "tiny",
        "time": {"column": "ts", "unit": "s", "origin": "2024-01-01T00:00:00Z"},
        "skip": [{"when": [{"column": "kind", "equals": "bot"}]}],
        "identity": [{"when": [{"column": "kind", "equals": "rename"}], "user": "who", "becomes": "to"}],
        "event": [
            {
                "kind": "message",
                "when": [{"column": "kind", "in": ["say", "shout"]}],
                "user": {"column": "who"},
                "channel": "main",
                "text": {"column": "to"},
            },
            {
                "kind": "report",
                "when": [{"column": "kind", "equals": "shout"}],
                "user": {"column": "who"},
            },
        ],
    }
)
START = 1_704_067_200_000

TWO_LINES = 'yes, "quoted"\nover two lines'
HEADER = "ts,kind,who,to\n"
ROWS = [
    (0, "say", "ann", "hé"),
    (1, "bot", "b9", "x"),
    (2, "rename", "ann", "anna"),
    (3, "shout", "anna", None),
    (3, "say", "bea", TWO_LINES),
    (5, "shout", "anna", "once more"),
]


def _csv(rows: list[tuple[Any, ...]], separator: str = ",") -> str:
    def cell(value: Any) -> str:
        text = "" if value is None else str(value)
        return '"' + text.replace('"', '""') + '"' if any(c in text for c in '",\n') else text

    return "".join(separator.join(cell(value) for value in row) + "\n" for row in rows)


def _log(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def _objects() -> list[dict[str, Any]]:
    return [{k: v for k, v in zip(("ts", "kind", "who", "to"), row, strict=True) if v is not None} for row in ROWS]


def _jsonl() -> str:
    return "".join(json.dumps(row) + "\n" for row in _objects())


def _value(raw: Raw) -> dict[str, Any]:
    assert isinstance(raw.value, dict)
    return raw.value


def _raws(items: list[Item]) -> list[Raw]:
    assert not [item for item in items if isinstance(item, Reject)]
    return [item for item in items if isinstance(item, Raw)]


def _rejects(items: list[Item]) -> list[Reject]:
    return [item for item in items if isinstance(item, Reject)]


def _seqs(items: list[Item]) -> list[int]:
    return [item.at.seq if isinstance(item, Raw) else item.seq for item in items]


def _report(event_id: str, time: int) -> dict[str, Any]:
    return {"event_id": event_id, "event_time": time, "user_id": "ann", "kind": "report", "report": {}}


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz", "log.tsv", "log.jsonl", "log.jsonl.gz", "log.parquet"])
def test_the_same_rows_give_the_same_records_in_every_format(tmp_path: Path, name: str) -> None:
    """Values, keys, coordinates and the names of persons do not depend on how the rows were stored."""
    if ".parquet" in name:
        pq.write_table(
            pa.Table.from_pylist([dict(zip(("ts", "kind", "who", "to"), r, strict=True)) for r in ROWS]),
            tmp_path / name,
        )
    elif ".jsonl" in name:
        _log(tmp_path, name, _jsonl())
    else:
        tab = "\t" if ".tsv" in name else ","
        _log(tmp_path, name, HEADER.replace(",", tab) + _csv(ROWS, tab))
    counts = LogCounts()
    mapping = MAPPING.model_copy(update={"quote": '"'})  # which TSV has only where the mapping says so
    raws = _raws(list(read_log(tmp_path / name, mapping, counts=counts)))
    later = START + 5_000
    said: dict[str, Any] = {"event_time": START + 3_000, "channel": "main"}
    assert [(raw.value, raw.key, raw.at.offset) for raw in raws] == [
        ({"event_id": "tiny:0:0", "event_time": START, "user_id": "ann", "channel": "main", "text": "hé"}, b"ann", 0),
        ({"event_id": "tiny:3:0", "user_id": "ann", **said}, b"ann", 3),
        (_report("tiny:3:1", START + 3_000), b"ann", 3),
        ({"event_id": "tiny:4:0", "user_id": "bea", **said, "text": TWO_LINES}, b"bea", 4),
        ({"event_id": "tiny:5:0", "user_id": "ann", **said, "event_time": later, "text": "once more"}, b"ann", 5),
        (_report("tiny:5:1", later), b"ann", 5),
    ]
    assert [raw.at for raw in raws] == [("tiny", 0, raw.at.offset, seq) for seq, raw in enumerate(raws)]
    assert {raw.received for raw in raws} == {None}
    assert (counts.rows, counts.skipped, counts.eventless, counts.rejects, counts.fraction) == (6, 1, 1, 0, 1.0)


def test_the_commented_example_reads_its_log() -> None:
    """deploy/mappings/example.toml and tests/data/community.csv make every kind of event, in order of time."""
    counts = LogCounts()
    raws = _raws(list(read_log(DATA / "community.csv", COMMUNITY, counts=counts)))
    kinds = Counter(_value(raw).get("kind", "message") for raw in raws)
    assert kinds == {"message": 5, "sanction": 2, "report": 1, "reversal": 1, "exposure": 1, "erasure": 1}
    assert not [raw for raw in raws if isinstance(Codec().decode(raw), Reject)]
    times = [_value(raw)["event_time"] for raw in raws]
    assert times == sorted(times)
    assert (counts.rows, counts.skipped, counts.eventless, counts.rejects) == (11, 1, 1, 0)


def test_sorting_orders_rows_by_time_and_keeps_their_numbers(tmp_path: Path) -> None:
    """Rows of one time keep their order, identities are joined in time, and ids stay those of the row."""
    rows = [(9, "say", "anna", "c"), (1, "say", "ann", "a"), (2, "rename", "ann", "anna"), (2, "say", "anna", "b")]
    path = _log(tmp_path, "log.csv", HEADER + _csv(rows))
    unsorted = _raws(list(read_log(path, MAPPING)))
    in_time = _raws(list(read_log(path, MAPPING.model_copy(update={"sort": True}))))
    assert [
        (raw.value["text"], raw.key, raw.at.offset, raw.at.seq) for raw in in_time if isinstance(raw.value, dict)
    ] == [
        ("a", b"ann", 1, 0),
        ("b", b"ann", 3, 1),
        ("c", b"ann", 0, 2),
    ]
    assert {_value(raw)["event_id"] for raw in unsorted} == {"tiny:0:0", "tiny:1:0", "tiny:3:0"}
    assert unsorted[0].key == b"anna"


@pytest.mark.parametrize(
    ("line", "kept", "reason", "detail"),
    [
        (b"1,say,\xff\xfe,x\n", None, RejectReason.INVALID_UTF8, "the row is not UTF-8"),
        (b"1,say,eve\n", None, RejectReason.UNMAPPED_ROW, "the row has 3 cells under a header of 4"),
        (b"1,say,eve,x,y\n", None, RejectReason.UNMAPPED_ROW, "the row has 5 cells under a header of 4"),
        (
            b"soon,say,eve,x\n",
            b'{"ts":"soon","kind":"say","who":"eve","to":"x"}',
            RejectReason.UNMAPPED_ROW,
            "column 'ts' is not a number",
        ),
        (
            b"1,say,,x\n",
            b'{"ts":"1","kind":"say","who":"","to":"x"}',
            RejectReason.UNMAPPED_ROW,
            "event 1 (message): user is empty and an event needs it",
        ),
    ],
)
@pytest.mark.parametrize("sort", [False, True])
def test_a_bad_csv_row_is_a_reject_and_its_neighbours_are_unharmed(
    tmp_path: Path, line: bytes, kept: bytes | None, reason: RejectReason, detail: str, sort: bool
) -> None:
    """The reject keeps the row (as JSON if it had cells), its number and its place; the detail quotes nothing of it."""
    path = _log(tmp_path, "log.csv", HEADER.encode() + b"0,say,ann,a\n" + line + b"2,say,bea,b\n")
    counts = LogCounts()
    items = list(read_log(path, MAPPING.model_copy(update={"sort": sort}), counts=counts))
    assert _seqs(items) == [0, 1, 2]
    assert [type(item) for item in items] == [Raw, Reject, Raw]
    (reject,) = _rejects(items)
    assert (reject.reason, reject.detail, reject.stage) == (reason, detail, "source")
    assert (reject.topic, reject.partition, reject.offset, reject.key) == ("tiny", 0, 1, None)
    assert reject.value == (line if kept is None else kept)
    assert counts.rejects == 1


@pytest.mark.parametrize(
    ("line", "reason", "detail"),
    [
        (b'{"ts": 1, "kind": "say", "who": "\xff"}', RejectReason.INVALID_UTF8, "the line is not UTF-8"),
        (b'{"ts": 1, "kind": "say", ', RejectReason.MALFORMED_JSON, "the line is not JSON"),
        (
            b'{"ts": NaN, "kind": "say", "who": "eve"}',
            RejectReason.UNMAPPED_ROW,
            "column 'ts' is empty and should hold the time",
        ),
        (b'["ts", 1]', RejectReason.UNMAPPED_ROW, "the line is not a JSON object"),
        (b'{"ts": {}, "kind": "say", "who": "eve"}', RejectReason.UNMAPPED_ROW, "column 'ts' is not a number"),
        (
            b'{"ts": 1, "kind": ["say"], "who": "eve"}',
            RejectReason.UNMAPPED_ROW,
            "column 'kind' holds neither text nor a number",
        ),
    ],
)
def test_a_bad_line_is_a_reject_with_its_bytes(tmp_path: Path, line: bytes, reason: RejectReason, detail: str) -> None:
    """The lines around it are read; blank lines are no rows."""
    good = json.dumps(_objects()[0]).encode() + b"\n"
    items = list(
        read_log(_log(tmp_path, "log.jsonl", good + b"\n" + line + b"\r\n" + good + _jsonl().encode()), MAPPING)
    )
    assert [type(item) for item in items[:3]] == [Raw, Reject, Raw]
    assert _seqs(items) == list(range(len(items)))
    (reject,) = _rejects(items)
    assert (reject.reason, reject.detail, reject.value, reject.offset) == (reason, detail, line, 1)


def test_a_quote_that_is_never_closed_does_not_swallow_the_log(tmp_path: Path) -> None:
    """The row it opens is a reject, and the rows behind it are read as if it were not there."""
    rows = "".join(f"{number},say,user-{number},{'x' * 1_000}\n" for number in range(500))
    path = _log(tmp_path, "log.csv", HEADER + '0,say,ann,"never closed\n' + rows)
    items = list(read_log(path, MAPPING))
    assert ["a quote is opened and not closed" in reject.detail for reject in _rejects(items)] == [True]
    assert len(items) == 501
    assert _seqs(items) == list(range(len(items)))


def test_parquet_text_that_is_not_utf8_spoils_only_its_row(tmp_path: Path) -> None:
    """Arrow stores any bytes as text; the row that has them is a reject, its neighbours are records."""
    who = pa.array([b"ann", b"\xff", b"bea"]).cast(pa.string(), safe=False)
    columns = {"ts": [0, 1, 2], "kind": ["say"] * 3, "who": who, "to": ["a", "b", "c"]}
    pq.write_table(pa.table(columns), tmp_path / "log.parquet")
    items = list(read_log(tmp_path / "log.parquet", MAPPING))
    assert [type(item) for item in items] == [Raw, Reject, Raw]
    assert [(reject.reason, reject.offset) for reject in _rejects(items)] == [(RejectReason.INVALID_UTF8, 1)]


def test_parquet_timestamps_of_any_unit_are_times(tmp_path: Path) -> None:
    """Nanoseconds and zones included; what is finer than a millisecond is cut."""
    mapping = MAPPING.model_copy(update={"time": COMMUNITY.time.model_validate({"column": "ts", "format": "iso"})})
    moment = datetime(2024, 1, 1, 0, 0, 1, 234_567, tzinfo=UTC)
    for kind in (pa.timestamp("ns"), pa.timestamp("us", tz="UTC"), pa.timestamp("ns", tz="Europe/Berlin")):
        times = pa.array([moment], type=kind)
        pq.write_table(pa.table({"ts": times, "kind": ["say"], "who": ["ann"], "to": ["x"]}), tmp_path / "log.parquet")
        (raw,) = _raws(list(read_log(tmp_path / "log.parquet", mapping)))
        assert _value(raw)["event_time"] == START + 1_234


def test_json_columns_reach_into_objects(tmp_path: Path) -> None:
    """`author.id` is a path, unless the object has a key of that very name."""
    message = {"kind": "message", "user": {"column": "author.id"}, "channel": {"template": "{room.name}"}}
    mapping = LogMapping.model_validate({**MAPPING.model_dump(by_alias=True, exclude_none=True), "event": [message]})
    lines = (
        '{"ts":0,"kind":"say","who":"","to":"","author":{"id":7},"room":{"name":"a"}}\n'
        '{"ts":0,"kind":"say","author.id":"eight","room":{"name":"b"}}\n'
        '{"ts":0,"kind":"say","author":"nobody","room":{"name":"b"}}\n'
    )
    items = list(read_log(_log(tmp_path, "log.jsonl", lines), mapping))
    assert [item.key for item in items] == [b"7", b"eight", None]
    assert [type(item) for item in items] == [Raw, Raw, Reject]


@settings(max_examples=examples(100), deadline=None)
@given(st.one_of(st.binary(max_size=400), st.text(alphabet=',"\n\r0123say{}[]:ok', max_size=400).map(str.encode)))
@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
def test_any_bytes_end_as_records_and_rejects(name: str, content: bytes) -> None:
    """Nothing raises, and every item has its place in one dense count."""
    good = HEADER.encode() if name == "log.csv" else b""
    sparse = MAPPING.model_copy(update={"sparse": ("ts", "kind", "who", "to")})
    with tempfile.TemporaryDirectory() as folder:
        path = _log(Path(folder), name, good + content)
        items = list(read_log(path, sparse))
        native = list(read_log(path)) if name == "log.jsonl" else []
    for found in (items, native):
        assert _seqs(found) == list(range(len(found)))
    for raw in (item for item in items if isinstance(item, Raw)):
        Codec().decode(raw)


def test_a_native_log_needs_no_mapping(tmp_path: Path) -> None:
    """Ids are the records' own, the subject is told by the line, and another format is a reject that says so."""
    message = {"subject": CHAT, "event_id": "m1", "event_time": START, "user_id": "ann", "channel": "main"}
    lines = [message, {**message, "subject": "chat"}, {**message, "user_id": 5}]
    path = _log(tmp_path, "log.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    first, second, third = read_log(path)
    assert isinstance(first, Raw)
    value = {key: cell for key, cell in message.items() if key != "subject"}
    assert first == Raw(CHAT, value, b"ann", Position("log", 0, 0, 0), None)
    assert isinstance(second, Reject)
    assert second.reason is RejectReason.UNMAPPED_ROW
    assert second.value == json.dumps(lines[1]).encode()
    assert isinstance(third, Raw)
    assert third.key is None
    assert isinstance(Codec().decode(third), Reject)


def _sentence(build: Callable[[], Any]) -> str:
    with pytest.raises(LogError) as caught:
        build()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_read_is_said_before_anything_runs(tmp_path: Path) -> None:
    """Missing file, unknown kind, no mapping, no such column: one sentence each, at construction."""
    csv = _log(tmp_path, "log.csv", HEADER.replace("who", "whom"))
    assert "log.xml: there is no such file: name a log" in _sentence(lambda: LogSource(tmp_path / "log.xml", MAPPING))
    assert "is of no known kind: a log ends in" in _sentence(lambda: LogSource(_log(tmp_path, "log.xml", ""), MAPPING))
    assert "needs a mapping: only JSONL" in _sentence(lambda: LogSource(csv))
    assert _sentence(lambda: LogSource(csv, MAPPING)) == (
        f"{csv}: has no column 'who', which the mapping names: did you mean 'whom'?"
    )
    lines = _log(tmp_path, "log.jsonl", '{"ts":1,"kind":"say","to":"x"}\n')
    assert _sentence(lambda: LogSource(lines, MAPPING)).endswith(
        "(or list it under sparse if the first 1000 rows lack it)"
    )
    assert "is empty: a CSV log starts with a header" in _sentence(
        lambda: LogSource(_log(tmp_path, "e.csv", ""), MAPPING)
    )
    assert "names column 'a' twice" in _sentence(lambda: LogSource(_log(tmp_path, "t.csv", "a,b,a\n"), MAPPING))
    assert "save the log as UTF-8" in _sentence(lambda: LogSource(_log(tmp_path, "u.csv", b"\xff,b\n"), MAPPING))
    assert "is not Parquet" in _sentence(lambda: LogSource(_log(tmp_path, "log.parquet", "a,b\n"), MAPPING))
    with pytest.raises(ValueError, match="batch_size is 0"):
        LogSource(DATA / "community.csv", COMMUNITY, batch_size=0)


def test_a_log_that_breaks_off_stops_with_the_row_after_which_it_is_damaged(tmp_path: Path) -> None:
    """Half a gzip file is not half a log: what came before is not passed off as all of it."""
    whole = gzip.compress((HEADER + "".join(f"{n},say,u{n * 7919 % 997},{n}\n" for n in range(20_000))).encode())
    path = tmp_path / "log.csv.gz"
    path.write_bytes(whole[: len(whole) // 2])
    items = read_log(path, MAPPING)
    assert isinstance(next(items), Raw)
    assert "is damaged after row " in _sentence(lambda: list(items))


def test_a_header_may_start_with_a_byte_order_mark(tmp_path: Path) -> None:
    """As spreadsheets write it."""
    path = _log(tmp_path, "log.csv", b"\xef\xbb\xbf" + HEADER.encode() + b"0,say,ann,a\r\n")
    assert [raw.key for raw in _raws(list(read_log(path, MAPPING)))] == [b"ann"]


def _read(source: LogSource, state: Any = None) -> tuple[list[list[Item]], list[Any]]:
    """All batches of a part, and the snapshot after each."""
    part = source.build_part("in", "log", state)
    batches: list[list[Item]] = []
    snapshots: list[Any] = []
    while True:
        try:
            batches.append(part.next_batch())
        except StopIteration:
            part.close()
            return batches, snapshots
        snapshots.append(part.snapshot())


@pytest.mark.parametrize("size", [1, 2, 100])
def test_batches_have_the_size_asked_for_and_do_not_change_the_records(tmp_path: Path, size: int) -> None:
    """`batch_size` is a number of records, whatever rows they come from; progress is told in rows."""
    path = _log(tmp_path, "log.csv", HEADER + _csv(ROWS))
    heard: list[int] = []
    source = LogSource(path, MAPPING, batch_size=size, on_progress=heard.append)
    batches, _ = _read(source)
    assert {len(batch) for batch in batches[:-1]} <= {size}
    assert [item for batch in batches for item in batch] == list(read_log(path, MAPPING))
    assert heard == sorted(heard)
    assert heard[-1] == source.counts.rows == 6


def test_a_reading_resumes_after_any_record_with_the_identities_joined_before_it(tmp_path: Path) -> None:
    """Whatever was emitted before a snapshot and what a resumed reading emits are the log, once."""
    path = _log(tmp_path, "log.csv", HEADER + _csv(ROWS) + "x,say,eve,\n" + "9,say,anna,end\n")
    source = LogSource(path, MAPPING, batch_size=1)
    batches, snapshots = _read(source)
    emitted = [item for batch in batches for item in batch]
    assert emitted[-1].key == b"ann" if isinstance(emitted[-1], Raw) else False
    for count, state in enumerate(snapshots, start=1):
        again, _ = _read(source, json.loads(json.dumps(state)))
        assert [item for batch in again for item in batch] == emitted[count:]


def test_a_snapshot_of_another_log_or_version_is_refused(tmp_path: Path) -> None:
    """To skip into a log that changed would lose records silently."""
    path = _log(tmp_path, "log.csv", HEADER + _csv(ROWS))
    source = LogSource(path, MAPPING, batch_size=3)
    state = _read(source)[1][0]
    shorter = LogSource(_log(tmp_path, "short.csv", HEADER + _csv(ROWS[:1])), MAPPING)
    assert "is not the one the snapshot was taken of" in _sentence(lambda: shorter.build_part("in", "log", state))
    other = LogSource(_log(tmp_path, "other.csv", HEADER + _csv([(0, "bot", "x", "y"), *ROWS])), MAPPING)
    assert "is not the one the snapshot was taken of" in _sentence(lambda: other.build_part("in", "log", state))
    assert "version 0" in _sentence(lambda: source.build_part("in", "log", {**state, "version": 0}))


def test_the_source_runs_in_a_flow(tmp_path: Path) -> None:
    """One partition, emitted in order to the end of the log."""
    path = _log(tmp_path, "log.csv", HEADER + _csv(ROWS))
    sink = MemorySink[Item]()
    flow = Dataflow("log")
    op.output("out", op.input("in", flow, LogSource(path, MAPPING, batch_size=2)), sink)
    run_main(flow)
    assert sink.items == list(read_log(path, MAPPING))


def test_a_flow_that_died_resumes_from_its_recovery_store_without_a_gap(tmp_path: Path) -> None:
    """The engine keeps the snapshot: two runs emit every record, and the second does not start over."""
    path = _log(tmp_path, "log.csv", HEADER + _csv(ROWS) + "9,say,anna,end\n")
    store = tmp_path / "store"
    store.mkdir()
    init_db_dir(store, 1)
    recovery = RecoveryConfig(store, timedelta(0))
    whole = list(read_log(path, MAPPING))

    def run(dies_at: int | None) -> list[Item]:
        def pass_on(item: Item) -> Item:
            if _seqs([item]) == [dies_at]:
                raise RuntimeError("killed by the test")
            return item

        sink = MemorySink[Item]()
        flow = Dataflow("log")
        stream = op.input("in", flow, LogSource(path, MAPPING, batch_size=1))
        op.output("out", op.map("die", stream, pass_on), sink)
        with nullcontext() if dies_at is None else pytest.raises(RuntimeError):
            run_main(flow, epoch_interval=timedelta(0), recovery_config=recovery)
        return sink.items

    first, second = run(4), run(None)
    assert first == whole[:4]
    assert 0 < len(second) < len(whole)
    assert second == whole[-len(second) :]
    assert len(first) + len(second) >= len(whole)


def test_a_reference_time_for_future_timestamps_rides_along(tmp_path: Path) -> None:
    """A log knows no arrival; whoever replays it may say when it was taken."""
    path = _log(tmp_path, "log.csv", HEADER + "0,say,ann,a\n99999999,say,bea,b\n")
    batches, _ = _read(LogSource(path, MAPPING, received=START + 1_000))
    ann, bea = (item for batch in batches for item in batch)
    assert isinstance(ann, Raw)
    assert isinstance(bea, Raw)
    assert not isinstance(Codec().decode(ann), Reject)
    refused = Codec().decode(bea)
    assert isinstance(refused, Reject)
    assert refused.reason is RejectReason.FUTURE_TIMESTAMP


@pytest.mark.slow
@pytest.mark.datasets
@pytest.mark.parametrize(
    ("name", "kinds", "counts"),
    [
        ("wikipedia_bans", {"message": 157_474, "sanction": 217}, (157_474, 0, 0, 0)),
        ("ubuntu_irc", {"message": 575_689, "sanction": 253, "report": 21}, (601_705, 5_125, 20_617, 0)),
        ("conda", {"message": 44_869, "report": 6_985}, (44_869, 0, 0, 0)),
    ],
)
def test_the_public_logs_are_read_whole(name: str, kinds: dict[str, int], counts: tuple[int, ...]) -> None:
    """Every row is an event, skipped or a rename, none a reject, and all come in the order of time."""
    path = DATASETS / name / "events.csv.gz"
    if not path.exists():
        pytest.skip(f"the public log {name} is not in ../shared/datasets; the README says where to get it")
    met = LogCounts()
    found: Counter[str] = Counter()
    last = 0
    for item in read_log(path, LogMapping.load(MAPPINGS / f"{name}.toml"), counts=met):
        assert isinstance(item, Raw)
        assert isinstance(item.value, dict)
        found[item.value.get("kind", "message")] += 1
        assert item.value["event_time"] >= last
        last = item.value["event_time"]
    assert found == kinds
    assert (met.rows, met.skipped, met.eventless, met.rejects) == counts
