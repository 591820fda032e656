"""The report of a replay, written from hand-made run directories."""

import json
import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dataflows.reports import strongest_warnings, write_report
from dataflows.reports.drawing import label
from dataflows.reports.headline import headline, tiles
from dataflows.reports.numbers import moment, percent
from dataflows.reports.ranking import highest_scored
from dataflows.reports.read import Risk, Summary, read_points, read_risk, read_versions
from dataflows.reports.replay_charts import bin_width
from dataflows.reports.tables import losses
from dataflows.reports.timelines import MOST_POINTS, thinned, tier_bands
from dataflows.reports.weights import MOST_VERSIONS, drawn_versions
from detectors.base.points import Example
from detectors.base.vectors import vector_from
from detectors.features.catalogue import NAMES
from detectors.learning.learner import Learner
from detectors.policy.sections import LearningPolicy
from detectors.profiles.results import TrainingEvent
from schemas.records.base import MAX_TIME
from schemas.records.decisions import RiskEvent
from schemas.records.rejects import RejectReason
from tests.kit.thorough import examples

pytestmark = pytest.mark.slow

T0 = 1_704_268_800_000  # 2024-01-03 08:00:00 UTC
HOUR = 3_600_000
HOSTILE = "<script>alert('a')</script>"

SUMMARY: dict[str, Any] = {
    "log": "a log & more.jsonl",
    "events": {"chat_message": 1_500, "moderation_event": 40, "report": 28, "sanction": 12, "erasure": 0},
    "decision_points": 1_500,
    "rejects": {"total": 5, "malformed_json": 4, "invalid_utf8": 1},
    "late": 3,
    "duplicates": 0,
    "risk_events": {"total": 5, "raised": {"watch": 2, "high": 1}},
    "users": 12,
    "escalations": 4,
    "escalated_warned_before": 3,
    "lead_time": {"median_ms": 26 * HOUR, "median_events": 14},
    "models": {
        "champion": "logistic",
        "challengers": ["bayes"],
        "logistic": {
            "version": "c0ffee00c0ffee00",
            "examples": 1_200,
            "positives": 9,
            "progressive": {"roc_auc": 0.87654},
        },
        "bayes": {"version": "facade00facade00", "examples": 1_200, "positives": 9, "progressive": {"log_loss": 0.1}},
    },
    "policy": {"name": "strict", "version": "0badcafe", "target": "third strike", "horizon_ms": 7 * 24 * HOUR},
    "first_event": T0,
    "last_event": T0 + 72 * HOUR,
}


def risk(user: str, hour: float, tier: str, previous: str = "none", **changes: Any) -> dict[str, Any]:
    """A risk event as a replay writes it."""
    as_of = T0 + int(hour * HOUR)
    return {
        "risk_event_id": f"{user}-{as_of}",
        "user_id": user,
        "as_of": as_of,
        "tier": tier,
        "previous_tier": previous,
        "probability": 0.8,
        "target": "third strike",
        "horizon_ms": 7 * 24 * HOUR,
        "expires_at": as_of + 24 * HOUR if tier != "none" else 0,
        "reasons": [
            {"detector": "report_burst", "feature": "reporter_distinct_24h", "value": 4.0, "contribution": None},
            {"detector": "logistic", "feature": "report_count_24h", "value": 7.0, "contribution": 1.316},
            {"detector": "logistic", "feature": "first_since", "value": 90_000.0, "contribution": -0.5},
        ],
        "model": "logistic",
        "model_version": "c0ffee00c0ffee00",
        "learned_until": as_of - 1,
        "model_note": "ok",
        "policy": "strict",
        "policy_version": "0badcafe",
        "trigger": {"event_id": "e", "topic": "chat.messages", "partition": 0, "offset": 1},
    } | changes


RISK = (
    risk("calm", 1, "watch", probability=0.3),
    risk(HOSTILE, 2, "watch", probability=0.4),
    risk(HOSTILE, 3, "high", "watch", probability=0.9),
    risk(HOSTILE, 5, "elevated", "high", probability=0.6),
    risk("calm", 6, "none", "watch", probability=0.01),
)


def version(name: str, family: str, number: int, **state: Any) -> dict[str, Any]:
    """A model version as a replay writes it."""
    linear = {
        "features": ["report_count_24h", "first_since", "unused"],
        "weights": [0.4 + number / 10, -0.7, 0.0],
        "means": [0.0, 0.0, 0.0],
        "variances": [1.0, 1.0, 1.0],
        "intercept": -3.0,
    }
    return {
        "name": name,
        "family": family,
        "version": f"{name}{number:016d}",
        "learned_until": None if number == 0 else T0 + number * HOUR,
        "examples": 100 * number,
        "positives": number,
        "features": linear["features"],
        "state": json.dumps({"model": linear | state, "min_positives": 10}),
    }


def write_points(run: Path, users: list[str], as_of: list[int], scores: list[float | None], tiers: list[str]) -> None:
    """A `features.parquet` with these rows."""
    rows = len(users)
    table = pa.table(
        {
            "user_id": pa.array(users, pa.string()),
            "as_of": pa.array(as_of, pa.timestamp("ms", tz="UTC")),
            "event_id": pa.array([f"e{row}" for row in range(rows)], pa.string()),
            "score": pa.array(scores, pa.float64()),
            "insufficient_history": pa.array([score is None for score in scores], pa.bool_()),
            "tier": pa.array(tiers, pa.string()),
            "model_version": pa.array(["v"] * rows, pa.string()),
            "report_count_24h": pa.array([None] * rows, pa.float64()),
        }
    )
    pq.write_table(table, run / "features.parquet", row_group_size=97)


def write_risk(run: Path, lines: list[dict[str, Any]]) -> None:
    """A `risk-events.jsonl` with these lines."""
    (run / "risk-events.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def write_versions(run: Path, versions: list[dict[str, Any]]) -> None:
    """A `models/versions.jsonl` with these versions."""
    (run / "models").mkdir(exist_ok=True)
    (run / "models" / "versions.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in versions))


def write_summary(run: Path, summary: dict[str, Any]) -> None:
    """A `summary.json`."""
    (run / "summary.json").write_text(json.dumps(summary))


def make_run(directory: Path) -> Path:
    """A run with three users, warnings, a model that learnt, and a hostile user id."""
    directory.mkdir()
    write_summary(directory, SUMMARY)
    write_risk(directory, list(RISK))
    write_versions(
        directory,
        [
            version(name, family, number)
            for number in range(4)
            for name, family in (("logistic", "logistic_regression"), ("bayes", "naive_bayes"))
        ],
    )
    users = ["calm", HOSTILE, "unwarned"] * 200
    at = [T0 + row * HOUR // 20 for row in range(600)]
    scores = [None if row < 6 else (row % 90) / 100 for row in range(600)]
    write_points(directory, users, at, scores, ["none", "high", "none"] * 200)
    return directory


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run to change before its report is written."""
    return make_run(tmp_path / "run")


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of the unchanged run."""
    return page(make_run(tmp_path_factory.mktemp("report") / "run"))


def page(run: Path) -> str:
    """The report written for a run directory."""
    return write_report(run).read_text(encoding="utf-8")


def words_of(html: str) -> str:
    """The words a reader sees: tags and pictures removed, entities resolved, blanks folded."""

    class Words(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[str] = []
            self.hidden = 0

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            del attrs
            self.hidden += tag in ("svg", "style")

        def handle_endtag(self, tag: str) -> None:
            self.hidden -= tag in ("svg", "style")

        def handle_data(self, data: str) -> None:
            if not self.hidden:
                self.seen.append(data)

    reader = Words()
    reader.feed(html)
    return " ".join(" ".join(reader.seen).split())


def test_the_report_lies_in_the_run_directory(run: Path) -> None:
    """The path that comes back is the file that was written."""
    assert write_report(run) == run / "report.html"
    assert (run / "report.html").stat().st_size > 10_000


def test_the_headline_is_in_words(html: str) -> None:
    """Period, volume, warnings, lead and losses are sentences with their numbers."""
    said = words_of(html)
    assert "The log runs from 2024-01-03 08:00:00 to 2024-01-06 08:00:00 UTC, 3 days in all." in said
    assert "It held 1,500 messages, 28 reports and 12 sanctions of 12 users. A score was due 1,500 times." in said
    assert (
        "3 warnings were raised: 1 high and 2 watch. They were about 2 users, 16.7 % of all. Another 2 risk events "
        "lowered or ended one." in said
    )
    assert (
        "The target (third strike) was reached 4 times, 3 times (75 %) after a warning; half of these warnings came at "
        "least 1 day 2 h and 14 of the user's events ahead." in said
    )
    assert "Records rejected: 5, late: 3, duplicated: 0." in said


def test_the_headline_says_how_many_warnings_were_right() -> None:
    """By tier, of those whose horizon has passed; nothing where there are none."""
    matured = {
        "watch": {"matured": 40, "right": 9},
        "high": {"matured": 1_200, "right": 600},
        "elevated": {"matured": 0, "right": 0},
    }
    sentence = (
        "Of the warnings whose horizon has passed, an escalation followed 600 of 1,200 high (50 %) and 9 of 40 watch "
        "(22.5 %)."
    )
    assert sentence in headline(Summary({"live": {"warnings": matured}}))
    assert not any("horizon has passed" in one for one in headline(Summary({"live": {"warnings": {}}})))


def test_moderation_events_are_counted_once() -> None:
    """The sum over all events does not count a report as a report and as a moderation event."""
    assert tiles(Summary(SUMMARY))[0].value == "1,540"


def test_every_picture_is_drawn(html: str) -> None:
    """Four pictures of the run and one for each of its three users, each with a name of its own."""
    assert html.count("<svg") == 7
    assert html.count('role="img" aria-label="') == 7
    for figure in ("warnings-over-time", "score-distribution", "driving-features", "learning-progress"):
        section = html[html.index(f'<figure id="{figure}">') :]
        assert "<svg" in section[: section.index("</figure>")], figure
    assert html.count("Line: score over time") == 3


def test_the_strongest_warning_has_its_reasons_in_words(html: str) -> None:
    """Raw counter, contribution and rule, each said plainly."""
    said = words_of(html)
    assert "90 % 2024-01-03 11:00:00 2024-01-04 11:00:00 reports from 4 people in 24 h rule report burst" in said
    assert "7 reports in 24 h +1.32" in said
    assert "first seen 1 day 1 h ago \N{MINUS SIGN}0.50" in said


def test_features_are_drawn_as_words_with_signed_weights(html: str) -> None:
    """The picture names the features; one whose weight is zero is left out."""
    start = html.index('<figure id="driving-features">')
    picture = html[start : html.index("</figure>", start)]
    assert "reports in 24 h" in picture
    assert "+0.70" in picture
    assert "\N{MINUS SIGN}0.70" in picture
    assert "unused" not in picture


def test_models_policy_rejects_and_tiers_are_tabled(html: str) -> None:
    """Versions, measures, reasons for rejection and tier counts stand in tables."""
    said = words_of(html)
    assert "logistic champion logistic regression c0ffee00c0ff 1,200 9 0.8765 not recorded" in said
    assert "bayes challenger naive bayes facade00faca"[:38] in said
    assert "policy strict policy version 0badcafe target third strike horizon 7 days" in said
    assert "champion logistic c0ffee00c0ffee00" in said
    assert "rejected: malformed json not JSON 4" in said
    assert "high 1 1 200 33.3 %" in said
    assert "6 of 600 decision points had insufficient history" in said


def test_every_reject_reason_has_an_explanation() -> None:
    """The table explains each reason of the closed list, and leaves a reason it does not know bare."""
    reasons = [*map(str, RejectReason), "of_another_age"]
    rows = {what: why for what, why, _ in losses(Summary({"rejects": dict.fromkeys(reasons, 1)}))}
    unexplained = [reason for reason in reasons if not rows[f"rejected: {reason.replace('_', ' ')}"]]
    assert unexplained == ["of_another_age"]


def test_a_hostile_user_id_is_text(html: str) -> None:
    """Markup in a user id is shown as it is written, in the table and above the timeline, and is never markup."""
    assert "<script" not in html
    assert html.count("&lt;script&gt;alert(&#39;a&#39;)&lt;/script&gt;") == 2


@pytest.mark.parametrize(
    ("user", "shown"),
    [
        ("a\u202eb", "a\\u202eb"),
        ("a\x00\x1b[31m", "a\\u0000\\u001b[31m"),
        ('"><img src=x onerror=y>', "&#34;&gt;&lt;img src=x onerror=y&gt;"),
        ("$\\frac{$", "$\\frac{$"),
        ("{{ 7 * 7 }}", "{{ 7 * 7 }}"),
        ("\N{PILE OF POO}" * 64, "\N{PILE OF POO}" * 64),
    ],
)
def test_any_user_id_is_shown_and_steers_nothing(run: Path, user: str, shown: str) -> None:
    """Direction marks, controls, attributes, mathematics and template syntax all come out as plain characters."""
    write_risk(run, [risk(user, 1, "high")])
    write_points(run, [user], [T0], [0.5], ["none"])
    assert page(run).count(f"<bdi>{shown}</bdi>") == 2


def test_hostile_names_in_summary_and_models_are_text(run: Path) -> None:
    """Log, target, model, feature and reason names are no more trusted than user ids."""
    bad = "<img src=x>\u202e"
    write_summary(
        run,
        {
            "log": bad,
            "rejects": {bad: 1},
            "policy": {"name": bad, "version": bad, "target": bad},
            "models": {"champion": bad, "challengers": [bad + "2"], bad: {"version": bad, "progressive": {bad: 1.0}}},
        },
    )
    write_versions(run, [version(bad, "logistic_regression", 1, features=[bad, "$\\a$", "\x00"], weights=[1, 2, 3])])
    html = page(run)
    assert "<img" not in html
    assert "\u202e" not in html
    assert "\x00" not in html


def test_nothing_is_fetched(html: str) -> None:
    """No script, no link, no address other than those that name SVG's namespaces; a policy forbids the rest."""
    assert not re.search(r"<(script|link|iframe|object|embed|img|image|base|form)\b", html)
    assert not re.search(r"\bsrc\s*=|@import|javascript:", html)
    assert set(re.findall(r"""(\S+?=)["']https?://""", html)) <= {"xmlns=", "xmlns:xlink="}
    assert len(re.findall(r"https?://", html)) == len(re.findall(r'xmlns(?::xlink)?="http://www\.w3\.org/', html))
    assert all(target.startswith("#") for target in re.findall(r'href="([^"]*)"', html))
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))
    assert "default-src 'none'" in html


def test_the_page_is_well_formed(html: str) -> None:
    """Every element that opens closes in order, no id is given twice, and every reference has its target."""
    void = {"meta", "br", "img", "hr"}

    class Checker(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []
            self.ids: Counter[str] = Counter()

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.ids.update(value or "" for name, value in attrs if name == "id")
            if tag not in void:
                self.open.append(tag)

        def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            del tag
            self.ids.update(value or "" for name, value in attrs if name == "id")

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    checker = Checker()
    checker.feed(html)
    assert checker.open == []
    assert [name for name, many in checker.ids.items() if many > 1] == []
    referred = re.findall(r'href="#([^"]*)"', html) + re.findall(r"url\(#([^)]*)\)", html)
    assert set(referred) <= set(checker.ids)


def test_the_same_files_give_the_same_bytes(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the directory, nor the build time, nor the reader's own Matplotlib settings leave a trace."""
    first = write_report(run).read_bytes()
    copy = tmp_path / "elsewhere"
    shutil.copytree(run, copy)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    with mpl.rc_context({"font.size": 20.0, "legend.fontsize": 20.0, "timezone": "Pacific/Auckland"}):
        assert write_report(copy).read_bytes() == first
        assert mpl.rcParams["font.size"] == 20.0
    assert write_report(run).read_bytes() == first


def test_an_empty_directory_gives_a_page_that_says_so(tmp_path: Path) -> None:
    """Nothing recorded is neither a failure nor a zero."""
    html = page(tmp_path)
    said = words_of(html)
    assert "<svg" not in html
    assert said.count("not recorded") > 20
    assert "Risk events were not recorded." in said
    assert "No warning was raised" not in said
    assert "high not recorded not recorded not recorded" in said


def test_a_run_without_warnings_says_so_and_shows_the_highest_scores(run: Path) -> None:
    """Zero warnings are said as zero; timelines then show who scored highest."""
    write_risk(run, [])
    write_summary(run, SUMMARY | {"risk_events": {"total": 0, "raised": {}}})
    said = words_of(page(run))
    assert "No warning was raised." in said
    assert "Nobody was warned, so there are no strongest warnings to list." in said
    assert "200 decision points, never warned of; highest score 89 %" in said


def test_a_run_without_decision_points_gives_a_page(run: Path) -> None:
    """An empty table of decision points draws no scores and no timelines."""
    write_points(run, [], [], [], [])
    write_risk(run, [])
    write_summary(run, SUMMARY | {"decision_points": 0, "escalations": 0, "lead_time": {}})
    said = words_of(page(run))
    assert "At no point was a score due." in said
    assert "No decision point was scored, so there is nothing to draw." in said
    assert "Nobody was scored or warned" in said
    assert "Nobody reached the target (third strike)" in said


def test_a_run_in_which_no_score_could_be_given_gives_a_page(run: Path) -> None:
    """All scores absent: the rule's warning has no probability, and is still listed and drawn."""
    write_points(run, ["a", "a"], [T0, T0 + HOUR], [None, None], ["none", "watch"])
    write_risk(run, [risk("a", 1, "watch", probability=None, model_note="insufficient_history")])
    html = page(run)
    assert "no score" in html
    assert "The model would not say for lack of history: a rule decided." in words_of(html)
    assert html.count("Line: score over time") == 1


@pytest.mark.parametrize("at", [0, MAX_TIME])
def test_the_first_and_the_last_time_there_is_can_be_drawn(run: Path, at: int) -> None:
    """The epoch and the end of the year 9999 are times like others."""
    write_points(run, ["a"], [at], [0.5], ["watch"])
    write_risk(run, [risk("a", (at - T0) / HOUR, "watch", expires_at=at + HOUR)])
    write_summary(run, SUMMARY | {"first_event": 0, "last_event": MAX_TIME})
    assert moment(at) in page(run)


def test_a_champion_without_weights_is_named_not_drawn(run: Path) -> None:
    """A family whose state holds no weights gets a sentence in the picture's place."""
    write_summary(run, {"models": {"champion": "bayes"}})
    said = words_of(page(run))
    assert "The champion is of the family naive_bayes, which has no weights that could be drawn as bars." in said


def test_without_versions_the_last_states_are_used(run: Path) -> None:
    """`models/<name>.json` stands in where no versions were kept, as when a model was pinned."""
    (run / "models" / "versions.jsonl").unlink()
    (run / "models" / "logistic.json").write_text(json.dumps(version("logistic", "logistic_regression", 3)))
    html = page(run)
    start = html.index('<figure id="driving-features">')
    assert "<svg" in html[start : html.index("</figure>", start)]


def test_the_weights_drawn_are_those_of_the_real_champion(run: Path) -> None:
    """A version as the learner publishes it is read and drawn: the contract with the models holds."""
    vector = dict.fromkeys(NAMES, 0.0)
    rows = [vector_from((vector | {"report_count_24h": float(reports)}).values()) for reports in (0, 7, 1, 9)]
    examples = tuple(Example("a", T0, row, label=row[NAMES.index("report_count_24h")] > 5, weight=1.0) for row in rows)
    learner = Learner("logistic", LearningPolicy())
    learner.take([TrainingEvent(0, 0, "a", T0, examples, erased=False)])
    learnt = learner.version()
    write_versions(run, [learnt.model_dump(mode="json")])
    html = page(run)
    start = html.index('<figure id="driving-features">')
    assert "reports in 24 h" in html[start : html.index("</figure>", start)]


@pytest.mark.parametrize("scores", [[0.2], [0.0, 1.0], [0.0], [1.0], [0.0101, 0.0102], [1e-9, 0.5]])
def test_any_spread_of_scores_has_a_scale(run: Path, scores: list[float | None]) -> None:
    """One score, equal scores, certainties and tiny ones are drawn with at least two ticks."""
    write_points(run, ["a"] * len(scores), [T0] * len(scores), scores, ["none"] * len(scores))
    html = page(run)
    start = html.index('<figure id="score-distribution">')
    picture = html[start : html.index("</figure>", start)]
    assert len(re.findall(r">[\d.]+ %<", picture)) >= 2


@pytest.mark.parametrize(
    "state", ["", "{}", '{"features": ["a"], "weights": [1, 2]}', '{"features": ["a"], "weights": ["x"]}', "[1]"]
)
def test_a_state_that_cannot_be_read_costs_only_its_picture(run: Path, state: str) -> None:
    """The page is written all the same."""
    write_versions(run, [version("logistic", "logistic_regression", 1) | {"state": state}])
    assert 'id="driving-features"' in page(run)


def test_strongest_warnings_rank_by_tier_then_probability_one_per_user(tmp_path: Path) -> None:
    """A tier outranks a probability, a probability outranks none, and the earlier of two equals comes first."""
    write_risk(
        tmp_path,
        [
            risk("late", 4, "watch", probability=0.5),
            risk("early", 2, "watch", probability=0.5),
            risk("rule", 1, "watch", probability=None),
            risk("high", 1, "watch", probability=0.99),
            risk("high", 3, "high", "watch", probability=0.7),
            risk("high", 5, "elevated", "high", probability=0.999),
            risk("high", 6, "none", "elevated", probability=0.0),
        ],
    )
    found = strongest_warnings(tmp_path, 10)
    assert [(event.user_id, str(event.tier), event.probability) for event in found] == [
        ("high", "high", 0.7),
        ("early", "watch", 0.5),
        ("late", "watch", 0.5),
        ("rule", "watch", None),
    ]
    assert strongest_warnings(tmp_path, 2) == found[:2]


def test_a_lowered_tier_is_not_a_warning(tmp_path: Path) -> None:
    """A step down from high to elevated warns of nothing."""
    write_risk(tmp_path, [risk("a", 1, "elevated", "high")])
    assert strongest_warnings(tmp_path, 5) == []


def test_an_erased_user_is_counted_but_never_named(run: Path) -> None:
    """An erasure takes every earlier warning and score of its user with it; what came later may be shown."""
    gone = {"user_id": HOSTILE, "as_of": T0 + 100 * HOUR, "tombstone": True}
    write_risk(run, [*RISK, gone])
    html = page(run)
    assert "alert" not in html
    assert "1 user was erased: counted in the totals above, named nowhere." in words_of(html)
    assert "high (1)" in html
    assert [event.user_id for event in strongest_warnings(run, 5)] == ["calm"]
    write_risk(run, [*RISK, gone, risk(HOSTILE, 101, "watch")])
    assert [event.as_of for event in strongest_warnings(run, 1)] == [T0 + 101 * HOUR]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("risk-events.jsonl", b'\n{"user_id": "secret"}\n', r"line 2 is not a risk event: replay the log again$"),
        ("risk-events.jsonl", b"{secret\n", r"line 1 is not JSON .*: replay the log again$"),
        ("risk-events.jsonl", b"[1]\n", r"line 1 is not a JSON object: replay the log again$"),
        ("summary.json", b"{secret", r"summary\.json is not JSON .*: replay the log again$"),
        ("features.parquet", b"secret", r"is not the decision points of a replay: replay the log again$"),
        ("models/versions.jsonl", b'{"name": "secret"}\n', r"line 1 is not a model version: replay the log again$"),
    ],
)
def test_a_broken_file_is_one_sentence(run: Path, name: str, content: bytes, sentence: str) -> None:
    """What is wrong, where, and what to do, without a word of what the file held."""
    (run / name).write_bytes(content)
    with pytest.raises(ValueError, match=sentence) as caught:
        write_report(run)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_directory_that_does_not_exist_is_one_sentence(tmp_path: Path) -> None:
    """The sentence says which option names the right one."""
    with pytest.raises(ValueError, match="is not a directory: give the one a replay wrote to with --out"):
        write_report(tmp_path / "nowhere")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
ODD_SUMMARIES = st.dictionaries(st.sampled_from(sorted(SUMMARY)), JSON) | st.fixed_dictionaries(
    {},
    optional={
        key: st.dictionaries(st.sampled_from(sorted(part)), JSON)
        for key, part in SUMMARY.items()
        if isinstance(part, dict)
    },
)


@given(summary=ODD_SUMMARIES)
@example(summary={"risk_events": {"raised": {"": 1}}})
@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_summary_stops_the_report(tmp_path: Path, summary: dict[str, Any]) -> None:
    """Whatever is missing from a summary, or of another kind than expected, a page is written."""
    write_summary(tmp_path, summary)
    assert "</html>" in page(tmp_path)


def test_a_missing_number_is_never_a_zero() -> None:
    """Every headline number of an empty summary is said to be not recorded."""
    assert {tile.value for tile in tiles(Summary({}))} == {"not recorded"}
    assert not any(re.search(r"\d", sentence) for sentence in headline(Summary({})))


def test_a_log_that_counts_from_an_origin_is_said_to() -> None:
    """Times in January 1970 are explained, not passed off as dates."""
    assert "origin of its own" in headline(Summary({"first_event": 0, "last_event": HOUR}))[0]
    assert "origin of its own" not in headline(Summary({"first_event": 0, "last_event": T0}))[0]


def test_thinning_keeps_the_peak_and_both_ends() -> None:
    """A long timeline loses points, never its highest score, its first or its last."""
    score = np.full(50_000, 0.1)
    score[31_234], score[0], score[17] = 0.9, np.nan, np.nan
    at, kept = thinned(np.arange(50_000, dtype=np.int64), score)
    assert len(kept) <= MOST_POINTS
    assert (at[0], at[-1]) == (1, 49_999)
    assert at[np.argmax(kept)] == 31_234
    assert (np.diff(at) > 0).all()


def test_a_tier_ends_at_the_next_risk_event_or_when_it_lapses(run: Path) -> None:
    """Shading follows the tier a user really stood in."""
    risky = [event for event in read_risk(run).events if event.user_id == HOSTILE]
    assert tier_bands(risky) == [
        ("watch", T0 + 2 * HOUR, T0 + 3 * HOUR),
        ("high", T0 + 3 * HOUR, T0 + 5 * HOUR),
        ("elevated", T0 + 5 * HOUR, T0 + 29 * HOUR),
    ]
    short = RiskEvent.model_validate(risk("a", 0, "watch", expires_at=T0 + HOUR))
    later = RiskEvent.model_validate(risk("a", 9, "watch", expires_at=T0 + 10 * HOUR))
    assert tier_bands([short, later])[0] == ("watch", T0, T0 + HOUR)


def test_the_highest_scored_are_found_with_ties_by_name(run: Path) -> None:
    """Order in the file does not decide between equals, and who was never scored is left out."""
    write_points(run, ["c", "b", "a", "d", "e"], [T0] * 5, [0.5, 0.5, 0.5, 0.9, None], ["none"] * 5)
    points = read_points(run)
    nobody = Risk((), {})
    assert highest_scored(points, nobody, 3) == ["d", "a", "b"]
    assert highest_scored(points, nobody, 9) == ["d", "a", "b", "c"]
    assert highest_scored(points, Risk((), {"d": T0}), 1) == ["a"]


def test_many_versions_are_thinned_to_what_a_picture_holds(run: Path) -> None:
    """The first and the last version stay, and one that learnt nothing is never drawn."""
    write_versions(run, [version("logistic", "logistic_regression", number) for number in range(1_000)])
    html = page(run)
    assert "published 1,000 versions" in words_of(html)
    drawn = drawn_versions(read_versions(run)["logistic"])
    assert len(drawn) == MOST_VERSIONS
    assert (drawn[0].examples, drawn[-1].examples) == (100, 99_900)


@pytest.mark.parametrize(("stretch", "width"), [(0, 60_000), (24 * HOUR, HOUR // 2), (31 * 24 * HOUR, 12 * HOUR)])
def test_bins_of_time_have_round_widths(stretch: int, width: int) -> None:
    """However long the log, a bar stands for a stretch people can name."""
    assert bin_width(T0, T0 + stretch) == width


def test_the_longest_log_still_has_a_readable_number_of_bins() -> None:
    """Eight thousand years are cut into centuries."""
    assert MAX_TIME / bin_width(0, MAX_TIME) < 100


def test_picture_text_is_what_the_pictures_font_can_show() -> None:
    """Other characters become question marks and long names are cut, so that layout never warns."""
    assert label("caf\u00e9 \u202e\x00") == "caf? ??"
    assert len(label("x" * 500)) == 60


def test_shares_and_times_read_plainly() -> None:
    """Percentages keep two or three digits; times are ISO in UTC; what is missing says so."""
    assert (percent(0.8234), percent(0.00042), percent(1.0), percent(None)) == (
        "82.3 %",
        "0.042 %",
        "100 %",
        "not recorded",
    )
    assert (moment(T0), moment(None)) == ("2024-01-03 08:00:00", "not recorded")
