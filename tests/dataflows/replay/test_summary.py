"""A replay's summary, number by number, against logs that can be counted by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from dataflows.replay.replay import replay
from dataflows.sources.files.log import LogSource
from dataflows.testing import START, hand_made_model, small_policy

HOUR = 3_600_000
DAY = 24 * HOUR


def row(at: float, user_id: str, kind: str = "chat", **detail: Any) -> dict[str, Any]:
    time = START + round(at * HOUR)
    record = {"event_id": f"{user_id}-{kind}-{at}", "event_time": time, "user_id": user_id}
    if kind == "chat":
        return {"subject": "chat_message", **record, "channel": "lobby", **detail}
    body = {} if kind == "erasure" else {kind: detail}
    return {"subject": "moderation_event", **record, "kind": kind, **body}


def ban(at: float, user_id: str) -> dict[str, Any]:
    return row(at, user_id, "sanction", action="ban", severity=5, policy="conduct")


LOG = [
    row(0, "ann"),
    row(0, "bob"),
    row(1, "ann", "report", reporter_id="bob"),
    {"subject": "chat_message", "user_id": "nobody in particular"},
    row(2, "ann"),
    row(2, "ann"),
    ban(3, "ann"),
    row(4, "bob", "report", reporter_id="ann"),
    row(2.5, "bob"),
    row(29, "dan"),
    row(29, "dan", "erasure"),
    row(30, "bob"),
    row(30, "cid"),
]
"""Ann is warned of an hour in and banned two hours later; bob is warned of in vain. One row is none, one comes twice,
one is late, and dan asks to be forgotten. A day after the first six hours the log ends."""


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The summary of `LOG`, scored by 0.2 times one plus the reports of the last day."""
    folder = tmp_path_factory.mktemp("summary")
    log = folder / "log.jsonl"
    log.write_bytes(b"".join(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in LOG))
    model = hand_made_model(0.2, {"report_count_24h": 1.0})
    policy = small_policy(allowed_lateness="1h")
    done = replay(LogSource(log), policy, folder / "out", log_name="log.jsonl", model=model)
    written = orjson.loads((folder / "out" / "summary.json").read_bytes())
    assert written == done.summary
    return done.summary


def test_everything_that_arrived_is_counted(summary: dict[str, Any]) -> None:
    """Events by kind, and what did not count: rejects by reason, late, duplicate and erased."""
    assert summary["log"] == "log.jsonl"
    assert summary["events"] == {"chat_message": 8, "erasure": 1, "report": 2, "sanction": 1}
    assert summary["rejects"] == {"total": 1, "missing_field": 1}
    assert (summary["late"], summary["duplicates"], summary["erased"]) == (1, 1, 1)
    assert (summary["decision_points"], summary["users"]) == (8, 4)
    assert (summary["first_event"], summary["last_event"]) == (START, START + 30 * HOUR)


def test_warnings_and_how_early_they_came_are_counted(summary: dict[str, Any]) -> None:
    """Two were warned of, one of them escalated: two hours later, one event later."""
    assert summary["risk_events"] == {"total": 2, "raised": {"watch": 2}}
    assert (summary["escalations"], summary["escalated_warned_before"], summary["overturned"]) == (1, 1, 0)
    assert summary["lead_time"] == {"median_ms": 2 * HOUR, "median_events": 1, "at_least_an_event": 1}


def test_ranking_is_measured_on_points_whose_day_has_passed(summary: dict[str, Any]) -> None:
    """Three of ann's at 0.2, 0.4 and 0.4 came true; two of bob's at 0.2 and 0.4 did not."""
    assert summary["models"]["logistic"]["progressive"] == {
        "points": 5,
        "positives": 3,
        "roc_auc": pytest.approx(3.5 / 6),
        "average_precision": pytest.approx((2 * 2 / 3 + 3 / 5) / 3),
        "brier": pytest.approx((0.8**2 + 2 * 0.6**2 + 0.2**2 + 0.4**2) / 5),
    }


def test_the_model_and_the_policy_are_named(summary: dict[str, Any]) -> None:
    """So that the numbers can be found again."""
    models, policy = summary["models"], summary["policy"]
    assert (models["champion"], models["challengers"], models["pinned"]) == ("logistic", [], True)
    assert models["logistic"]["version"] == hand_made_model(0.2, {"report_count_24h": 1.0}).version
    assert (policy["name"], policy["target"], policy["horizon_ms"]) == ("small", "escalates", DAY)
    assert policy["version"] == small_policy(allowed_lateness="1h").version


def test_an_escalation_counts_as_warned_of_only_if_the_warning_is_its_own(tmp_path: Path) -> None:
    """A warning before the last escalation was about that one; a warning after it is too late."""
    policy = small_policy(
        target={"horizon": "24h", "when": [{"event": "sanction", "min_severity": 5}], "recurring": True},
        warnings={"expiry": "7d"},
    )
    log = tmp_path / "log.jsonl"
    rows = [
        row(0, "ann", "report", reporter_id="bob"),
        ban(1, "ann"),
        ban(2, "ann"),
        ban(0, "bob"),
        row(1, "bob", "report", reporter_id="ann"),
    ]
    log.write_bytes(b"".join(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in rows))
    model = hand_made_model(0.2, {"report_count_24h": 1.0})
    summary = replay(LogSource(log), policy, tmp_path / "out", log_name="log.jsonl", model=model, report=False).summary
    assert (summary["escalations"], summary["escalated_warned_before"]) == (3, 1)
    assert summary["lead_time"]["median_ms"] == HOUR
