"""Sinks keep what they are given and write it in the order of the log, whatever order it came in."""

from __future__ import annotations

import random
from math import isnan, nan
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq

from dataflows.sinks.jsonl import JsonlSink
from dataflows.sinks.memory import MemorySink, NullSink
from dataflows.sinks.parquet import FeatureTable, write_table
from detectors.base.points import DecisionPoint
from detectors.base.vectors import matrix_from, vector_from
from detectors.scoring.served import Served, ServedBatch
from schemas.records.base import Position
from schemas.records.decisions import Tier


def served(
    seq: int, *, probability: float | None = 0.5, vector: tuple[float, ...] = (1.0, nan), **fields: Any
) -> Served:
    point = DecisionPoint(
        f"user-{seq % 3}", 1_000 * seq, f"event-{seq}", vector_from(vector), 1, Position("t", 0, seq, seq)
    )
    return Served(point, probability, fields.pop("tier", Tier.NONE), "v1", fields.pop("shadow", (0.25,)))


def batch(*rows: Served) -> ServedBatch:
    """Rows as a lane gives them; iterating gives the rows again."""
    made = ServedBatch(
        [row.point for row in rows],
        matrix_from([row.point.vector for row in rows]),
        np.array([nan if row.probability is None else row.probability for row in rows]),
        [row.tier for row in rows],
        [row.model_version for row in rows],
        np.array([row.shadow for row in rows]).T,
    )
    assert repr(list(made)) == repr(list(rows))
    return made


def jsonl(path: Path) -> JsonlSink[int]:
    return JsonlSink[int](path, lambda item: {"number": item, "text": "ü"}, lambda item: item)


def test_the_memory_sink_keeps_what_all_workers_write() -> None:
    """Every worker has a part of its own, and all parts write into one list, from threads of their own."""
    sink = MemorySink[int]()
    parts = [sink.build("out", worker, 4) for worker in range(4)]

    def write(worker: int) -> None:
        for number in range(500):
            parts[worker].write_batch([worker * 500 + number])

    threads = [Thread(target=write, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sink.items) == list(range(2_000))


def test_the_null_sink_keeps_nothing() -> None:
    """It is there for streams whose counts are all that is wanted."""
    sink = NullSink[int]()
    sink.build("out", 0, 1).write_batch([1, 2])
    assert sink.items == []


def test_json_lines_are_in_the_order_of_the_log(tmp_path: Path) -> None:
    """However the items came, equal items give equal files: one object a line, in UTF-8."""
    numbers = list(range(100))
    random.Random(1).shuffle(numbers)
    for name, items in (("a", numbers), ("b", sorted(numbers))):
        sink = jsonl(tmp_path / name)
        for number in items:
            sink.keep([number])
        assert sink.finish() == 100
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    lines = (tmp_path / "a").read_text(encoding="utf-8").splitlines()
    assert [orjson.loads(line) for line in lines] == [{"number": number, "text": "ü"} for number in range(100)]


def test_json_lines_are_written_at_the_end_and_replace_what_was_there(tmp_path: Path) -> None:
    """Until then an earlier file stands; a sink that was given nothing writes an empty one."""
    path = tmp_path / "lines.jsonl"
    path.write_text("of an earlier replay\n")
    sink = jsonl(path)
    sink.keep([1])
    assert path.read_text() == "of an earlier replay\n"
    sink.finish()
    assert path.read_text(encoding="utf-8") == '{"number":1,"text":"ü"}\n'
    assert jsonl(path).finish() == 0
    assert path.read_bytes() == b""


def test_the_feature_table_has_a_row_for_each_point_in_the_order_of_the_log() -> None:
    """Absent is null, in scores as in features, and the challengers' probabilities stand in a table beside it."""
    table = FeatureTable(("first", "second"))
    table.keep([batch(served(2, probability=None, shadow=(nan,)), served(5, tier=Tier.HIGH))])
    table.keep([batch(served(1, vector=(0.0, 2.5))), batch(served(3))])
    champion, shadow = table.table(("bayes",))
    assert champion["event_id"].to_pylist() == ["event-1", "event-2", "event-3", "event-5"]
    assert champion["user_id"].to_pylist() == ["user-1", "user-2", "user-0", "user-2"]
    assert [time.timestamp() for time in champion["as_of"].to_pylist()] == [1.0, 2.0, 3.0, 5.0]
    assert champion["score"].to_pylist() == [0.5, None, 0.5, 0.5]
    assert champion["insufficient_history"].to_pylist() == [False, True, False, False]
    assert champion["tier"].to_pylist() == ["none", "none", "none", "high"]
    assert champion["first"].to_pylist() == [0.0, 1.0, 1.0, 1.0]
    assert champion["second"].to_pylist() == [2.5, None, None, None]
    assert shadow["event_id"].to_pylist() == champion["event_id"].to_pylist()
    assert shadow["bayes"].to_pylist() == [0.25, None, 0.25, 0.25]


def test_an_empty_feature_table_has_all_its_columns(tmp_path: Path) -> None:
    """A log without a decision point still gives a file that can be read."""
    table, shadow = FeatureTable(("first",)).table(())
    write_table(table, tmp_path / "features.parquet")
    read = pq.read_table(tmp_path / "features.parquet")
    assert read.num_rows == 0
    assert read.column_names[-2:] == ["model_version", "first"]
    assert shadow.column_names == ["user_id", "as_of", "event_id", "seq"]


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    """However they were batched; and what was written is what is read."""
    rows = [served(seq, probability=seq / 1_000, vector=(seq * 0.1, nan if seq % 2 else 1.0)) for seq in range(300)]
    whole, parts = FeatureTable(("first", "second")), FeatureTable(("first", "second"))
    whole.keep([batch(*rows)])
    for row in reversed(rows):
        parts.keep([batch(row)])
    for name, table in (("whole", whole), ("parts", parts)):
        write_table(table.table(("bayes",))[0], tmp_path / name)
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "parts").read_bytes()
    read = pq.read_table(tmp_path / "whole")
    assert read["first"].to_pylist() == [row.point.vector[0] for row in rows]
    absent = [value is None for value in read["second"].to_pylist()]
    assert absent == [isnan(row.point.vector[1]) for row in rows]
