"""The HTML page of an evaluation: the verdict in sentences, then pictures and tables."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import orjson
from jinja2 import Template

from dataflows.reports import evaluation_charts as pictures
from dataflows.reports.drawing import drawn, why_undrawn
from dataflows.reports.numbers import decimal, events, figure, quantity, rough_duration, share
from dataflows.reports.templating import template
from dataflows.reports.terminal import kept, limits, when, within
from dataflows.runtime.atomic import BusyError, written_together
from dataflows.runtime.escaping import visible
from evaluation.evaluate import BUDGETS
from evaluation.intervals import SAMPLES
from evaluation.runs import EvaluationError
from evaluation.slices import LEAST_POINTS, LEAST_POSITIVES


def write_evaluation(document: dict[str, Any], run_dir: Path) -> Path:
    """Write `evaluation.json` and `evaluation.html` into the run directory, both or neither; return the page's path.

    Raises:
        EvaluationError: if they cannot be written; older files then stay unchanged.
    """
    try:
        with written_together(run_dir, "evaluation.json") as folder:
            data = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
            (folder / "evaluation.json").write_bytes(data)
            write_page(document, folder)
    except BusyError:
        raise EvaluationError(f"{run_dir}: another forewarn is writing there; wait for it.") from None
    except OSError as error:
        raise EvaluationError(
            f"{run_dir}: the evaluation cannot be written ({error.strerror or error}); make room on its disk."
        ) from None
    return run_dir / "evaluation.html"


def write_page(document: dict[str, Any], run_dir: Path) -> Path:
    """Write `evaluation.html` into `run_dir`; return its path.

    The page needs no network, and the same document gives the same bytes.
    """
    path = run_dir / "evaluation.html"
    path.write_text(render(document, run_dir), encoding="utf-8", newline="\n")
    return path


def render(document: dict[str, Any], scratch: Path | None = None) -> str:
    """Return the page of an evaluation; Matplotlib may use the directory `scratch` while it starts."""
    scores = document["scores"]
    context = {
        "document": document,
        "undrawn": why_undrawn(scratch),
        "verdict": verdict(document),
        "asked": asked(document),
        "ranking": drawn(pictures.ranking, scores),
        "none_true": pictures.left_out(document["reliability"]),
        "budget": f"{BUDGETS[1]:g}",
        "unannounced": all(early["recall"] is None for early in document["earliness"]),
        "samples": SAMPLES,
        "least_points": LEAST_POINTS,
        "least_positives": LEAST_POSITIVES,
        "reliability": drawn(pictures.reliability, document["reliability"]),
        "earliness": drawn(pictures.earliness, document["earliness"]),
        "error": scores[document["models"]["champion"]]["calibration_error"],
    }
    return _template().render(context) + "\n"


def verdict(document: dict[str, Any]) -> list[str]:
    """Compare the champion with the best baseline, in one sentence by ROC-AUC and one by average precision."""
    champion, scores = document["models"]["champion"], document["scores"]
    sentences = []
    for key, what in (("roc_auc", "By area under the ROC curve"), ("average_precision", "By average precision")):
        baselines = {
            name: score[key]["value"]
            for name, score in scores.items()
            if score["kind"] == "floor" and score[key]["value"] is not None
        }
        if not baselines:
            continue
        best = max(baselines, key=lambda name: baselines[name])
        lead = scores[best]["champion_above"][key]
        digits = 3 if key == "roc_auc" else 4
        figures = f"{figure(scores[champion][key], digits)} against {figure(scores[best][key], digits)}"
        if lead["low"] is None:
            decided = f"cannot be told from the best floor, {best}"
        elif lead["low"] > 0:
            decided = f"is better than the best floor, {best}"
        elif lead["high"] < 0:
            decided = f"is worse than the best floor, {best}"
        else:
            decided = f"is not shown to be better than the best floor, {best}"
        sentences.append(
            f"{what} the champion, {champion}, {decided}: {figures}; its lead is {figure(lead, digits, '+')}."
        )
    return sentences


def asked(document: dict[str, Any]) -> str:
    """Return the evaluated question and its points in sentences."""
    policy, protocol, points = document["policy"], document["protocol"], document["points"]
    at = f"{quantity(points['evaluated'])} decision points of {quantity(points['users'])} users{limits(protocol)}"
    return (
        f"Does the user reach the target ({policy['target']}) {when(document)}? Asked at {at}; "
        f"for {quantity(points['positives'])} of them, {points['base_rate']:.2%}, the answer is yes. "
        f"{quantity(points['censored'])} points are left out because their horizon reaches beyond the log, and "
        f"{quantity(points['unscored'])} because the champion had no score yet."
    )


def mute(scores: dict[str, Any]) -> list[str]:
    """Return the names of scores for which no threshold keeps to the budget."""
    return [name for name, found in scores.items() if not found["warnings"]]


@cache
def _template() -> Template:
    filters: dict[str, Callable[..., object]] = {
        "visible": visible,
        "share": share,
        "kept": kept,
        "within": within,
        "number": decimal,
        "span": rough_duration,
        "quantity": quantity,
        "figure": figure,
        "events": events,
        "select_mute": mute,
    }
    return template("evaluation.html.j2", filters)
