# ruff: noqa: S608
"""Logs read through SQL: the events of a plain reading of the rows, in one order, and nothing lost in silence."""

from __future__ import annotations

import csv
import gzip
import io
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflows.mapping.errors import MappingError
from dataflows.mapping.load import load_mapping
from dataflows.mapping.mapping import LogMapping
from dataflows.mapping.sql import SqlMapping
from dataflows.sources.files.log import Item, LogError, LogSource, read_log
from dataflows.sources.sql import session as sql_session
from dataflows.sources.sql.errors import MEMORY
from dataflows.sources.sql.query import ordered_query
from dataflows.sources.sql.session import Session
from schemas.records.base import Raw
from schemas.records.rejects import Reject, RejectReason
from tests.kit.paths import ROOT
from tests.kit.thorough import examples

COLUMNS = ("ts", "who", "room", "said", "tox")
READ = (
    "(SELECT *, row_number() OVER () - 1 AS source_row FROM read_csv($log, auto_detect = false, header = true, "
    "delim = ',', quote = '\"', escape = '\"', store_rejects = true, "
    "columns = {" + ", ".join(f"'{column}': 'VARCHAR'" for column in COLUMNS) + "}))"
)
MESSAGE = (
    "SELECT 'message' AS kind, source_row, TRY_CAST(ts AS TIMESTAMPTZ) AS event_time, who AS user_id, room AS channel"
)
GOOD = f"{MESSAGE} FROM {READ}"
SAID = "xyzzy"
"""What a row says, which no error may repeat."""


def mapping(folder: Path, sql: str) -> SqlMapping:
    path = folder / "chat.sql"
    path.write_text(sql, "utf-8")
    return SqlMapping.load(path)


def table(rows: list[tuple[str, ...]], *, encoding: str = "utf-8") -> bytes:
    """Rows as CSV, every cell quoted."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([COLUMNS, *rows])
    return text.getvalue().encode(encoding)


def at(log: Path, sql: str) -> list[Item]:
    return list(read_log(log, mapping(log.parent, sql)))


def oracle(rows: list[tuple[str, ...]]) -> list[tuple[Any, ...]]:
    """The events of the rows in order of time, rejects without a time first: read as plainly as can be."""
    found = []
    for number, (ts, who, room, said, tox) in enumerate(rows):
        try:
            time = int(datetime.fromisoformat(ts).replace(tzinfo=UTC).timestamp()) * 1000
        except ValueError:
            time = None
        score = None if tox == "" else tox
        try:
            score = None if score is None else float(score) / 100
        except ValueError:
            score = "unreadable"
        event = (f"chat:{number}:0", who, room, said or None, score)
        bad = time is None or not who or not room
        found.append(((-1 if time is None else time, number), ("reject", number) if bad else ("event", time, *event)))
    return [one for _, one in sorted(found, key=lambda pair: pair[0])]


def plain(item: Item) -> tuple[Any, ...]:
    if isinstance(item, Reject):
        return ("reject", item.offset)
    value: Any = item.value
    scores = value.get("scores")
    score = None if scores is None else scores[0]["value"]
    return (
        "event",
        *(value[key] for key in ("event_time", "event_id", "user_id", "channel")),
        value.get("text"),
        "unreadable" if score is not None and score != score else score,  # noqa: PLR0124 - only NaN differs from itself
    )


CELL = st.text(alphabet="ab7 ,;'\"\n\\é$", max_size=6)
TIME = st.one_of(
    st.datetimes(datetime(1990, 1, 1), datetime(2030, 1, 1)).map(lambda time: time.isoformat(timespec="seconds")),  # noqa: DTZ001
    st.sampled_from(["", "yesterday", "2024-02-30T00:00:00", "2024-01-01 00:00:00"]),
)
ROW = st.tuples(TIME, CELL, CELL, CELL, st.sampled_from(["", "0.5", "1", "n/a", "1e-3"]))


@pytest.mark.slow
@settings(max_examples=examples(60), deadline=None)
@given(st.lists(ROW, max_size=12), st.sampled_from(["utf-8", "latin-1", "utf-16"]), st.booleans())
def test_any_table_gives_what_a_plain_reading_of_it_gives(
    rows: list[tuple[str, ...]], encoding: str, zipped: bool
) -> None:
    """Whatever the cells hold: empty ones, bad times, quotes, line ends, letters of another encoding."""
    scores = "[{scorer: 's', version: '1', value: number(tox) / 100}] AS scores"
    read = READ.replace("auto_detect", f"encoding = '{encoding}', auto_detect")
    sql = f'{MESSAGE}, said AS "text", {scores} FROM {read}'
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / ("log.csv.gz" if zipped and encoding == "utf-8" else "log.csv")
        data = table(rows, encoding=encoding)
        log.write_bytes(gzip.compress(data) if log.suffix == ".gz" else data)
        items = at(log, sql)
        assert [plain(item) for item in items] == oracle(rows)
        assert [repr(item) for item in at(log, sql)] == [repr(item) for item in items]
        positions = [item.at if isinstance(item, Raw) else item for item in items]
        assert [position.seq for position in positions] == list(range(len(items)))


ROWS = [
    ("2024-01-01T00:00:02Z", "ann", "lobby", SAID, "7"),
    ("2024-01-01T00:00:01Z", "bob", "lobby", SAID, ""),
    ("never", "cid", "lobby", SAID, ""),
]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A small log in a directory of its own, beside a file that is not part of it."""
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "log.csv").write_bytes(table(ROWS))
    (tmp_path / "secret.csv").write_bytes(table(ROWS))
    return folder / "log.csv"


def test_wikipedia_is_the_same_in_sql_as_in_toml(tmp_path: Path) -> None:
    """Records, ids and coordinates, where rows make one event or two."""
    log = tmp_path / "log.csv"
    log.write_text("user,page,seconds,banned\n0,8,0,0\n1,9,36.5,1\n0,8,40,0\n")
    sql = """-- name: wikipedia_bans
        CREATE VIEW edits AS SELECT row_number() OVER () - 1 AS source_row, 'user-' || "user" AS user_id, page, banned,
          TIMESTAMP '2020-01-01' + to_seconds(CAST(seconds AS DOUBLE)) AS event_time
        FROM read_csv($log, all_varchar = true);
        SELECT 'message' AS kind, source_row, event_time, user_id, 'page-' || page AS channel FROM edits;
        SELECT 'sanction' AS kind, source_row, event_time, user_id, 'ban' AS action, 5 AS severity,
          'vandalism' AS policy, 'human' AS source FROM edits WHERE banned = '1'"""
    toml = LogMapping.load(ROOT / "deploy/mappings/wikipedia_bans.toml")
    assert at(log, sql) == list(read_log(log, toml))


IRC = """ts,channel,seq,kind,user,target,text
2013-01-01T00:00:00Z,#a,1,message,n0000000001,,hello
2013-01-01T00:01:00Z,#a,2,nick_change,n0000000001,n0000000002,
2013-01-01T00:02:00Z,#a,3,message,n0000000003,,"n0000000002: are you n0000000001?"
2013-01-01T00:03:00Z,#a,4,nick_change,n0000000002,n0000000004,
2013-01-01T00:03:00Z,#a,5,action,n0000000004,,waves
2013-01-01T00:04:00Z,#a,6,flood_warning,bot,n0000000004,stop
2013-01-01T00:05:00Z,#a,7,nick_change,n0000000004,n0000000001,
2013-01-01T00:06:00Z,#a,8,auto_mute,bot,n0000000001,stop
2013-01-01T00:07:00Z,#a,9,repeated_abuse,bot,n0000000002,n0000000003 calls
2013-01-01T00:08:00Z,#a,10,ops_report,bot,n0000000004,n0000000003 calls
2013-01-01T00:09:00Z,#a,11,bot,bot,,beep
2013-01-01T00:09:00Z,#a,12,message,n0000000001,,n0000000004, hi
"""


@pytest.mark.slow
def test_ubuntu_irc_is_the_same_in_sql_as_in_toml(tmp_path: Path) -> None:
    """With users who change their names, some back to one they had."""
    log = tmp_path / "log.csv"
    log.write_text(IRC.replace(",,n0000000004, hi", ',,"n0000000004, hi"'))
    folder = ROOT / "deploy/mappings"
    items = list(read_log(log, load_mapping(folder / "ubuntu_irc.sql")))
    assert items == list(read_log(log, load_mapping(folder / "ubuntu_irc.toml")))
    assert len(items) == 8


@pytest.mark.datasets
@pytest.mark.slow
@pytest.mark.parametrize("name", ["ubuntu_irc"])
def test_a_public_log_is_the_same_in_sql_as_in_toml(name: str, tmp_path: Path) -> None:
    """The first 50,000 rows, to the byte."""
    source = ROOT.parent / "shared" / "datasets" / name / "events.csv.gz"
    if not source.exists():
        pytest.skip("not in ../shared/datasets")
    log = tmp_path / "log.csv"
    with gzip.open(source) as rows:
        log.write_bytes(b"".join(line for line, _ in zip(rows, range(50_001), strict=False)))
    toml, sql = (read_log(log, load_mapping(ROOT / f"deploy/mappings/{name}.{kind}")) for kind in ("toml", "sql"))
    assert all(one == other for one, other in zip(toml, sql, strict=True))


def test_rows_that_do_not_fit_are_rejects_with_file_row_and_column(log: Path) -> None:
    """Where `store_rejects` is set, each once, though two SELECTs read them."""
    log.write_text("ts,who,room,said,tox\n2024-01-01,ann,lobby,a,1\n2024-01-01,bob\n2024-01-01,c,d,e,f,g\n")
    items = at(log, f"{GOOD}; {GOOD} WHERE who = 'bob'")
    assert [type(item).__name__ for item in items] == ["Raw", "Reject", "Reject"]
    details = [(item.detail, item.offset, item.value) for item in items if isinstance(item, Reject)]
    assert details == [
        ("log.csv, row 1: has too few columns: 'room' is missing", 1, b"2024-01-01,bob"),
        ("log.csv, row 2: has too many columns", 2, b"2024-01-01,c,d,e,f,g"),
    ]


def test_a_typed_column_that_cannot_be_converted_is_a_reject_that_names_it(log: Path) -> None:
    """The column in the file, not one of the SELECT."""
    typed = READ.replace("'tox': 'VARCHAR'", "'tox': 'INTEGER'").replace("'ts': 'VARCHAR'", "'ts': 'TIMESTAMPTZ'")
    items = at(log, f"{MESSAGE} FROM {typed}".replace("TRY_CAST(ts AS TIMESTAMPTZ)", "ts"))
    (reject,) = [item for item in items if isinstance(item, Reject)]
    assert (reject.detail, reject.reason) == (
        "log.csv, row 2: column 'ts' cannot be converted",
        RejectReason.UNMAPPED_ROW,
    )


def test_a_row_without_what_its_event_needs_is_a_reject_with_row_and_column(log: Path) -> None:
    """The row of the SELECT if the SELECT does not name the row of the file."""
    items = at(log, GOOD)
    assert isinstance(items[0], Reject)
    assert items[0].detail == "row 2: message: column 'event_time' is empty, or was not a time"
    items = at(log, GOOD.replace("source_row, ", "", 1))
    assert isinstance(items[0], Reject)
    assert items[0].detail.startswith("row 2 of SELECT 1: message: ")
    kinds = at(log, GOOD.replace("'message'", "'massage'"))
    assert {item.detail[7:] for item in kinds if isinstance(item, Reject)} == {
        "column 'kind' is none of message, report, sanction, reversal, exposure, erasure"
    }


def test_one_row_that_makes_several_events_gives_them_different_ids(log: Path) -> None:
    """Those of the first part are the ids that a row with one event has."""
    items = at(log, f"SELECT *, unnest(['x', 'y']) AS \"text\" FROM ({GOOD}) WHERE event_time IS NOT NULL")
    ids = [item.value["event_id"] for item in items if isinstance(item, Raw) and isinstance(item.value, dict)]
    assert ids == ["chat:1:0", "chat:1:0:1", "chat:0:0", "chat:0:0:1"]


def test_equal_times_are_in_order_of_file_row_and_select(tmp_path: Path) -> None:
    """However the files come: the order is total."""
    log = tmp_path / "logs"
    log.mkdir()
    for name in ("b.csv", "a.csv"):
        (log / name).write_bytes(table([("2024-01-01T00:00:00Z", name, "x", "", "")] * 2))
    read = READ.replace("$log", "$log || '/*.csv'").replace("row_number() OVER () - 1 AS source_row", "1 AS source_row")
    select = f"{MESSAGE}, filename AS source_file FROM {read.replace('SELECT *', 'SELECT *, filename')}"
    items = list(read_log(log, mapping(tmp_path, f"{select}; {select}")))
    ids = [item.value["event_id"] for item in items if isinstance(item, Raw) and isinstance(item.value, dict)]
    of = ["1:0", "1:0:1", "1:1", "1:1:1"]
    assert ids == [f"chat:{name}:{one}" for name in ("a.csv", "b.csv") for one in of]


REFUSED = {
    "SELECT 1 AS x": "has no column kind: add it",
    "-- nothing": "has no SELECT: write one for each kind of event",
    f"\n\n{MESSAGE}\nFROOM x": 'line 4: syntax error at or near "FROOM": correct the SQL',
    f"{MESSAGE} FROM {READ}\nWHERE foo = 1": 'line 2: Referenced column "foo" not found in FROM clause',
    f"{MESSAGE}, severty FROM (SELECT *, 1 AS severty FROM {READ})": "column 'severty': did you mean 'severity'?",
    GOOD.replace("TRY_CAST(ts AS TIMESTAMPTZ)", "ts"): "event_time is VARCHAR: give a TIMESTAMP",
    GOOD.replace("who AS", "1.5::DOUBLE AS"): "user_id is DOUBLE: a rounded number may stand for several names",
    GOOD.replace("room AS", "'{}'::JSON AS"): "channel is JSON: give text, as by ->> instead of ->",
    f"{MESSAGE}, who AS recipients FROM {READ}": "recipients is VARCHAR: give a list of VARCHAR",
    f"{MESSAGE}, [1] AS scores FROM {READ}": "scores is INTEGER[]: give a list as [{scorer:",
    GOOD.replace("TRY_CAST(ts AS TIMESTAMPTZ)", "now()"): "line 1: now differs from run to run",
    f"{GOOD} USING SAMPLE 10": "line 1: a sample differs from run to run",
    GOOD.replace("store_rejects", "ignore_errors"): "ignore_errors would lose rows of CSV without a trace",
    GOOD.replace("$log", "$path"): "unknown parameter $path: the only one is $log",
    "FROM read_xlsx($log)": "needs DuckDB's extension excel, which is not installed",
    GOOD.replace("auto_detect", "encoding = 'shift_jis', auto_detect"): "needs DuckDB's extension encodings",
    "FROM read_csv('/etc/passwd')": 'line 1: Cannot access file "/etc/passwd": a mapping reads only LOG',
    "FROM read_text('/etc/passwd')": 'line 1: Cannot access file "/etc/passwd": a mapping reads only LOG',
    "FROM glob('/etc/*')": 'line 1: Cannot access file "/etc/*": a mapping reads only LOG',
    "FROM read_csv($log || '/../../secret.csv')": "Cannot access file",
    "FROM read_csv('https://example.org/log.csv')": "Cannot access file",
    "CREATE TABLE t AS FROM read_csv('/etc/passwd'); SELECT 1": "Cannot access file",
    "CREATE VIEW v AS FROM '/etc/passwd'; SELECT 1": "line 1: ",
    GOOD.replace("who AS", "who AS user_id, who AS"): "the SELECT on line 1 has column 'user_id' twice: rename one",
    "COPY (SELECT 1) TO 'out.csv'": "line 1: COPY is not for a mapping: write SELECT, or CREATE VIEW, TABLE or MACRO",
    "SELECT 1;\nINSTALL httpfs": "line 2: INSTALL is not for a mapping",
    "LOAD httpfs": "line 1: LOAD is not for a mapping",
    "ATTACH 'other.db'": "line 1: ATTACH is not for a mapping",
    "SET threads = 8; SELECT 1": "line 1: SET is not for a mapping",
    "PRAGMA enable_profiling": "line 1: PRAGMA is not for a mapping",
    "CREATE SECRET s (TYPE s3)": "line 1: CREATE is not for a mapping",
    "EXPORT DATABASE 'x'": "line 1: EXPORT is not for a mapping",
}


@pytest.mark.parametrize("sql", REFUSED, ids=lambda sql: sql[:40] + sql[-20:])
def test_a_mapping_that_cannot_be_used_is_answered_before_anything_runs(sql: str, log: Path) -> None:
    """In a sentence each, with the line in the SQL; nothing is read from elsewhere, and nothing is written."""
    before = sorted(log.parent.parent.rglob("*"))
    with pytest.raises((MappingError, LogError)) as answer:
        LogSource(log, mapping(log.parent, sql))
    assert any(REFUSED[sql] in problem for problem in answer.value.problems), answer.value.problems
    assert all("\n" not in problem and SAID not in problem for problem in answer.value.problems)
    assert sorted(log.parent.parent.rglob("*")) == sorted({*before, log.parent / "chat.sql"})
    assert not Path("out.csv").exists()


FAILED = {
    GOOD.replace("room AS", "CAST(CAST(said AS INTEGER) AS VARCHAR) AS"): "a value cannot be converted (Conversion)",
    GOOD.replace("TRY_CAST(ts", "CAST(ts"): "line 1: a value cannot be converted (Conversion)",
    GOOD.replace("TRY_CAST(ts AS TIMESTAMPTZ)", "strptime(said, '%Y')"): "a value cannot be converted",
    GOOD.replace("'message'", "'sanction'"): "SELECT 1 (line 1) makes a sanction and has no column severity: add it",
}


@pytest.mark.parametrize("sql", FAILED, ids=lambda sql: sql[:80])
def test_an_error_in_the_middle_of_a_run_is_a_sentence_without_a_value(sql: str, log: Path) -> None:
    """What is left out of it is what the row says."""
    with pytest.raises(LogError) as answer:
        at(log, sql)
    (problem,) = answer.value.problems
    assert FAILED[sql] in problem
    assert SAID not in problem
    assert "\n" not in problem


DAMAGED = {
    "log.csv": (b"ts,who,room,said,tox\n1,2\n", "line 2 of ", "write store_rejects = true into read_csv"),
    "half.csv.gz": (gzip.compress(table(ROWS * 900), mtime=0)[:-60], "half.csv.gz is damaged, or not gzip", ""),
    "fake.csv.gz": (table(ROWS), "fake.csv.gz is damaged, or not gzip", ""),
    "bytes.csv": (b"ts,who,room,said,tox\n2024-01-01,\xff\xfe,a,b,c\n", "bytes.csv", ""),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_file_that_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    """Also where the header can be read and the rest cannot."""
    data, *sentence = DAMAGED[name]
    log = tmp_path / name
    log.write_bytes(data)
    with pytest.raises(LogError) as answer:
        at(log, GOOD.replace(", store_rejects = true", ""))
    (problem,) = answer.value.problems
    assert all(part in problem for part in sentence), problem
    assert "\n" not in problem


def test_a_missing_log_and_a_pattern_without_files_are_named(log: Path) -> None:
    """Each with what to do."""
    with pytest.raises(LogError, match="there is no such file or directory: name a log"):
        at(log.parent / "nowhere.csv", GOOD)
    with pytest.raises(LogError, match=r"there is no file .*/chat-\*\.csv: correct the pattern"):
        list(read_log(log.parent, mapping(log.parent.parent, GOOD.replace("$log", "$log || '/chat-*.csv'"))))


def test_a_log_behind_a_link_is_read_and_a_link_out_of_it_is_not(log: Path, tmp_path: Path) -> None:
    """Whether the file or its directory is the link."""
    (tmp_path / "linked").symlink_to(log.parent)
    (tmp_path / "log.csv").symlink_to(log)
    (log.parent / "out.csv").symlink_to(tmp_path / "secret.csv")
    read = mapping(tmp_path, GOOD)
    assert len(list(read_log(log, read))) == 3
    assert len(list(read_log(tmp_path / "linked" / "log.csv", read))) == 3
    assert len(list(read_log(tmp_path / "log.csv", read))) == 3
    every = mapping(tmp_path, GOOD.replace("$log", "$log || '/log.csv'"))
    assert len(list(read_log(tmp_path / "linked", every))) == 3
    with pytest.raises(MappingError, match="Cannot access file"):
        read_log(log.parent, mapping(tmp_path, GOOD.replace("$log", "$log || '/out.csv'")))


def test_a_session_is_locked_and_bounded_and_leaves_nothing(log: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """One thread, a limit of memory, no network, no change of any of it; spilled rows are removed at the end."""
    spill = tmp_path / "spill"
    spill.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(spill))
    with Session(mapping(log.parent, GOOD), log) as session:
        found = dict(session.connection.execute("SELECT name, value FROM duckdb_settings()").fetchall())
        assert (found["threads"], found["memory_limit"], found["TimeZone"]) == ("1", "1.0 GiB", "UTC")
        off = ("enable_external_access", "autoinstall_known_extensions", "autoload_known_extensions")
        assert [found[name] for name in (*off, "lock_configuration")] == ["false", "false", "false", "true"]
        assert found["temp_directory"].startswith(str(spill))
        assert MEMORY == "1GiB"
        with pytest.raises(LogError):
            session.run("SET memory_limit = '8GB'")
    assert list(spill.iterdir()) == []


GROWN = """SELECT 'message' AS kind, TIMESTAMP '2024-01-01' - range * INTERVAL 1 SECOND AS event_time, 'ann' AS user_id,
  'main' AS channel, repeat('y', 1000) || range AS "text" FROM range({rows})"""


@pytest.mark.slow
def test_rows_that_do_not_fit_into_memory_are_sorted_on_disk(log: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """700 MB with 512 MiB, into the directory for temporary files, which is empty again at the end."""
    spill = tmp_path / "spill"
    spill.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(spill))
    monkeypatch.setattr(sql_session, "MEMORY", "512MiB")
    spilled, rows = 0, []
    with Session(mapping(log.parent, GROWN.format(rows=700_000)), log) as session:
        query, _ = ordered_query(session)
        for batch in session.connection.sql(query).to_arrow_reader(50_000):
            spilled = max(spilled, sum(path.stat().st_size for path in spill.rglob("*") if path.is_file()))
            rows.append(batch.column("row").to_numpy())
    assert spilled > 10 << 20
    assert (np.concatenate(rows) == np.arange(700_000)[::-1]).all()
    assert list(spill.iterdir()) == []


def test_what_does_not_fit_at_all_is_told(log: Path, monkeypatch: Any) -> None:
    """Where nothing can be written."""
    monkeypatch.setattr(sql_session, "MEMORY", "32MiB")
    monkeypatch.setattr(sql_session, "_spill_directory", lambda: None)
    with pytest.raises(LogError, match="of memory, or more room for temporary files: set TMPDIR"):
        at(log, GROWN.format(rows=100_000))


def test_the_name_of_a_mapping_is_its_files_or_the_one_it_gives(tmp_path: Path) -> None:
    """It must be fit for a topic."""
    (tmp_path / "my log.sql").write_text("-- name: mine\nSELECT 1")
    assert SqlMapping.load(tmp_path / "my log.sql").name == "mine"
    (tmp_path / "my log.sql").write_text("SELECT 1")
    with pytest.raises(MappingError, match=r"'my log' is no name for events .* write a line '-- name: my_log'"):
        SqlMapping.load(tmp_path / "my log.sql")
    with pytest.raises(MappingError, match="cannot be read"):
        SqlMapping.load(tmp_path / "nowhere.sql")


def test_a_resume_and_batches_give_the_records_of_one_reading(log: Path) -> None:
    """As for any other log."""
    source = LogSource(log, mapping(log.parent, GOOD), batch_size=1)
    part = source.build_part("", "log", None)
    first = part.next_batch()
    rest = source.build_part("", "log", part.snapshot())
    second = [*rest.next_batch(), *rest.next_batch()]
    assert [*first, *second] == at(log, GOOD)
    with pytest.raises(StopIteration):
        rest.next_batch()
    part.close()
