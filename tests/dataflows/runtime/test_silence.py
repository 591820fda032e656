"""Silence is a fault: scoring that stops, shrinks or degrades is said, with the cause, wherever somebody looks."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import orjson
import pytest

from dataflows.operators.decode import Decoded, _ahead, _score
from dataflows.replay.printing import print_replayed
from dataflows.replay.replay import Replayed, replay
from dataflows.runtime.silence import WINDOW, Watch, silence_sentences
from dataflows.runtime.telemetry import Telemetry
from dataflows.sources.files.log import LogSource
from dataflows.testing import START, FlowDriver, small_policy
from detectors.base.log_clock import LogClock
from detectors.policy.policy import Policy
from detectors.text.scorer import TextScorer
from tests.kit.streams import DAY, MINUTE, message, place

NOTHING: dict[str, Any] = {
    "decision_points": 20_000,
    "unscored": {},
    "silent": {},
    "events": {"chat_message": 20_000},
    "late": 0,
    "rejects": {"total": 0},
    "clock_ahead": {},
    "examples": {},
    "text_failures": {},
}


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (
            {"unscored": {"no_version": 12_345}},
            "12,345 of 20,000 points had no score: no model version was old enough.",
        ),
        (
            {"unscored": {"not_learnt": 20_000}},
            "20,000 of 20,000 points had no score: the model had not learnt enough positives and negatives yet.",
        ),
        (
            {"decision_points": 9_000, "silent": {"budget": 9_000}},
            "At 9,000 of 9,000 scored points no score could have warned: no threshold keeps to the budget of warnings.",
        ),
        ({"late": 19_000}, "19,000 of 20,000 events were late and not counted."),
        ({"rejects": {"total": 30_000}}, "30,000 of 50,000 records were rejected."),
        ({"clock_ahead": {"log": 1}}, "1 of 20,000 events were dated more than a day ahead of the log's other users."),
        ({"examples": {"left_out": 7}}, "7 examples were not learnt: too many were dated ahead of the log."),
        ({"text_failures": {"ours": 7}}, "7 messages have no toxicity: the text scorer failed on them."),
    ],
)
def test_every_fault_is_a_sentence_with_its_cause_and_share(found: dict[str, Any], sentence: str) -> None:
    """And a summary without one has none."""
    assert silence_sentences(NOTHING) == []
    assert silence_sentences({**NOTHING, **found}) == [sentence]


def replayed(policy: Policy, rows: list[dict[str, Any]], folder: Path) -> tuple[Replayed, str]:
    """A replay of rows, and what it printed."""
    log = folder / "log.jsonl"
    log.write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))
    source = LogSource(log)
    done = replay(source, policy, folder / "out", log_name="log.jsonl")
    out = StringIO()
    with redirect_stdout(out):
        print_replayed(folder / "out", done, source.counts, 0)
    return done, out.getvalue()


def test_a_replay_in_which_nothing_can_be_learnt_says_so_everywhere(tmp_path: Path) -> None:
    """In the summary, in the terminal, and on the report's first page; so does one message years ahead."""
    rows = [
        {
            "subject": "chat_message",
            "event_id": f"e{number}",
            "event_time": START + number * MINUTE + (700 * DAY if number == 90 else 0),
            "user_id": "early" if number == 90 else f"u{number % 30}",
            "channel": "lobby",
        }
        for number in range(200)
    ]
    done, printed = replayed(small_policy(), rows, tmp_path)
    assert done.summary["unscored"] == {"not_learnt": 200}
    assert done.summary["clock_ahead"] == {"log": 1}
    page = done.report.read_text()
    first_page = page[: page.index('id="warnings"')]
    assert len(done.summary["faults"]) == 2
    for fault in done.summary["faults"]:
        assert fault in printed
        assert fault.split(":")[0].replace("'", "&#39;") in first_page
    assert done.summary["last_event"] < START + DAY


def test_a_change_of_state_is_logged_once_when_it_begins_and_once_when_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever the batches, and not per event."""
    watch = Watch()
    with caplog.at_level(logging.WARNING):
        for _ in range(10):
            watch.points(WINDOW // 2, {"no_version": WINDOW // 2})
        assert [record.getMessage() for record in caplog.records] == [
            f"{WINDOW:,} of the latest {WINDOW:,} points had no score: no model version was old enough."
        ]
        for _ in range(10):
            watch.points(WINDOW // 2, {})
    assert len(caplog.records) == 2
    assert caplog.records[1].getMessage().startswith("Over: ")


def test_a_text_scorer_that_fails_leaves_messages_unscored_and_is_told_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The messages go on, without toxicity; their number is a metric."""
    telemetry, scorer = Telemetry(), TextScorer.__new__(TextScorer)

    def fail(_self: TextScorer, _texts: list[str]) -> None:
        raise LookupError("a secret")

    monkeypatch.setattr(TextScorer, "score_many", fail)
    events = [Decoded(message(f"e{n}", START, text="hello"), place(n)) for n in range(3)]
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            _score(events, scorer, telemetry)
    assert sum(telemetry.counts("text_failures").values()) == 6
    assert len(caplog.records) == 1
    assert "secret" not in caplog.text
    assert all(event.scores == () for event, _, _ in events if hasattr(event, "scores"))


def test_events_dated_ahead_are_counted_by_topic_and_those_of_a_quiet_night_are_not() -> None:
    """Beyond a day ahead of what the users of the partition make plausible."""
    clocks: dict[int, LogClock] = {}
    usual = [Decoded(message(f"e{n}", START + n * MINUTE, user=f"u{n % 9}"), place(n)) for n in range(99)]
    wrong = [Decoded(message(f"w{n}", START + 700 * DAY, user="early"), place(n)) for n in range(3)]
    morning = [Decoded(message(f"m{n}", START + DAY, user=f"u{n % 9}"), place(n)) for n in range(9)]
    assert not _ahead(usual, clocks)
    assert _ahead(wrong, clocks) == {"events": 3}
    assert not _ahead(morning, clocks)


def test_points_that_no_version_is_old_enough_for_are_counted_by_their_cause() -> None:
    """As where one partition catches up with another: each unscored point has one cause."""
    driver = FlowDriver(small_policy(learning={"publish_every": "1m", "min_positives": 1, "keep_versions": 1}))
    for number in range(120):
        driver.advance("1m")
        driver.chat(f"u{number % 12}")
        if number % 10 == 5:
            driver.sanction(f"u{number % 12}", severity=5)
    for number in range(30):
        driver.chat(f"late-comer-{number}", event_time=START)
    result = driver.run()
    counts = result.telemetry.counts("unscored")
    assert sum(counts.values()) == sum(row.probability is None for row in result.served)
    assert counts["no_version"] >= 30


@pytest.mark.parametrize("live", [False, True])
def test_only_a_live_run_logs_shares(live: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A replay says the same once, in its summary, where the whole log is known."""
    Telemetry(live=live).watch.points(WINDOW, Counter(no_version=WINDOW))
    assert bool(caplog.records) is live
