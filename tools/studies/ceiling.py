"""Approximate limits of any score on the public logs: *Upper bounds* in docs/lab-book/datasets.md.

Boosted trees on the features as served learn from all other users and the whole log, which no score that warns in time
can. For CONDA they learn from all other matches, and once more with the match clock, which no event contains. A
player's text is tried beside the clock, with the weight that is best on the very points it is measured on.
"""

from __future__ import annotations

import csv
import gzip
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline

from dataflows.reports.numbers import figure
from detectors.features.catalogue import CODES
from evaluation.evaluate import Protocol, Where, usable_rows
from evaluation.intervals import compare_scores
from evaluation.labels import Flags
from evaluation.runs import Outputs, Values, read_outputs
from tools.studies import evaluate_logs

FOLDS = 8
MOST_NEGATIVES = 100_000
FIRST_LINE = (Where("report_count_7d", 1.0), Where("report_since", None))
QUESTIONS = {
    "wikipedia_bans": (
        ("as papers ask it", Protocol("next", 0.85)),
        ("as papers ask it, without first edits", Protocol("next", 0.85, skip_first=True)),
    ),
    "ubuntu_irc": (("at least five minutes ahead", Protocol(ahead=300_000)),),
    "conda": (("at a player's first toxic line", Protocol(where=FIRST_LINE)),),
}


def columns(run: Outputs) -> Any:
    """Return the features as served, shape (points, features), without token codes and constant columns."""
    known = [np.nan_to_num(values, nan=-1.0) for name, values in run.features.items() if name not in CODES]
    return np.column_stack([values for values in known if len(np.unique(values)) > 1])


def trees(known: Any, positive: Flags, group: Any, asked: Flags) -> Values:
    """Return the score of each requested point by trees fitted on the points of other groups; 0 for other points."""
    scores, rng = np.zeros(len(positive)), np.random.default_rng(0)
    for learnt, due in GroupKFold(FOLDS).split(known, groups=group):
        negatives = learnt[~positive[learnt]]
        if len(negatives) > MOST_NEGATIVES:
            negatives = rng.choice(negatives, MOST_NEGATIVES, replace=False)
        fitted = np.sort(np.concatenate([learnt[positive[learnt]], negatives]))
        model = HistGradientBoostingClassifier(
            max_iter=80, learning_rate=0.05, max_depth=3, min_samples_leaf=40, random_state=0
        )
        here = due[asked[due]]
        if len(here):
            scores[here] = model.fit(known[fitted], positive[fitted]).predict_proba(known[here])[:, 1]
    return scores


def texts(lines: list[str], positive: Flags, group: Any) -> Values:
    """Return the log-odds of each line by a linear model of character n-grams fitted on the lines of other groups."""
    scores, array = np.zeros(len(lines)), np.array(lines, dtype=object)
    for learnt, due in GroupKFold(FOLDS).split(array, groups=group):
        grams = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), min_df=3, sublinear_tf=True)
        model = make_pipeline(grams, LogisticRegression(C=0.1, max_iter=500)).fit(array[learnt], positive[learnt])
        scores[due] = model.decision_function(array[due])
    return scores


def compared_scores(name: str, log: Path, run: Outputs, protocol: Protocol) -> tuple[Any, Flags, dict[str, Values]]:
    """Return users, labels and scores of the points that the protocol selects."""
    labels = protocol.label(run)
    everywhere = usable_rows(run, labels, replace(protocol, from_quantile=0.0, skip_first=False))
    known, user, positive = columns(run)[everywhere], run.user[everywhere], labels.positive[everywhere]
    champion = run.scores[run.champion][everywhere]
    asked = usable_rows(run, labels, protocol)[everywhere] & ~np.isnan(champion)
    if name == "conda":
        scores = {"champion": champion, **at_a_line(log, run, everywhere, known, positive, asked)}
    else:
        scores = {"champion": champion, "trees that know all others": trees(known, positive, user, asked)}
    return user[asked], positive[asked], {title: score[asked] for title, score in scores.items()}


def at_a_line(log: Path, run: Outputs, points: Flags, known: Any, positive: Flags, asked: Flags) -> dict[str, Values]:
    """Return the scores of these CONDA points from the match clock, the features and the text of the line, by title."""
    match = np.array([int(player.split(":")[0]) for player in run.users])[run.user[points]]
    with gzip.open(log, "rt", newline="") as file:
        lines = list(csv.DictReader(file))
    rows = [lines[int(run.event_id[point].split(":")[1])] for point in np.flatnonzero(points)]
    early = np.array([-float(row["game_seconds"]) for row in rows])
    said = texts([row["utterance"] for row in rows], positive, match)
    mixed = [early / early.std() + weight * said / said.std() for weight in np.linspace(0, 2, 21)]
    return {
        "minus the clock of the match": early,
        "trees that know all other matches": trees(known, positive, match, asked),
        "the same, and the clock": trees(np.column_stack([known, early]), positive, match, asked),
        "what is said": said,
        "what is said and the clock, at best": max(mixed, key=lambda score: average_precision_score(positive, score)),
    }


def table(name: str, log: Path, run: Outputs) -> list[str]:
    """Return a Markdown table for each question."""
    lines = []
    for words, protocol in QUESTIONS[name]:
        user, positive, scores = compared_scores(name, log, run, protocol)
        compared = compare_scores(positive, user, scores)
        lines += [f"**{words}**: {len(positive):,} points, {int(positive.sum()):,} positive", ""]
        lines += ["| | AUC | AP |", "|---|---|---|"]
        for score in scores:
            auc, precision = compared.roc_auc[score], compared.average_precision[score]
            lines.append(f"| {score} | {figure(auc._asdict(), 3)} | {figure(precision._asdict(), 4)} |")
        lines.append("")
    return lines


def main() -> int:
    """Replay the requested logs that exist and print their tables; return 1 if none exists."""
    arguments = evaluate_logs.asked(__doc__, "out/ceiling")
    for name in arguments.found:
        log, out = evaluate_logs.log_of(arguments.logs, name), arguments.out / name
        evaluate_logs.replay(log, name, f"deploy/policies/{name}.toml", out)
        click.echo(f"== {name}\n\n" + "\n".join(table(name, log, read_outputs(out))))
    return 0 if arguments.found else 1


if __name__ == "__main__":
    sys.exit(main())
