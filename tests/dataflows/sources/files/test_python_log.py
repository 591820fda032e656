"""Logs read through a function in Python: the events of a TOML mapping, and rejects that hold nothing of a row."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataflows.mapping.errors import MappingError
from dataflows.mapping.load import load_mapping
from dataflows.mapping.python import PythonMapping
from dataflows.sources.files.log import Item, LogCounts, LogError, LogSource, read_log
from schemas.records.base import Raw
from schemas.records.rejects import Reject

SAID = "xyzzy"
ROWS = [{"ts": 1_704_067_200 + n, "who": f"u{n % 3}", "said": SAID, "bad": n % 5 == 4} for n in range(12)]
TOML = """
name = "chat"
[time]
column = "ts"
unit = "s"
origin = "1970-01-01T00:00:00Z"
[[event]]
kind = "message"
user = { column = "who" }
channel = "main"
text = { column = "said" }
[[event]]
kind = "sanction"
when = [{ column = "bad", truthy = true }]
user = { column = "who" }
action = "ban"
severity = 5
policy = "spam"
"""
CODE = """
from datetime import datetime, UTC

name = "chat"


def events(row):
    time = datetime.fromtimestamp(int(row["ts"]), UTC)
    yield {"kind": "message", "event_time": time, "user_id": row["who"], "channel": "main", "text": row["said"]}
    if str(row["bad"]).lower() == "true":
        yield {"kind": "sanction", "event_time": time, "user_id": row["who"], "action": "ban", "severity": 5,
               "policy": "spam"}
"""


def write(folder: Path, name: str) -> Path:
    """The rows in the format that the name asks for."""
    path = folder / name
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    else:
        path.write_text("\n".join([",".join(ROWS[0]), *(",".join(map(str, row.values())) for row in ROWS)]) + "\n")
    return path


def python(folder: Path, code: str) -> PythonMapping:
    (folder / "chat.py").write_text(code)
    return PythonMapping.load(folder / "chat.py")


def rows(folder: Path, code: str) -> list[Item]:
    return list(read_log(write(folder, "log.jsonl"), python(folder, code)))


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl", "log.parquet"])
def test_a_function_gives_the_records_that_a_declaration_gives(name: str, tmp_path: Path) -> None:
    """Ids and coordinates as well, in every format, and again where a snapshot was taken; no bytecode is left."""
    log = write(tmp_path, name)
    (tmp_path / "chat.toml").write_text(TOML)
    (tmp_path / "chat.py").write_text(CODE)
    mapping = load_mapping(tmp_path / "chat.py")
    assert list(read_log(log, mapping)) == list(read_log(log, load_mapping(tmp_path / "chat.toml")))
    part = LogSource(log, mapping, batch_size=3).build_part("", "log", None)
    part.next_batch()
    again = LogSource(log, mapping, batch_size=99).build_part("", "log", part.snapshot())
    assert again.next_batch() == list(read_log(log, mapping))[3:]
    assert not (tmp_path / "__pycache__").exists()


def test_an_error_of_the_function_is_a_reject_without_what_the_row_says(tmp_path: Path) -> None:
    """With the row, the kind of error and the line of the mapping; none of the row's events counts."""
    code = CODE.replace(
        "    if str", f"    if row['ts'] == {ROWS[4]['ts']}:\n        raise ValueError(row['said'])\n    if str"
    )
    items = rows(tmp_path, code)
    (reject,) = [item for item in items if isinstance(item, Reject)]
    assert (reject.detail, reject.offset) == ("row 4: events raised ValueError on line 11", 4)
    assert json.loads(reject.value or b"")["who"] == "u1"
    assert [item.at.offset if isinstance(item, Raw) else item.offset for item in items].count(4) == 1


EVENT = '{"kind": "message", "event_time": 1704067200000, "user_id": "ann", "channel": "main"}'
BAD = {
    "[7]": "row 0: events gave something that is no dict",
    "7": "row 0: events raised TypeError",
    f"[{EVENT[:-1]}, 'chanel': 'x'}}]": "row 0: events gave an unknown key 'chanel': did you mean 'channel'?",
    f"[{EVENT.replace('message', 'massage')}]": "row 0: column 'kind' is none of message, report, sanction, reversal, "
    "exposure, erasure",
    f"[{EVENT.replace('1704067200000', repr('2024'))}]": "row 0: message: column 'event_time' is empty, or was "
    "not a time",
    f"[{EVENT.replace('message', 'sanction')}]": "row 0: sanction: column 'severity' is empty, or could not "
    "be converted",
    f"[{EVENT[:-1]}, 'event_id': None}}]": "row 0: message: column 'event_id' is empty, or could not be converted",
}


@pytest.mark.parametrize("given", BAD)
def test_what_is_no_event_is_a_reject_that_says_why(given: str, tmp_path: Path) -> None:
    """By its key."""
    items = rows(tmp_path, f"def events(row):\n    return {given}\n")
    assert {type(item) for item in items} == {Reject}
    assert isinstance(items[0], Reject)
    assert items[0].detail == BAD[given]


def test_nothing_is_an_answer_and_sorting_orders_the_events(tmp_path: Path) -> None:
    """By their own times, stably."""
    counts = LogCounts()
    log = write(tmp_path, "log.jsonl")
    assert list(read_log(log, python(tmp_path, "def events(row):\n    return None\n"), counts=counts)) == []
    assert (counts.rows, counts.eventless, counts.fraction) == (12, 12, 1.0)
    code = f"sort = True\ndef events(row):\n    yield {{**{EVENT}, 'event_time': 1704067200000 - row['ts'] % 7}}\n"
    times = [item.value["event_time"] for item in rows(tmp_path, code) if isinstance(item, Raw) and item.value]  # type: ignore[call-overload]
    assert times == sorted(times)
    assert len(times) == 12


REFUSED = {
    "def events(row)\n": "chat.py: line 1: expected ':': correct the Python",
    "x = 1\nraise ValueError('no')\n": "chat.py: raised ValueError on line 2 when it was imported: correct the Python",
    "x = 1\n": "chat.py: has no function events: write def events(row), which yields events",
    "name = 'a b'\ndef events(row): ...\n": "'a b' is no name for events",
    "delimiter = 7\ndef events(row): ...\n": "chat.py: delimiter must be one character",
}


@pytest.mark.parametrize("code", REFUSED)
def test_a_file_that_is_no_mapping_is_answered_in_a_sentence(code: str, tmp_path: Path) -> None:
    """Before a row is read."""
    with pytest.raises(MappingError) as answer:
        python(tmp_path, code)
    assert REFUSED[code] in str(answer.value)
    assert "\n" not in str(answer.value)


def test_missing_files_are_named(tmp_path: Path) -> None:
    """The mapping as well as the log, and a directory, which only SQL reads."""
    with pytest.raises(MappingError, match="cannot be read"):
        load_mapping(tmp_path / "nowhere.py")
    with pytest.raises(LogError, match="there is no such file"):
        read_log(tmp_path / "nowhere.csv", python(tmp_path, CODE))
    with pytest.raises(LogError, match="is a directory: name a log, or read its files with a mapping in SQL"):
        read_log(tmp_path, python(tmp_path, CODE))
