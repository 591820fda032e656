"""The page of an evaluation: every figure that matters is on it, whatever is missing, and nothing on it can run."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import orjson
import pytest

from dataflows.evaluation.evaluate import Protocol, evaluate
from dataflows.evaluation.outputs import read_outputs
from dataflows.evaluation.page import render, verdict, write_page
from dataflows.evaluation.told import figure

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
    for sentence in verdict(document):
        assert sentence in page


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
