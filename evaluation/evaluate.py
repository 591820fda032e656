"""Evaluation of a replay: one document with every figure, its interval and its baselines, and no wall-clock value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import orjson

from detectors.features.catalogue import CODES
from evaluation.alerts import Follow, Warnings
from evaluation.baselines import baselines
from evaluation.boosting import boosted
from evaluation.calibration import calibration_error, reliability
from evaluation.curves import earliness, numbered, recovery, stability
from evaluation.guarantees import guarantees
from evaluation.intervals import compare_scores
from evaluation.labels import Labels, Question, label
from evaluation.leakage import suspects
from evaluation.metrics import brier
from evaluation.runs import EvaluationError, Flags, Outputs, Values
from evaluation.slices import Slices, by_age, large_enough

FORMAT = 1
BUDGETS = (1.0, 5.0, 20.0)
"""Warnings per 1,000 active users and day."""
PRECISIONS = (0.2, 0.5, 0.8)
BOOSTED = "boosted trees"


class Where(NamedTuple):
    """A filter: only points at which a feature has this value; None means absent."""

    feature: str
    value: float | None


@dataclass(frozen=True, slots=True)
class Protocol:
    """The question of an evaluation, and the points it is evaluated on.

    Points lie between quantiles of the points' times. `skip_first` leaves out users' first points. `where` keeps only
    points at which features have these values. Only escalations at least `ahead` ms away count.
    """

    question: Question = "horizon"
    from_quantile: float = 0.0
    until_quantile: float = 1.0
    skip_first: bool = False
    ahead: int = 0
    boosting: bool = True
    where: tuple[Where, ...] = ()

    def __post_init__(self) -> None:
        """Raise `EvaluationError` if `ahead` is combined with the question *next*."""
        if self.ahead and self.question == "next":
            raise EvaluationError("What comes next is asked whenever it comes: leave out either --ahead or --question.")

    def label(self, run: Outputs) -> Labels:
        """Return the labels of a run's points under this protocol.

        Raises:
            EvaluationError: if `ahead` is longer than the run's horizon.
        """
        if self.ahead > run.horizon:
            raise EvaluationError("Nothing within the horizon is further ahead than the horizon: ask for less.")
        return label(self.question, run.user, run.as_of, run.seq, run.escalations, run.horizon, self.ahead)

    def warned(self, run: Outputs) -> Labels:
        """Return the labels by which warnings are measured: a warning is about the horizon, whatever the question."""
        return replace(self, question="horizon").label(run)

    def document(self) -> dict[str, Any]:
        """Return the protocol as plain data for a document."""
        return {
            "question": self.question,
            "from_quantile": self.from_quantile,
            "until_quantile": self.until_quantile,
            "skip_first": self.skip_first,
            "ahead_ms": self.ahead,
            "where": [one._asdict() for one in self.where],
        }


def evaluate(run: Outputs, protocol: Protocol, attributes: Slices | None = None) -> dict[str, Any]:
    """Return all figures as one document; the same outputs give the same bytes.

    `attributes` are further slices of the points, for example of channels, locales and age bands. Figures are given for
    each.

    Raises:
        EvaluationError: if no point is left to evaluate, or none of them is positive.
    """
    labels = protocol.label(run)
    usable = usable_rows(run, labels, protocol)
    champion = run.scores[run.champion]
    scored = usable & ~np.isnan(champion)
    if not labels.positive[scored].any():
        raise EvaluationError(
            f"Of {len(run):,} points {int(usable.sum()):,} can be evaluated and {int(scored.sum()):,} of them have a "
            "score, but none of those is positive: choose a longer log, or another part of it."
        )
    trivial = baselines(run)
    if protocol.boosting:
        trivial[BOOSTED] = boosted(run, labels)
    follow = Follow(run, protocol.warned(run).answered, protocol.ahead)
    budgets = {f"{budget:g}": _budgeted(follow, run, trivial, budget) for budget in BUDGETS}
    middle = budgets[f"{BUDGETS[1]:g}"][run.champion]["threshold"]
    cells: Slices = by_age(run) | (attributes or {})
    document = {
        "format": FORMAT,
        "log": run.name,
        "policy": run.summary["policy"],
        "models": {"champion": run.champion, "challengers": run.summary["models"]["challengers"]},
        "protocol": protocol.document(),
        "points": {
            "all": len(run),
            "censored": int((~labels.mature).sum()),
            "too_late": int((labels.mature & labels.late).sum()),
            "evaluated": int(scored.sum()),
            "unscored": int((usable & ~scored).sum()),
            "positives": int(labels.positive[scored].sum()),
            "base_rate": int(labels.positive[scored].sum()) / int(scored.sum()),
            "users": len(np.unique(run.user[scored])),
        },
        "suspect_features": suspects(
            {name: values[scored] for name, values in run.features.items() if name not in CODES},
            labels.positive[scored],
        ),
        "scores": _scores(run, labels, scored, trivial),
        "reliability": [one._asdict() for one in reliability(labels.positive[scored], champion[scored])],
        "promises": guarantees(run, Follow(run, replace(protocol, ahead=0).warned(run).answered)),
        "published": _warnings(follow.outcome(np.array([one.row for one in run.warnings], dtype=np.int64))),
        "at_budget": budgets,
        "at_precision": {
            f"{precision:g}": None if found is None else _warnings(found)
            for precision in PRECISIONS
            for found in [follow.at_precision(champion, precision)]
        },
        "earliness": [
            {**one._asdict(), "roc_auc": one.roc_auc._asdict()}
            for one in earliness(run, champion, labels, scored, follow, middle)
        ],
        "recovery": recovery(run, champion),
        "stability": stability(run, follow.active_days),
        "slices": _slices(run, labels, scored, cells),
    }
    plain: dict[str, Any] = orjson.loads(orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS))
    return plain


def usable_rows(run: Outputs, labels: Labels, protocol: Protocol) -> Flags:
    """Return a mask of the points to evaluate: those with a known label that the protocol selects.

    Raises:
        EvaluationError: if the protocol names a feature that does not exist.
    """
    usable = labels.answered
    if protocol.from_quantile:
        usable &= run.as_of >= np.quantile(run.as_of, protocol.from_quantile)
    if protocol.until_quantile < 1:
        usable &= run.as_of < np.quantile(run.as_of, protocol.until_quantile)
    if protocol.skip_first:
        usable &= numbered(run) > 1
    for feature, value in protocol.where:
        if feature not in run.features:
            raise EvaluationError(f"There is no feature {feature!r}: choose from {', '.join(sorted(run.features))}.")
        found = run.features[feature]
        usable &= np.isnan(found) if value is None else found == value
    return usable


def _scores(run: Outputs, labels: Labels, scored: Flags, trivial: dict[str, Values]) -> dict[str, Any]:
    """Return the figures of each model and baseline on the same rows: those the champion scored."""
    models = {name: np.nan_to_num(values[scored]) for name, values in run.scores.items()}
    everything = models | {name: values[scored] for name, values in trivial.items()}
    positive = labels.positive[scored]
    compared = compare_scores(positive, run.user[scored], everything)
    found: dict[str, Any] = {}
    for name in everything:
        found[name] = {
            "kind": "model" if name in models else "floor",
            "roc_auc": compared.roc_auc[name]._asdict(),
            "average_precision": compared.average_precision[name]._asdict(),
        }
        if name in models:
            found[name]["brier"] = brier(positive, models[name])
            found[name]["calibration_error"] = calibration_error(reliability(positive, models[name]))
        if name != run.champion:
            found[name]["champion_above"] = {
                "roc_auc": compared.roc_auc_above[name]._asdict(),
                "average_precision": compared.average_precision_above[name]._asdict(),
            }
    return found


def _budgeted(follow: Follow, run: Outputs, trivial: dict[str, Values], budget: float) -> dict[str, Any]:
    scores = {run.champion: run.scores[run.champion]} | trivial
    return {name: _warnings(follow.at_budget(values, budget)) for name, values in scores.items()}


def _warnings(found: Warnings) -> dict[str, Any]:
    return {**found._asdict(), "lead": found.lead._asdict()}


def _slices(run: Outputs, labels: Labels, scored: Flags, cells: Slices) -> list[dict[str, Any]]:
    found = []
    champion = run.scores[run.champion]
    for name, members in cells.items():
        rows = scored & members
        positive = labels.positive[rows]
        cell: dict[str, Any] = {"slice": name, "points": len(positive), "positives": int(positive.sum())}
        if large_enough(positive):
            compared = compare_scores(positive, run.user[rows], {"score": champion[rows]})
            cell["roc_auc"] = compared.roc_auc["score"]._asdict()
            cell["average_precision"] = compared.average_precision["score"]._asdict()
            cell["calibration_error"] = calibration_error(reliability(positive, champion[rows]))
        found.append(cell)
    return found
