"""The page of an evaluation: every figure that matters is on it, whatever is missing, and nothing on it can run."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import orjson
import pytest

from dataflows.reports import evaluation_charts as pictures
from dataflows.reports.evaluation_page import render, verdict, write_page
from dataflows.reports.numbers import figure, rough_duration, share
from dataflows.reports.terminal import evaluated_lines
from evaluation.evaluate import Protocol, evaluate
from evaluation.runs import read_outputs

VOID = {"meta", "br", "link", "img", "input", "hr"}


@pytest.fixture(scope="module")
def document(replays: Callable[..., Path]) -> dict[str, Any]:
    """The evaluation of a replay of the simulated log."""
    return evaluate(read_outputs(replays()), Protocol(boosting=False))


def copied(document: dict[str, Any]) -> Any:
    return orjson.loads(orjson.dumps(document))


class Nesting(HTMLParser):
    """Checks that every element that is opened is closed, in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids.extend(value or "" for name, value in attrs if name == "id")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del tag
        self.ids.extend(value or "" for name, value in attrs if name == "id")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_its_links_lead_somewhere(document: dict[str, Any]) -> None:
    """Every element is closed, every id is there once, every link of the navigation has its section."""
    page = render(document)
    nesting = Nesting()
    nesting.feed(page)
    assert nesting.open == []
    assert len(set(nesting.ids)) == len(nesting.ids)
    assert set(re.findall(r'<a href="#(.*?)"', page)) <= set(nesting.ids)


def test_every_score_stands_with_its_figures_and_intervals(document: dict[str, Any]) -> None:
    """Models and floors alike."""
    page = render(document)
    for name, score in document["scores"].items():
        assert f'<th scope="row">{name}</th>' in page
        assert figure(score["roc_auc"], 3) in page
        assert figure(score["average_precision"], 4) in page
        if "champion_above" in score:
            assert figure(score["champion_above"]["roc_auc"], 3, "+") in page
            assert figure(score["champion_above"]["average_precision"], 4, "+") in page
        if score["kind"] == "model":
            cells = "".join(f'<td class="n">{score[key]:.4f}</td>' for key in ("calibration_error", "brier"))
            assert f'<th scope="row">{name}</th>{cells}' in page
    for sentence in verdict(document):
        assert sentence in page


def test_warnings_stand_with_what_they_came_to(document: dict[str, Any]) -> None:
    """How many, how often right, what they announced and how much time they left, which is asked for in shares."""
    changed = copied(document)
    lead = {"median_ms": 5_400_000.0, "p10_ms": 60_000.0, "median_events": 4.0, "p10_events": 1.0}
    lead["at_least"] = {"300000": 0.617, "3600000": 0.409}
    changed["published"] |= {"warnings": 4_321, "precision": 0.123, "recall": 0.456, "lead": lead}
    page = render(changed)
    for text in ("4,321", "12.3%", "45.6%", "1.5 h, 4 events", "1 min, 1 event"):
        assert f'<td class="n">{text}</td>' in page
    assert "at least so long before: 5 min: 61.7%; 1 h: 40.9%." in page
    for scores in document["at_budget"].values():
        for found in scores.values():
            assert not found["warnings"] or f'<td class="n">{share(found["recall"])}</td>' in page


def test_a_slice_too_small_to_say_anything_shows_no_figure(document: dict[str, Any]) -> None:
    """Its size only."""
    changed = copied(document)
    changed["slices"] = [{"slice": "channel a", "points": 7, "positives": 1}]
    row = re.search(r"<tr>.*channel a.*</tr>", render(changed))
    assert row is not None
    assert "too few to say anything" in row[0]
    assert re.findall(r'<td class="n">(.*?)</td>', row[0]) == ["7", "1"]


def test_a_recall_that_is_not_defined_is_not_drawn_as_zero(document: dict[str, Any]) -> None:
    """Where no threshold keeps to the budget nothing is known, and the page says so."""
    zero, unknown = copied(document), copied(document)
    for known, early in zip(zero["earliness"], unknown["earliness"], strict=True):
        for one in (known, early):
            one["roc_auc"] = {"value": 0.6, "low": 0.5, "high": 0.7}
        known["recall"], early["recall"] = 0.0, None
    drawn, empty = (str(pictures.earliness(one["earliness"])).count("<use") for one in (zero, unknown))
    assert drawn > empty
    assert "no threshold of the champion keeps to that budget" in render(unknown)
    assert "no threshold of the champion keeps to that budget" not in render(zero)


@pytest.mark.parametrize(("reach", "count"), [(0.01, 1), (0.9, 0)])
def test_bins_that_a_logarithmic_scale_cannot_show_are_counted(
    document: dict[str, Any], reach: float, count: int
) -> None:
    """On plain axes zero has its place."""
    bins = [
        {"low": 0.0, "high": 0.01, "points": 9, "predicted": 0.001, "observed": 0.0},
        {"low": 0.01, "high": reach, "points": 9, "predicted": reach, "observed": reach},
    ]
    assert pictures.left_out(bins) == count
    assert ("1 of the 2 bins came to nothing" in render(document | {"reliability": bins})) == bool(count)


def test_the_protocol_is_that_of_the_question(document: dict[str, Any]) -> None:
    """The question *next* censors nothing."""
    following = copied(document)
    following["protocol"]["question"] = "next"
    assert "its whole horizon lies within the log" in render(document)
    assert "its whole horizon lies within the log" not in render(following)


def test_the_terminal_says_what_was_asked_and_of_which_points(document: dict[str, Any]) -> None:
    """A figure of a part of the points is never mistaken for one of all."""
    whole = evaluated_lines(document)
    assert f" within {rough_duration(document['policy']['horizon_ms'])}, policy " in whole[0]
    assert " users evaluated: " in whole[1]
    ahead = document | {"protocol": document["protocol"] | {"ahead_ms": 300_000}}
    assert (
        f" within {rough_duration(document['policy']['horizon_ms'])}, at least 5 min ahead, policy "
        in evaluated_lines(ahead)[0]
    )
    where = [{"feature": "report_count_7d", "value": 1.0}, {"feature": "report_since", "value": None}]
    protocol = document["protocol"] | {"question": "next", "until_quantile": 0.85, "skip_first": True, "where": where}
    part = evaluated_lines(document | {"protocol": protocol})
    assert " before anything else of theirs is seen, policy " in part[0]
    assert (
        " users evaluated, before the 0.85 quantile of their times, without each user's first, where 1 report in 7 "
        "days, where time since last report: not known: " in part[1]
    )


@pytest.mark.parametrize(
    ("lead", "words"),
    [
        ((0.1, 0.05, 0.2), "is better than the best floor"),
        ((0.1, -0.05, 0.2), "is not shown to be better than the best floor"),
        ((-0.1, -0.2, -0.05), "is worse than the best floor"),
        ((0.1, None, None), "cannot be told from the best floor"),
    ],
)
def test_the_verdict_goes_by_the_interval_of_the_lead(
    document: dict[str, Any], lead: tuple[float | None, ...], words: str
) -> None:
    """Not by which figure is larger."""
    changed = copied(document)
    for score in changed["scores"].values():
        if "champion_above" in score:
            score["champion_above"]["roc_auc"] = dict(zip(("value", "low", "high"), lead, strict=True))
    assert words in verdict(changed)[0]


def test_what_is_missing_is_said_and_not_drawn(document: dict[str, Any]) -> None:
    """A log too short for anything but the bare figures still has its page."""
    bare = copied(document)
    for score in bare["scores"].values():
        for found in (score, score.get("champion_above", {})):
            for key in ("roc_auc", "average_precision"):
                if key in found:
                    found[key] = {"value": None, "low": None, "high": None}
        for key in ("brier", "calibration_error"):
            if key in score:
                score[key] = None
    bare["reliability"], bare["slices"] = [], []
    for early in bare["earliness"]:
        early["roc_auc"], early["recall"] = {"value": None, "low": None, "high": None}, None
    lead = {"median_ms": None, "p10_ms": None, "median_events": None, "p10_events": None, "at_least": {}}
    none = {"threshold": None, "warnings": 0, "per_budget": None, "precision": None, "recall": None, "lead": lead}
    bare["published"] = none
    bare["at_budget"] = {budget: dict.fromkeys(scores, none) for budget, scores in bare["at_budget"].items()}
    bare["at_precision"] = dict.fromkeys(bare["at_precision"])
    bare["recovery"] = {after: {"stretches": 0, "left": None} for after in bare["recovery"]}
    bare["stability"] = {**dict.fromkeys(bare["stability"]), "users_with_changes": 0}
    page = render(bare)
    assert page.count("Nothing to draw.") == 2
    assert "no threshold reaches it" in page
    assert "no escalation announced" in page
    assert "None" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)


def test_names_from_outside_are_shown_and_do_nothing(document: dict[str, Any]) -> None:
    """A log may be called anything, and so may a channel."""
    hostile = copied(document)
    hostile["log"] = "<script>alert(1)</script>"
    hostile["policy"]["name"] = '"><img src=x onerror=alert(1)>'
    hostile["slices"].append({"slice": "channel <b>&\u202e", "points": 3, "positives": 1})
    page = render(hostile)
    assert "<script" not in page
    assert "<img" not in page
    assert "\u202e" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_the_same_document_gives_the_same_page_beside_its_run(document: dict[str, Any], tmp_path: Path) -> None:
    """Byte for byte; it loads nothing from anywhere."""
    path = write_page(document, tmp_path)
    first = path.read_bytes()
    assert path == tmp_path / "evaluation.html"
    assert write_page(document, tmp_path).read_bytes() == first
    assert not re.search(rb'(?:src|href)="(?!#)', re.sub(rb'xmlns(?::\w+)?="[^"]*"', b"", first))
