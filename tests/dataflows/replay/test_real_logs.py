"""Real event logs through the command, with the mappings and policies we hand out: what was read, warned of, written.

The numbers are those of the data sets themselves. How good the warnings are is not the matter here.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from dataflows.cli.main import main
from detectors.features.catalogue import NAMES
from tests.kit.paths import ROOT
from tests.kit.thorough import THOROUGH

pytestmark = [pytest.mark.datasets, pytest.mark.slow]

DATASETS = ROOT.parent / "shared" / "datasets"
IDENTITY = ("user_id", "as_of", "event_id", "seq", "score", "insufficient_history", "tier", "model_version")
DAY = 86_400_000


class Replayed(NamedTuple):
    """A replay of a real log: the log, where its files are, what it printed, and its summary."""

    log: Path
    out: Path
    printed: str
    summary: dict[str, Any]

    def lines(self, name: str) -> list[dict[str, Any]]:
        """The lines of a file it wrote."""
        return [orjson.loads(line) for line in (self.out / name).read_bytes().splitlines()]

    @property
    def points(self) -> pa.Table:
        """The decision points as served."""
        return pq.read_table(self.out / "features.parquet")

    def warned_before(self) -> set[str]:
        """The users who were warned of by an earlier row than the one by which they first escalated."""
        escalated: dict[str, int] = {}
        for outcome in self.lines("outcomes.jsonl"):
            escalated.setdefault(outcome["user_id"], outcome["offset"])
        rank = {"none": 0, "watch": 1, "elevated": 2, "high": 3}
        return {
            event["user_id"]
            for event in self.lines("risk-events.jsonl")
            if rank[event["tier"]] > rank[event["previous_tier"]]
            and event["trigger"]["offset"] < escalated.get(event["user_id"], -1)
        }


@pytest.fixture(scope="session")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Replayed]:
    """Replays of real logs by name, one each."""
    made: dict[str, Replayed] = {}

    def replay(name: str) -> Replayed:
        if name not in made:
            log, out = log_of(name, tmp_path_factory), tmp_path_factory.mktemp(name)
            files = [f"--{kind}={ROOT / 'deploy' / folder / name}.toml" for kind, folder in FOLDERS]
            result = CliRunner().invoke(main, ["replay", str(log), *files, f"--out={out}"], catch_exceptions=False)
            assert result.exit_code == 0, result.output
            made[name] = Replayed(log, out, result.output, orjson.loads((out / "summary.json").read_bytes()))
        return made[name]

    return replay


FOLDERS = (("mapping", "mappings"), ("policy", "policies"))


ROWS = None if THOROUGH else 250_000
"""Rows of the longest log that are replayed; all of them in a thorough run."""


def log_of(name: str, factory: pytest.TempPathFactory) -> Path:
    """A real log, or a skipped test that says which one is missing; of Ubuntu's the first `ROWS` lines."""
    log = DATASETS / name / "events.csv.gz"
    if not log.exists():
        pytest.skip(f"the event log {name} is not in shared/datasets beside the checkout")
    if name != "ubuntu_irc" or ROWS is None:
        return log
    cut = factory.mktemp("cut") / "events.csv.gz"
    with gzip.open(log, "rb") as whole, gzip.open(cut, "wb", compresslevel=1) as part:
        part.writelines(islice(whole, ROWS + 1))
    return cut


def column_counts(log: Path, column: str) -> dict[str, int]:
    """How often each value of a column occurs in a real log, as a CSV reader of another make counts it."""
    table = pa.csv.read_csv(
        log,
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(include_columns=[column], column_types={column: pa.string()}),
    )
    return {item["values"]: item["counts"] for item in pc.value_counts(table[column].combine_chunks()).to_pylist()}


LOGS = ("wikipedia_bans", "conda", "ubuntu_irc")


@pytest.mark.parametrize("name", LOGS)
def test_a_real_log_is_replayed_to_all_that_is_promised(name: str, replayed: Callable[[str], Replayed]) -> None:
    """No reject, every file, a row for each decision point under the promised columns, warnings before escalations."""
    done = replayed(name)
    assert done.summary["rejects"] == {"total": 0}
    assert (done.out / "rejects.jsonl").read_bytes() == b""
    assert {path.name for path in done.out.iterdir()} >= {"late.jsonl", "models", "summary.json", "report.html"}
    models = {done.summary["models"]["champion"], *done.summary["models"]["challengers"]}
    assert {"bayes", "logistic"} <= models
    assert {path.name for path in (done.out / "models").iterdir()} == {
        "versions.jsonl",
        *(f"{model}.json" for model in models),
    }
    assert pq.read_schema(done.out / "features.parquet").names == [*IDENTITY, *NAMES]
    assert len(done.points) == done.summary["decision_points"]
    assert len(done.lines("risk-events.jsonl")) == done.summary["risk_events"]["total"]
    escalations = [line for line in done.lines("outcomes.jsonl") if line["kind"] == "escalated"]
    assert len(escalations) == done.summary["escalations"]
    assert 0 < done.summary["escalated_warned_before"] <= done.summary["escalations"]
    assert (done.out / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    warned = done.summary["escalated_warned_before"]
    assert f"{len(escalations)} escalations, {warned} of them warned of before" in done.printed


@pytest.mark.parametrize("name", LOGS)
def test_no_score_on_a_real_log_has_seen_its_future(name: str, replayed: Callable[[str], Replayed]) -> None:
    """Every version that scored a point had learnt from strictly earlier events only."""
    done = replayed(name)
    until = {line["version"]: line["learned_until"] for line in done.lines("models/versions.jsonl")}
    used = done.points["model_version"].combine_chunks().dictionary_encode()
    learnt = np.array([-1 if until.get(name) is None else until[name] for name in used.dictionary.to_pylist()])
    as_of = done.points["as_of"].cast(pa.int64()).to_numpy()
    assert (learnt[used.indices.to_numpy()] < as_of).all()
    assert done.points["score"].null_count < len(done.points) // 4


def test_wikipedia_users_are_warned_of_before_their_bans(replayed: Callable[[str], Replayed]) -> None:
    """157,474 edits, 217 bans, and many of the banned were warned of at an earlier edit."""
    done = replayed("wikipedia_bans")
    assert done.summary["events"] == {"chat_message": 157_474, "sanction": 217}
    assert column_counts(done.log, "banned") == {"0": 157_257, "1": 217}
    assert (done.summary["users"], done.summary["escalations"]) == (8_227, 217)
    assert len(done.warned_before()) > 50
    assert "157,474 rows: 157,474 messages, 217 sanctions" in done.printed


def test_a_conda_line_that_is_toxic_is_a_report_and_the_third_is_the_target(
    replayed: Callable[[str], Replayed],
) -> None:
    """44,869 lines; an explicit or implicit one reports its author, and 624 authors come to three in a match."""
    done = replayed("conda")
    intents = column_counts(done.log, "intent")
    assert done.summary["events"] == {"chat_message": 44_869, "report": intents["E"] + intents["I"]}
    assert sum(intents.values()) == 44_869
    assert (done.summary["users"], done.summary["escalations"]) == (12_006, 624)
    assert done.summary["policy"]["target"] == "third_toxic_line"
    assert len(done.warned_before()) > 300


def test_ubuntu_sanctions_and_reports_become_events_and_bots_do_not(replayed: Callable[[str], Replayed]) -> None:
    """Flood warnings and mutes are sanctions, abuse and operators' reports are reports, bots and notices nobody's."""
    done = replayed("ubuntu_irc")
    kinds = Counter(column_counts(done.log, "kind"))
    sanctions = kinds["flood_warning"], kinds["auto_mute"], kinds["repeated_abuse"], kinds["ops_report"]
    assert sanctions == (250, 3, 7, 14) if ROWS is None else sum(sanctions) > 20
    assert done.summary["events"] == {
        "chat_message": kinds["message"] + kinds["action"],
        "report": kinds["repeated_abuse"] + kinds["ops_report"],
        "sanction": kinds["flood_warning"] + kinds["auto_mute"],
    }
    left_out = kinds["bot"] + kinds["ops_call"] + kinds["other"]
    assert f"{left_out + kinds['nick_change']:,} rows skipped" in done.printed
    assert len(done.warned_before()) > 0


def test_ubuntu_nick_changes_join_what_one_person_said(replayed: Callable[[str], Replayed]) -> None:
    """Fewer users than nicks that spoke: who takes another nick goes on with the same counters."""
    done = replayed("ubuntu_irc")
    nicks = column_counts(done.log, "user")
    assert done.summary["users"] < len(nicks)
    users = set(done.points["user_id"].unique().to_pylist())
    assert len(users) == done.summary["users"]
    assert users <= set(nicks) | set(column_counts(done.log, "target"))
