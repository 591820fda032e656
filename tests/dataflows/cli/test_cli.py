"""The command: it says what it can do, does it, and answers what it cannot do in one sentence."""

from __future__ import annotations

import gzip
import re
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import orjson
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from dataflows.cli.main import main
from dataflows.runtime.exit_codes import ExitCode
from dataflows.testing import START, hand_made_model
from detectors.scoring.shard import Lane
from schemas.codec.outputs import encode_json
from tests.kit.paths import ROOT
from tests.kit.simulated import Simulated

EXAMPLE = ROOT / "deploy" / "policies" / "example.toml"
CONDA = ROOT / "deploy" / "mappings" / "conda.toml"
WRITTEN = (
    "features.parquet",
    "late.jsonl",
    "models/bayes.json",
    "models/logistic.json",
    "models/versions.jsonl",
    "outcomes.jsonl",
    "policy.json",
    "rejects.jsonl",
    "report.html",
    "risk-events.jsonl",
    "shadow.parquet",
    "summary.json",
)


def forewarn(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def done(*arguments: object) -> str:
    """What the command printed, having come to a good end."""
    result = forewarn(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: object) -> str:
    """The sentence with which the command refused."""
    result = forewarn(*arguments)
    mend = {ExitCode.MEND, ExitCode.USAGE} if arguments[0] == "run" else {ExitCode.BUG, ExitCode.USAGE}
    assert result.exit_code in mend, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    said = [line for line in result.stderr.splitlines() if line and not line.startswith(("Usage:", "Try '"))]
    assert said[0].startswith("Error: ")
    assert len(said) == 1, said
    return said[0].removeprefix("Error: ")


def commands(command: click.Command, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, sub in command.commands.items():
            yield from commands(sub, *path, name)


COMMANDS = dict(commands(main))


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(path) or "forewarn")
def test_every_command_says_what_it_does_and_what_its_options_mean(path: tuple[str, ...]) -> None:
    """Asked for help it gives some: its purpose, and a text for every option."""
    text = done(*path, "--help")
    assert done(*path, "-h") == text
    command = COMMANDS[path]
    assert command.help
    assert command.help.split()[0] in text
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            assert option.help, option.name
            assert option.opts[0] in text


def test_the_commands_are_those_that_are_promised() -> None:
    """None is missing, and none is there that nobody was told of."""
    assert {" ".join(path) for path, command in COMMANDS.items() if not isinstance(command, click.Group)} == {
        "simulate",
        "replay",
        "evaluate",
        "compare",
        "explain",
        "whatif",
        "train-text",
        "models promote",
        "models rollback",
        "models show",
        "run",
        "produce",
        "redrive",
        "topics create",
        "schemas check",
        "recovery accept",
        "topology",
    }


def test_simulating_is_said_to_prove_nothing_about_accuracy() -> None:
    """In so many words, where whoever simulates reads first."""
    assert "Results on simulated data prove nothing about accuracy" in " ".join(done("simulate", "--help").split())


@pytest.mark.slow
def test_a_simulated_log_is_replayed_without_a_mapping(tmp_path: Path) -> None:
    """The two commands a newcomer types first: a log, then its replay with the strongest warnings and a report."""
    log, out = tmp_path / "new" / "log.jsonl.gz", tmp_path / "out"
    assert f" events written to {log}" in done("simulate", "--events", 2_000, "--users", 60, "--seed", 3, "--out", log)
    text = done("replay", log, "--policy", EXAMPLE, "--out", out, "--top", 2)
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) == sorted(WRITTEN)
    assert " rows: " in text
    assert re.search(r"[0-9,]+ decision points of [0-9]+ users; warnings raised: [0-9]+ ", text)
    assert text.rstrip().endswith(f"report: {out / 'report.html'}")
    without = done("replay", log, "--policy", EXAMPLE, "--out", out, "--top", 0, "--no-report")
    assert len(text.splitlines()) > len(without.splitlines()) == 7
    assert without.rstrip().endswith(f"outputs: {out}")
    assert {path.name for path in out.iterdir()} == {*(name.split("/")[0] for name in WRITTEN)} - {"report.html"}
    assert "right, of the warnings whose horizon has passed: " in without
    assert "attention: 2,155 of 2,155 points had no score: the model had not learnt enough" in without


def test_the_same_seed_is_the_same_log(tmp_path: Path) -> None:
    """And another seed another."""
    logs = [tmp_path / f"{number}.jsonl" for number in range(3)]
    for seed, log in zip((1, 1, 2), logs, strict=True):
        done("simulate", "--events", 100, "--users", 20, "--seed", seed, "--out", log)
    first, same, other = (log.read_bytes() for log in logs)
    assert first == same != other


@pytest.mark.slow
def test_a_replay_with_a_model_says_nothing_of_learning(simulated: Simulated, tmp_path: Path) -> None:
    """Given a model it scores with that one: its version is in the summary, and no other is written."""
    model, out = tmp_path / "model.json", tmp_path / "out"
    model.write_bytes(encode_json(hand_made_model(0.2, {"report_count_24h": 1.0})))
    done("replay", simulated.log, "--policy", simulated.policy, "--out", out, "--model", model, "--workers", 2)
    summary = orjson.loads((out / "summary.json").read_bytes())
    assert summary["models"]["pinned"] is True
    assert (out / "models" / "versions.jsonl").read_bytes() == model.read_bytes().strip() + b"\n"


def test_the_schemas_are_checked() -> None:
    """What is released holds together, and the command says so with exit code 0."""
    assert done("schemas", "check") == "schemas: released files unchanged, versions compatible, corpus passes\n"


def test_schemas_that_do_not_hold_together_end_the_check_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each problem on a line of its own."""
    monkeypatch.setattr("dataflows.cli.about.check_all", lambda: ["first: is wrong", "second: is wrong"])
    result = forewarn("schemas", "check")
    assert (result.exit_code, result.stderr, result.stdout) == (1, "first: is wrong\nsecond: is wrong\n", "")


def test_the_topology_is_a_picture_of_the_spine() -> None:
    """In Mermaid, with every step of the flow."""
    text = done("topology")
    assert text.startswith("flowchart TD\n")
    for step in ("source", "decode", "profile", "learn", "judge", "risk_events", "dead_letters", "late_events"):
        assert f"forewarn.{step}" in text


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to work in, with some files good and bad."""
    monkeypatch.chdir(tmp_path)
    row = {"subject": "chat_message", "event_id": "a", "event_time": START, "user_id": "ann", "channel": "lobby"}
    lines = b"".join(orjson.dumps({**row, "event_id": str(number)}) + b"\n" for number in range(2_000))
    files = {
        "log.jsonl": lines,
        "damaged.jsonl.gz": gzip.compress(lines)[:-900],
        "other.csv": b"a,b\n1,2\n",
        "policy.toml": EXAMPLE.read_bytes(),
        "wrong-policy.toml": EXAMPLE.read_bytes().replace(b'horizon = "7d"', b'horizon = "a week"'),
        "wrong-mapping.toml": CONDA.read_bytes().replace(b'unit = "s"', b'unit = "score"'),
        "wrong.sql": b"SELECT 'message' AS kind\nFROM read_csv('/etc/passwd')",
        "writing.sql": b"COPY (SELECT 1) TO 'out.csv'",
        "wrong-settings.toml": b'[kafka]\nbootstrap_servers = "localhost:1"\n[topics]\nlates = "late"\n',
        "model.json": encode_json(hand_made_model(0.5)).replace(b'"examples":0', b'"examples":9'),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


GOOD = ("replay", "log.jsonl", "--policy", "policy.toml", "--out", "out")
REFUSED: dict[tuple[object, ...], str] = {
    ("nonsense",): "No such command 'nonsense'.",
    ("replay", "log.jsonl"): "Missing option '--policy'.",
    ("replay", "--policy", "policy.toml", "--out", "out"): "Missing argument 'LOG'.",
    ("replay", ".", *GOOD[2:]): ".: is a directory: name a log, or read its files with a mapping in SQL",
    (*GOOD[:-1], "log.jsonl"): "Invalid value for '--out': Directory 'log.jsonl' is a file.",
    (*GOOD[:-1], "log.jsonl/out"): "log.jsonl/out: cannot be made (Not a directory); choose another directory.",
    (*GOOD, "--workers", 0): "Invalid value for '--workers': 0 is not in the range 1<=x<=64.",
    (*GOOD, "--batch", 0): "Invalid value for '--batch': 0 is not in the range x>=1.",
    ("replay", "nowhere.jsonl", *GOOD[2:]): "nowhere.jsonl: there is no such file: name a log",
    ("replay", "other.csv", *GOOD[2:]): "other.csv: needs a mapping: only JSONL of forewarn's own records is read "
    "without one",
    ("replay", "other.csv", *GOOD[2:], "--mapping", CONDA): "other.csv: has no column 'game_seconds', which the "
    "mapping names: the known ones are a, b",
    (*GOOD, "--mapping", "nowhere.toml"): "nowhere.toml: cannot be read (No such file or directory): name a mapping "
    "file",
    (*GOOD, "--mapping", "nowhere.sql"): "nowhere.sql: cannot be read (No such file or directory): name a mapping file",
    (*GOOD, "--mapping", "wrong.sql"): 'wrong.sql: line 2: Cannot access file "/etc/passwd": a mapping reads only LOG, '
    "as read_csv($log) or $log || '/name'",
    (
        *GOOD,
        "--mapping",
        "writing.sql",
    ): "writing.sql: line 1: COPY is not for a mapping: write SELECT, or CREATE VIEW, TABLE or MACRO",
    (
        "replay",
        "nowhere",
        *GOOD[2:],
        "--mapping",
        "wrong.sql",
    ): "nowhere: there is no such file or directory: name a log",
    (
        "produce",
        "other.csv",
        "--mapping",
        "writing.sql",
    ): "writing.sql: line 1: COPY is not for a mapping: write SELECT, or CREATE VIEW, TABLE or MACRO",
    (*GOOD, "--policy", "nowhere.toml"): "nowhere.toml: there is no such policy file; deploy/policies/ has examples.",
    (*GOOD, "--policy", "wrong-policy.toml"): "wrong-policy.toml: target.horizon: 'a week' is not a duration: write a "
    "whole number and a unit, such as 90s, 5m, 24h or 7d.",
    (*GOOD, "--model", "nowhere.json"): "nowhere.json: cannot be read (No such file or directory); a replay writes "
    "models/<name>.json.",
    (*GOOD, "--model", "log.jsonl"): "log.jsonl: not a model version; a replay writes models/<name>.json.",
    (*GOOD, "--model", "model.json"): f"model.json: changed since version {hand_made_model(0.5).version} was made; "
    "take the file a replay wrote.",
    ("simulate",): "Say where to: either --out FILE or --kafka.",
    ("simulate", "--out", "a.jsonl", "--kafka"): "Say where to: either --out FILE or --kafka.",
    ("simulate", "--out", "a.csv"): "a.csv: a simulated log is JSONL: name it .jsonl or .jsonl.gz",
    ("simulate", "--out", "log.jsonl/a.jsonl"): "log.jsonl/a.jsonl: cannot be written (File exists): choose another "
    "--out",
    ("simulate", "--out", "a.jsonl", "--users", 5): "--users: must be greater than or equal to 20.",
    ("simulate", "--out", "a.jsonl", "--events", 0): "--events: must be greater than or equal to 1.",
    ("simulate", "--out", "a.jsonl", "--days", "nan"): "--days: must be less than or equal to 3650.",
    ("simulate", "--out", "a.jsonl", "--days", -1): "--days: must be greater than 0.",
    ("simulate", "--out", "a.jsonl", "--start", "1950-01-01"): "--start or --days: a log begins after 1970 and ends "
    "before the year 10000.",
    ("explain", "ann"): "Missing option '--run'.",
    ("explain", "ann", "--run", "nowhere"): "Invalid value for '--run': Directory 'nowhere' does not exist.",
    ("explain", "ann", "--run", "."): ".: not the outputs of a replay (No such file or directory): give the --out of "
    "one.",
    ("explain", "ann", "--run", ".", "--mapping", CONDA): "Give --log too: a mapping is for reading it.",
    ("whatif", "--run", "."): "Missing option '--policy'.",
    ("whatif", "--run", ".", "--policy", "wrong-policy.toml"): "wrong-policy.toml: target.horizon: 'a week' is not a "
    "duration: write a whole number and a unit, such as 90s, 5m, 24h or 7d.",
    ("produce", "log.jsonl", "--rate", 1, "--speed", 1): "Give --rate or --speed, not both.",
    ("produce", "nowhere.jsonl"): "nowhere.jsonl: there is no such file: name a log",
    ("run", "--settings", "nowhere.toml"): "The settings file nowhere.toml cannot be read (No such file or "
    "directory): check its name.",
    ("run", "--settings", "wrong-settings.toml"): "topics.lates (from wrong-settings.toml) is not a setting: did you "
    "mean topics.late?",
    ("run",): "kafka.bootstrap_servers (settable as FOREWARN_KAFKA__BOOTSTRAP_SERVERS) is missing: set it.",
    ("topics", "create", "--settings", "wrong-settings.toml"): "topics.lates (from wrong-settings.toml) is not a "
    "setting: did you mean topics.late?",
}


@pytest.mark.parametrize(("arguments", "sentence"), REFUSED.items(), ids=[" ".join(map(str, key)) for key in REFUSED])
@pytest.mark.usefixtures("here")
def test_what_cannot_be_done_is_answered_in_one_sentence(arguments: tuple[object, ...], sentence: str) -> None:
    """An exit code that is not 0, no traceback, and what to do."""
    assert refused(*arguments) == sentence


@pytest.mark.usefixtures("here")
def test_a_wrong_mapping_is_answered_in_one_sentence() -> None:
    """With the file and the key; how each mistake is worded is told where mappings are tested."""
    assert refused(*GOOD, "--mapping", "wrong-mapping.toml").startswith("wrong-mapping.toml: key time.unit: ")


@pytest.mark.usefixtures("here")
def test_a_missing_policy_for_a_live_run_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is asked of Kafka."""
    monkeypatch.setenv("FOREWARN_KAFKA__BOOTSTRAP_SERVERS", "localhost:1")
    assert refused("run") == "Give a policy: --policy FILE, or paths.policy in the settings."


@pytest.mark.parametrize("processes", [1, 2])
def test_a_registry_that_cannot_be_asked_is_answered_in_one_sentence(
    here: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    """No traceback, before anything is asked of Kafka."""
    monkeypatch.setenv("FOREWARN_KAFKA__BOOTSTRAP_SERVERS", "localhost:1")
    monkeypatch.setenv("FOREWARN_REGISTRY__URL", "https://registry.test")
    monkeypatch.setenv("FOREWARN_REGISTRY__CA", str(here / "nowhere.pem"))
    sentence = refused("run", "--policy", "policy.toml", "--processes", processes)
    assert sentence == f"the schema registry's ca {here / 'nowhere.pem'} is not a file: name a PEM file"


@pytest.mark.usefixtures("here")
def test_a_run_that_logs_objects_says_as_one_why_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads only those sees it too."""
    monkeypatch.setenv("FOREWARN_KAFKA__BOOTSTRAP_SERVERS", "localhost:1")
    monkeypatch.setenv("FOREWARN_LOG__FORMAT", "json")
    line, answer = forewarn("run", "--policy", "nowhere.toml").stderr.splitlines()
    sentence = answer.removeprefix("Error: ")
    assert orjson.loads(line)["message"] == f"The run ends: {sentence}"
    assert orjson.loads(line)["level"] == "error"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_log_damaged_on_the_way_is_answered_in_one_sentence(
    here: Path, workers: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """Though the engine met it in the middle of a run: its own stack trace is not printed."""
    sentence = refused("replay", "damaged.jsonl.gz", *GOOD[2:], "--workers", workers, "--batch", 10)
    assert sentence.startswith("damaged.jsonl.gz: is damaged after row ")
    assert sentence.endswith(": fetch the log again")
    assert capfd.readouterr() == ("", "")
    assert not (here / "out" / "summary.json").exists()


@pytest.mark.usefixtures("here")
def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sentence is for what a user can put right; a bug must be seen for what it is."""

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Lane, "take", broken)
    result = forewarn(*GOOD)
    assert result.exit_code == 1
    assert isinstance(result.exception.__cause__ if result.exception else None, ZeroDivisionError)


CHAT_SQL = """
SELECT 'message' AS kind, event_id, epoch_time AS event_time, user_id, channel
FROM (SELECT json->>'event_id' AS event_id, make_timestamptz(CAST(json->>'event_time' AS BIGINT) * 1000) AS epoch_time,
        json->>'user_id' AS user_id, json->>'channel' AS channel
      FROM read_json_objects($log || '/log*.jsonl', ignore_errors = true))
"""


@pytest.mark.slow
def test_a_directory_is_replayed_and_evaluated_through_a_mapping_in_sql(here: Path) -> None:
    """The same points as from the log in forewarn's own format, whatever the number of threads and the batch."""
    (here / "chat.sql").write_text(CHAT_SQL)
    (here / "parts").mkdir()
    lines = (here / "log.jsonl").read_bytes().splitlines(keepends=True)
    (here / "parts" / "log-1.jsonl").write_bytes(b"".join(lines[:900]))
    (here / "parts" / "log-2.jsonl").write_bytes(b"".join(lines[900:]))
    sql = ("replay", "parts", "--mapping", "chat.sql", "--policy", "policy.toml", "--no-report")
    assert forewarn(*sql, "--out", "one").exit_code == 0
    assert forewarn(*sql, "--out", "two", "--workers", 2, "--batch", 7).exit_code == 0
    for name in ("risk-events.jsonl", "rejects.jsonl", "features.parquet"):
        assert (here / "one" / name).read_bytes() == (here / "two" / name).read_bytes()
    assert orjson.loads((here / "one" / "summary.json").read_bytes())["events"] == {"chat_message": 2_000}
    result = forewarn("evaluate", "one", "--log", "parts", "--mapping", "chat.sql", "--no-boosting")
    assert "chat.sql" not in result.stderr


MARKER = "xyzzy-plugh"
"""What everybody says, in one way or another."""

NATIVE = [
    {"text": f"{MARKER} first"},
    {"text": f"{MARKER} first"},
    {"text": f"{MARKER} first"},
    {"text": f"too late: {MARKER}", "event_time": START},
    {"text": f"no event: {MARKER}", "user_id": 7},
    {"text": f"no time: {MARKER}", "event_time": -1},
    {"text": MARKER, "event_id": "4"},
    {"subject": "moderation_event", "kind": "erasure", "channel": MARKER},
    {"text": MARKER, "scores": [{"scorer": "s", "version": "1", "value": 7.0}]},
    {"text": f"again {MARKER}"},
    {"text": f"and another: {MARKER}", "user_id": "bob"},
]
MAPPING = """
name = "chat"
[time]
column = "when"
unit = "s"
origin = "2026-01-01T00:00:00Z"
[[event]]
kind = "message"
user = { column = "who" }
channel = "lobby"
text = { column = "said" }
"""
CELLS = f"when,who,said\n1,ann,{MARKER}\nnever,ann,no time: {MARKER}\n2,,nobody: {MARKER}\n3,bob,{MARKER}\n"
PARANOID = """
name = "paranoid"
[target]
horizon = "1d"
when = [{ event = "sanction" }]
[tiers]
watch = { enter = 0.0, leave = 0.0 }
[rules]
repeated_text = { limit = 2 }
velocity = { limit = 1 }
"""


def strings(path: Path) -> str:
    """Everything a file says: text as it stands, and every word of a table."""
    if path.suffix == ".parquet":
        return repr(pq.read_table(path).to_pylist())
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize(("mapped", "rejects", "late"), [(False, 2, 1), (True, 2, 0)])
def test_what_users_wrote_is_in_no_output(
    *,
    mapped: bool,
    rejects: int,
    late: int,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not in a file, a log line or on the terminal; a reject keeps its own bytes, but encoded, and in its value."""
    log, policy, out = tmp_path / ("log.csv" if mapped else "log.jsonl"), tmp_path / "policy.toml", tmp_path / "out"
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(MAPPING)
    policy.write_text(PARANOID)
    common = {"subject": "chat_message", "user_id": "ann", "channel": "lobby"}
    rows = [
        {**common, "event_id": str(number), "event_time": START + number + 10**8, **row}
        for number, row in enumerate(NATIVE)
    ]
    log.write_text(CELLS if mapped else "".join(orjson.dumps(row).decode() + "\n" for row in rows))
    result = forewarn("replay", log, "--policy", policy, "--out", out, *(("--mapping", mapping) if mapped else ()))
    assert result.exit_code == 0
    printed = capfd.readouterr()
    assert MARKER not in result.output + printed.out + printed.err + caplog.text
    written = {path.name: strings(path) for path in out.rglob("*") if path.is_file()}
    assert len(written) == len(WRITTEN)
    assert [name for name, content in written.items() if MARKER in content] == []
    kept = [orjson.loads(line) for line in written["rejects.jsonl"].splitlines()]
    assert len(kept) == rejects
    assert all(MARKER.encode() in b64decode(reject["value"]) for reject in kept)
    assert written["late.jsonl"].count("\n") == late
    assert "user_id" in written["risk-events.jsonl"]
