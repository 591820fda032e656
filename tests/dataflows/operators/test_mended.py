"""Optional parts that were mended, and times that cannot be, through the dataflow: what is counted, what is shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from dataflows.cli.main import main
from dataflows.mapping.mapping import LogMapping
from dataflows.replay.replay import replay
from dataflows.runtime.telemetry import Telemetry
from dataflows.sources.files.log import LogSource
from dataflows.testing import START, FlowDriver, small_policy
from schemas.records.base import CHAT, MODERATION
from schemas.records.mending import PARTS
from tests.kit.paths import ROOT

HOUR = 3_600_000
MAPPING = LogMapping.model_validate(
    {
        "name": "chatlog",
        "time": {"column": "time", "unit": "ms", "origin": "1970-01-01T00:00:00Z"},
        "event": [
            {
                "kind": "message",
                "user": {"column": "user"},
                "channel": {"value": "hall"},
                "text": {"column": "text"},
                "locale": {"column": "locale"},
                "recipients": {"column": "to", "separator": ";"},
                "scores": [{"column": "toxicity", "scorer": "s", "version": "1"}],
            }
        ],
    }
)
CELLS: list[dict[str, Any]] = [
    {"time": START, "user": "ann", "text": "plain", "locale": "en", "to": "bob", "toxicity": "0.5"},
    {"time": START + 1, "user": "ann", "text": "plain", "locale": "en" * 20, "to": "bob", "toxicity": "n/a"},
    {"time": START + 2, "user": "ann", "text": "x" * 70_000, "locale": "", "to": "c" * 300, "toxicity": "1.00001"},
    {"time": START + 3, "user": "ann", "text": "plain", "locale": "en", "to": "", "toxicity": "7"},
]
MENDED = {"chat_message.locale": 1, "chat_message.recipients": 1, "chat_message.scores": 3, "chat_message.text": 1}


def message(number: int, time: int = START, **parts: Any) -> dict[str, Any]:
    """A message as a line of a log in our own format."""
    return {"subject": CHAT, "event_id": f"m{number}", "event_time": time, "user_id": "ann", "channel": "hall", **parts}


def summary_of(log: Path, out: Path, mapping: LogMapping | None = None) -> Any:
    """The summary of a replay of the log."""
    replay(LogSource(log, mapping), small_policy(), out, log_name=log.name)
    return orjson.loads((out / "summary.json").read_bytes())


def written(kind: str, folder: Path) -> Path:
    """The cells as a log of that kind."""
    path = folder / f"log.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in CELLS))
    elif kind == "csv":
        rows = [",".join(str(cell) for cell in row.values()) for row in CELLS]
        path.write_text("\n".join([",".join(CELLS[0]), *rows]) + "\n")
    else:
        pq.write_table(pa.Table.from_pylist(CELLS), path)
    return path


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_row_of_a_file_is_kept_without_the_part_that_cannot_be_taken(kind: str, tmp_path: Path) -> None:
    """Whatever the file is of, all four rows are messages, and the same parts are counted."""
    found = summary_of(written(kind, tmp_path), tmp_path / "out", MAPPING)
    assert (found["events"], found["rejects"]["total"]) == ({"chat_message": 4}, 0)
    assert found["mended_parts"] == {"total": 6, **MENDED}


def test_a_log_of_our_own_is_kept_whole(tmp_path: Path) -> None:
    """What Go, fastText and raids send, behind a byte order mark; the terminal and the page say what was mended."""
    log = tmp_path / "log.jsonl"
    lines = [
        message(1),
        message(2, recipients=None, scores=None),
        message(3, scores=[{"scorer": "ft", "version": "1", "value": 1.00000536}]),
        message(4, recipients=[f"u{number}" for number in range(1_025)]),
        message(5, text="half an emoji \ud83d"),
        {**message(6), "user_id": "half a user \ud83d"},
    ]
    log.write_text("\ufeff" + "".join(json.dumps(line) + "\n" for line in lines))
    policy = ROOT / "deploy/policies/example.toml"
    out = tmp_path / "out"
    said = CliRunner().invoke(main, ["replay", str(log), "--policy", str(policy), "--out", str(out)])
    assert said.exit_code == 0, said.output
    found = orjson.loads((out / "summary.json").read_bytes())
    assert (found["events"], found["rejects"]) == ({"chat_message": 5}, {"total": 1, "malformed_json": 1})
    assert found["mended_parts"]["total"] == 5
    assert "5 optional parts mended" in said.output
    assert "mended: chat message.recipients" in (out / "report.html").read_text()


def test_every_part_that_can_be_mended_has_its_metric_from_the_start() -> None:
    """Prometheus does not see the first increase of a value that was not there before."""
    telemetry = Telemetry()
    for subject in (CHAT, MODERATION):
        for part in PARTS[subject]:
            labels = {"subject": subject, "field": part}
            assert telemetry.registry.get_sample_value("forewarn_mended_parts_total", labels) == 0.0
    assert telemetry.counts("mended_parts") == {}


def test_what_is_mended_is_counted_by_part_and_a_message_once(tmp_path: Path) -> None:
    """In batches of any size, and as a metric."""
    del tmp_path
    driver = FlowDriver(small_policy())
    for number in range(9):
        driver.advance("1m")
        row = {**message(number, driver.now), "recipients": [None, None, "bob"], "locale": 5}
        driver.send(CHAT, orjson.dumps(row), key=b"ann")
    result = driver.run(batch_size=2)
    assert result.telemetry.counts("events") == {"chat_message": 9}
    labels = {"subject": CHAT, "field": "recipients"}
    assert result.telemetry.registry.get_sample_value("forewarn_mended_parts_total", labels) == 9.0
    assert result.telemetry.counts("mended_parts") == {"chat_message.locale": 9, "chat_message.recipients": 9}
    assert result.features("ann")["recipient_distinct_1h"] == 1


def test_seconds_where_milliseconds_belong_are_refused(tmp_path: Path) -> None:
    """Live by the record's arrival, and in a replay by the year, so that no window of minutes holds hours."""
    driver = FlowDriver(small_policy())
    for number in range(5):
        driver.advance("10m")
        scale = 1 if number < 2 else 1_000
        row = {**message(number), "event_time": driver.now // scale}
        driver.send(CHAT, orjson.dumps(row), key=b"ann", received=driver.now)
    result = driver.run()
    assert [reject.reason.value for reject in result.rejects] == ["past_timestamp"] * 3
    assert result.features("ann")["message_count_5m"] == 1
    log = tmp_path / "seconds.jsonl"
    log.write_text("".join(json.dumps(message(number, START // 1_000 + number)) + "\n" for number in range(5)))
    assert summary_of(log, tmp_path / "out")["rejects"] == {"total": 5, "past_timestamp": 5}


def test_the_log_of_an_old_year_is_replayed(tmp_path: Path) -> None:
    """IRC of 1988 is no mistake."""
    log = tmp_path / "old.jsonl"
    log.write_text("".join(json.dumps(message(number, 580_000_000_000 + number * HOUR)) + "\n" for number in range(5)))
    found = summary_of(log, tmp_path / "out")
    assert (found["events"], found["rejects"]["total"]) == ({"chat_message": 5}, 0)


def test_a_line_that_is_only_disguised_is_a_repeat() -> None:
    """By case, white space, marks, invisible characters, letters apart and look-alikes; another word is not."""
    said = [
        "buy gold at example now",
        "BUY  GOLD\tat example\n now",
        "b\u200bu\ufe0fy gold at ex\u00e1mple now",
        "b u y gold at example now",
        "\u0432uy gold at \u0435xample n\u03bfw",
        "\u24d1\u24e4\u24e8 \u0262\u1d0f\u029f\u1d05 at example now",
        "buy cold at example now",
    ]
    driver = FlowDriver(small_policy())
    for number, text in enumerate(said):
        driver.advance("1m")
        driver.send(CHAT, orjson.dumps({**message(number, driver.now), "text": text}), key=b"ann")
    assert driver.run().features("ann")["repeat_count_1h"] == 5
