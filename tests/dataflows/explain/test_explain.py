"""One user explained: a log small enough to be counted by hand, and a model whose sums can be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from dataflows.cli.main import main
from dataflows.replay.replay import replay
from dataflows.sources.files.log import LogSource
from dataflows.testing import START, hand_made_model, small_policy

HOUR = 3_600_000
MARKER = "xyzzy-plugh"
"""Text of every message of the log."""


def row(at: float, user_id: str, kind: str = "chat", **detail: Any) -> dict[str, Any]:
    time = START + round(at * HOUR)
    record = {"event_id": f"{user_id}-{kind}-{at:g}", "event_time": time, "user_id": user_id}
    if kind == "chat":
        return {"subject": "chat_message", **record, "channel": "lobby", "text": f"{MARKER} {at}", **detail}
    body = {} if kind == "erasure" else {kind: detail}
    return {"subject": "moderation_event", **record, "kind": kind, **body}


def told(at: float, user_id: str, by: str) -> dict[str, Any]:
    return row(at, user_id, "report", reporter_id=by, category=MARKER)


def ban(at: float, user_id: str) -> dict[str, Any]:
    return row(at, user_id, "sanction", action="ban", severity=5, policy=MARKER)


LOG = [
    row(0, "ann"),
    row(0, "bob"),
    row(0, "eve"),
    row(0.5, "ann"),
    told(1, "ann", "bob"),
    told(1.5, "ann", "eve"),
    row(2, "ann"),
    row(2, "ann"),
    ban(3, "ann"),
    told(4, "bob", "ann"),
    told(5, "eve", "ann"),
    ban(6, "eve"),
    row(7, "eve", "reversal", sanction_id="eve-sanction-6"),
    row(9, "dan"),
    row(10, "dan", "erasure"),
    *(told(20 + number / 10, "guy", f"witness-{number}") for number in range(3)),
    row(60, "bob"),
    row(60, "cid"),
    told(60, "cid", "bob"),
]
"""Ann is warned of twice and banned; so is eve, whose ban is taken back. Bob is warned of in vain, and guy by a rule as
well; cid is warned of as the log ends. Dan is erased."""
ANN = """\
ann in log.jsonl: 5 decision points, from 2026-01-01 00:00:00 to 2026-01-01
02:00:00. Times are in UTC.
Escalated 2026-01-01 03:00:00, announced by a warning 2 h before.
2 warnings: 2 right. A warning is right if an escalation that is not overturned
follows within 1 day.

2026-01-01 00:00:00  2 messages in 1 channel, until 2026-01-01 00:30:00: 20 %
                     (watch from 30 %)
2026-01-01 01:00:00  report: 40 %
                     WARNING none to watch by its score (from 30 %), until
                       2026-01-02 01:00:00
                     1 report in 24 h (+0.69)
                     right: escalated 2 h later
2026-01-01 01:30:00  report: 60 %
                     WARNING watch to high by its score (from 60 %), until
                       2026-01-02 01:30:00
                     2 reports in 24 h (+1.10)
                     right: escalated 1 h 30 min later
2026-01-01 02:00:00  message in lobby: 60 %, in high
2026-01-01 02:00:00  message in lobby: without a decision point
2026-01-01 03:00:00  sanction (ban, severity 5)
2026-01-01 03:00:00  ESCALATED

Event ann-report-1.5 at 2026-01-01 01:30:00: 60 %, tier watch to high
Model logistic, version VERSION, learnt from nothing (0 examples, 0
positive).

start, before any feature counts                                           \N{MINUS SIGN}1.61
reports                                                                    +1.10
  2 reports in 24 h                                                +1.10
score in log-odds                                                          \N{MINUS SIGN}0.51
Its odds, corrected for the sample and the weight of positives, are served as
60 %.

high is entered from 60 %, \N{MINUS SIGN}0.51 in log-odds: the score is 0.00 above it.
Each of these changes alone, with all other features as they were, gives a score
below it. Features hang together, so this shows what the model weighs, not what
would have happened:
  reports in 24 h: not known: 20 %
  0 reports in 24 h: 20 %
  1 report in 24 h (the median of the run): 40 %
With a whole family unknown, the score is below it for reports: 20 %.
"""


class Made:
    """A replay of `LOG`, and the log."""

    def __init__(self, folder: Path) -> None:
        self.log, self.out = folder / "log.jsonl", folder / "out"
        self.log.write_bytes(b"".join(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in LOG))
        self.model = hand_made_model(0.2, {"report_count_24h": 1.0})
        policy = small_policy(rules={"report_burst": {"tier": "high", "limit": 3}})
        source = LogSource(self.log)
        replay(source, policy, self.out, log_name="log.jsonl", model=self.model, report=False)

    def explain(self, *arguments: object) -> Result:
        """Run the command on the replay."""
        return CliRunner().invoke(main, ["explain", *map(str, arguments), "--run", str(self.out)])

    def text(self, *arguments: object) -> str:
        """Return what the command prints."""
        result = self.explain(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    def document(self, *arguments: object) -> dict[str, Any]:
        """The same as a document."""
        found: dict[str, Any] = orjson.loads(self.text(*arguments, "--json"))
        return found

    def refused(self, *arguments: object) -> str:
        """The sentence with which the command refuses."""
        result = self.explain(*arguments)
        assert isinstance(result.exception, SystemExit), result.exception
        (sentence,) = result.stderr.splitlines()
        return sentence.removeprefix("Error: ")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The replay, made once."""
    return Made(tmp_path_factory.mktemp("explained"))


def test_a_user_is_explained_in_eighty_columns(made: Made) -> None:
    """Timeline, escalation, verdicts, and the score as a sum of what the model weighs."""
    text = made.text("ann", "--log", made.log)
    assert text == ANN.replace("VERSION", made.model.version)
    assert max(map(len, text.splitlines())) <= 80


def test_without_the_log_a_timeline_has_the_points_alone(made: Made) -> None:
    """Nothing is said of messages, channels and sanctions, but escalations are in the run."""
    text = made.text("ann")
    assert "2 points, until 2026-01-01 00:30:00: 20 % (watch from 30 %)" in text
    assert "03:00:00  ESCALATED" in text
    assert "message" not in text.partition("Event ann")[0]


def test_every_point_has_a_line_if_all_are_asked_for(made: Made) -> None:
    """And every feature, also those without a contribution."""
    text = made.text("ann", "--all")
    assert text.count("point: ") == 5
    assert "channels and people addressed" not in made.text("ann")
    assert text.count("\n  ") > 5


@pytest.mark.parametrize("arguments", [[], ["--all"], ["--json"], ["--event", "ann-chat-0"]])
@pytest.mark.parametrize("user", ["ann", "bob", "eve", "guy", "cid"])
def test_nothing_that_people_wrote_is_in_an_explanation(made: Made, user: str, arguments: list[str]) -> None:
    """Neither text nor a report's category nor the name of a rule that was broken."""
    event = ["--event", f"{user}-{'report-20' if user == 'guy' else 'chat-60' if user == 'cid' else 'chat-0'}"]
    result = made.explain(user, "--log", made.log, *(event if "--event" in arguments else arguments))
    assert result.exit_code == 0, result.output
    assert MARKER not in result.output


def test_verdicts_are_those_of_an_evaluation(made: Made) -> None:
    """Right, wrong, taken back, and not counted, because the log ends."""
    verdicts = {
        user: [(one["tier"], one["right"], one["not_counted"]) for one in made.document(user)["warnings"]]
        for user in ("ann", "bob", "eve", "cid")
    }
    assert verdicts == {
        "ann": [("watch", True, None), ("high", True, None)],
        "bob": [("watch", False, None)],
        "eve": [("watch", False, None)],
        "cid": [("watch", None, "log_ends")],
    }
    assert "wrong: no escalation within 1 day" in made.text("bob")
    assert "not counted: the log ends before the horizon has passed" in made.text("cid")


def test_an_escalation_that_was_overturned_is_shown_as_such(made: Made) -> None:
    """With both times; it makes no warning right."""
    document = made.document("eve")
    assert document["escalations"] == [
        {
            "as_of": START + 6 * HOUR,
            "seq": 11,
            "upheld": False,
            "overturned_at": START + 7 * HOUR,
            "warned_at": None,
        }
    ]
    text = made.text("eve")
    assert "Escalated 2026-01-01 06:00:00, overturned 2026-01-01 07:00:00." in text
    assert "2026-01-01 07:00:00  the escalation is overturned" in text


def test_a_tier_that_a_rule_holds_is_not_blamed_on_the_score(made: Made) -> None:
    """The score would have to do nothing: the rule has fired."""
    document = made.document("guy")
    point = document["point"]
    assert [(one["tier"], one["by_score"], one["by_rule"]) for one in document["warnings"]] == [
        ("watch", True, False),
        ("high", True, False),
        ("high", True, True),
    ][: len(document["warnings"])]
    text = made.text("guy", "--event", "guy-report-20.2")
    assert "Rule report_burst (limit 3) raises to high: reports from 3 people in 24 h" in text
    assert "A rule holds the user in high until the warning expires, whatever the score." in text
    assert point["tier"] == "high"


def test_a_point_is_chosen_by_its_event(made: Made) -> None:
    """Below every tier it says how far below."""
    point = made.document("ann", "--event", "ann-chat-0")["point"]
    assert (point["tier"], point["probability"], point["changes"]) == ("none", 0.2, None)
    assert point["threshold"]["which"] == "enter"
    assert point["threshold"]["above"] == pytest.approx(-0.405465108, rel=1e-6)
    assert "the score is 0.41 below it" in made.text("ann", "--event", "ann-chat-0")


def test_what_cannot_be_explained_is_answered_in_one_sentence(made: Made, tmp_path: Path) -> None:
    """With what to do instead."""
    assert made.refused("anne") == "anne: has no decision point in log.jsonl: did you mean ann?"
    assert made.refused("\x1b[31m") == (
        "\\u001b[31m: has no decision point in log.jsonl: choose one from its risk-events.jsonl."
    )
    assert made.refused("dan") == "dan: was erased, and has no decision point since: choose another user."
    assert "dan" not in made.refused("dam").partition("did you mean")[2]
    assert made.refused("ann", "--event", "bob-chat-0") == (
        "bob-chat-0: user ann has no decision point of this event in log.jsonl: choose an event id from the timeline "
        "that --json prints."
    )
    other = tmp_path / "other.jsonl"
    other.write_bytes(made.log.read_bytes().replace(b"ann-report-1", b"ann-report-9"))
    assert made.refused("ann", "--log", other) == (
        f"{other}: not the log of this run, or read by another mapping: it has no event ann-report-1 of ann in that "
        "place; give those of the replay."
    )
    result = made.explain("ann", "--mapping", other)
    assert result.exit_code == 2
    assert "Error: Give --log too: a mapping is for reading it." in result.stderr


def test_a_directory_that_lacks_a_file_is_named(tmp_path: Path) -> None:
    """No run at all, one of an older version, and one that was changed."""
    made = Made(tmp_path)
    nothing = CliRunner().invoke(main, ["explain", "ann", "--run", str(tmp_path)])
    assert nothing.stderr.startswith(f"Error: {tmp_path}: not the outputs of a replay")
    versions, policy = made.out / "models" / "versions.jsonl", made.out / "policy.json"
    kept = versions.read_bytes()
    versions.write_bytes(b"")
    assert made.refused("ann") == (
        f"{versions}: has no version {made.model.version}, which scored: replay the log again."
    )
    versions.unlink()
    assert made.refused("ann") == (f"{versions}: cannot be read (No such file or directory): replay the log again.")
    versions.write_bytes(kept.replace(b'\\"intercept\\":-1', b'\\"intercept\\":-2'))
    assert "Attention: the version gives another probability than the one in the file" in made.text("ann")
    policy.write_bytes(policy.read_bytes().replace(b"0.3", b"0.31"))
    assert made.refused("ann").startswith(f"{policy}: not the policy of this run, which has the version ")
    policy.write_bytes(b"{}")
    assert made.refused("ann") == f"{policy}: not a policy that this forewarn knows: replay the log again."
    policy.unlink()
    assert made.refused("ann") == (
        f"{made.out}: has no policy.json, which an older forewarn did not write: replay the log again."
    )


def test_an_id_may_be_given_as_it_is_printed(tmp_path: Path) -> None:
    """A control character in it is shown as an escape, which can be typed."""
    log, out = tmp_path / "log.jsonl", tmp_path / "out"
    log.write_bytes(b"".join(orjson.dumps(row(at, "a\x1bb"), option=orjson.OPT_APPEND_NEWLINE) for at in range(3)))
    replay(LogSource(log), small_policy(), out, log_name="log.jsonl", model=hand_made_model(0.5), report=False)
    result = CliRunner().invoke(main, ["explain", "a\\u001bb", "--run", str(out)])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("a\\u001bb in log.jsonl: 3 decision points")


MAPPINGS = {
    "mapping.sql": """
SELECT 'message' AS kind, TRY_CAST(written AS TIMESTAMPTZ) AS event_time, who AS user_id, 'lobby' AS channel,
    said AS text
FROM read_csv($log, all_varchar = true)
""",
    "mapping.py": """
from datetime import datetime

def events(row):
    time = datetime.fromisoformat(row["written"])
    yield {"kind": "message", "event_time": time, "user_id": row["who"], "channel": "lobby", "text": row["said"]}
""",
}


@pytest.mark.parametrize("name", MAPPINGS)
def test_the_log_is_read_by_whatever_kind_of_mapping_it_was_replayed_with(name: str, tmp_path: Path) -> None:
    """SQL and Python too: the timeline has its messages, without their text."""
    log, mapping, policy, out = (tmp_path / one for one in ("log.csv", name, "policy.toml", "out"))
    lines = [f"2026-01-01T0{hour}:00:00Z,{user},{MARKER}" for hour in range(5) for user in ("ann", "bob")]
    log.write_text("\n".join(["written,who,said", *lines]))
    mapping.write_text(MAPPINGS[name])
    policy.write_text(
        'name = "small"\n[target]\nhorizon = "1d"\nwhen = [{ event = "sanction" }]\n'
        "[tiers]\nwatch = { enter = 0.3, leave = 0.2 }\n"
    )
    read = ["--mapping", str(mapping)]
    replayed = CliRunner().invoke(
        main, ["replay", str(log), *read, "--policy", str(policy), "--out", str(out), "--no-report"]
    )
    assert replayed.exit_code == 0, replayed.output
    result = CliRunner().invoke(main, ["explain", "ann", "--run", str(out), "--log", str(log), *read, "--json"])
    assert result.exit_code == 0, result.output
    events = [entry["event"] for entry in orjson.loads(result.output)["timeline"]]
    assert [(event["kind"], event["channel"]) for event in events] == [("message", "lobby")] * 5
    assert MARKER not in result.output
