"""Gains from features that are not served, on the public logs: the last table of docs/lab-book/datasets.md.

One replay of a log runs the champion in shadow with the features served, and with each family of `CANDIDATES` added.
The gain is measured on the points before the 0.85 quantile of time, where choices are made.
"""

from __future__ import annotations

import sys

import click
import numpy as np

from detectors.features import catalogue

SERVED = catalogue.NAMES
# The imports below read the catalogue when they are loaded. Add the candidates first, and keep the codes last.
catalogue.CATALOGUE = (*catalogue.CATALOGUE[:-1], *catalogue.CANDIDATES, catalogue.CATALOGUE[-1])
catalogue.NAMES = tuple(feature.name for feature in catalogue.CATALOGUE)
catalogue.NUMBERS = tuple(name for name in catalogue.NAMES if name not in catalogue.CODES)

from dataflows.replay.replay import replay  # noqa: E402
from dataflows.reports.numbers import figure  # noqa: E402
from dataflows.sources.files.log import LogSource  # noqa: E402
from detectors.models.catalogue import READS  # noqa: E402
from detectors.policy.parse import parse_policy  # noqa: E402
from detectors.policy.policy import Policy  # noqa: E402
from detectors.rules.catalogue import RULES  # noqa: E402
from evaluation.evaluate import Protocol, usable_rows  # noqa: E402
from evaluation.intervals import compare_scores  # noqa: E402
from evaluation.runs import Outputs, read_outputs  # noqa: E402
from tools.studies import evaluate_logs  # noqa: E402

CHOOSING = Protocol(until_quantile=0.85)
CHAMPION = "logistic"
AS_SERVED = "as_served"
FAMILIES = {
    "bursts": (("burst_max_1h", "burst_max_24h"), "bursts of messages"),
    "regularity": (("gap_spread_24h",), "how regular the gaps are"),
    "session": (("session_count", "session_since"), "the present session"),
    "own_past": (("length_shift_1h_24h", "toxicity_shift_1h_24h"), "against the user's own past"),
    "channel_age": (("channel_age",), "how old the channel is"),
    "newcomers": (("channel_newcomers",), "newcomers in the channel"),
    "channel_toxicity": (("channel_toxicity",), "toxicity in the channel"),
    "answers": (
        ("channel_answered", "answer_count_24h", "answer_decay_7d", "answer_ratio_24h", "answer_since"),
        "more of answers",
    ),
}
"""Families of candidates that are tried together, and their description. Every candidate is in one family."""


def tried(policy: Policy) -> Policy:
    """Return the policy with the champion in shadow, with the features served and with each family added."""
    candidates = set(catalogue.NAMES) - set(SERVED)
    ignored = {AS_SERVED: candidates} | {f"with_{name}": candidates - {*names} for name, (names, _) in FAMILIES.items()}
    document = policy.model_dump(mode="json")
    document["variants"] = {name: {"model": CHAMPION, "ignore": sorted(rest)} for name, rest in ignored.items()}
    document["learning"]["challengers"] = list(ignored)
    return parse_policy(document, RULES, READS)


def table(run: Outputs) -> list[str]:
    """Return a Markdown table: each family's figures with the features served, and its lead over those alone."""
    labels = CHOOSING.label(run)
    rows = usable_rows(run, labels, CHOOSING) & ~np.isnan(run.scores[AS_SERVED])
    positive, user = labels.positive[rows], run.user[rows]
    lines = ["| | AUC | AP | above the features served: AUC | AP |", "|---|---|---|---|---|"]
    for name, (_, words) in FAMILIES.items():
        scores = {with_it: np.nan_to_num(run.scores[with_it][rows]) for with_it in (f"with_{name}", AS_SERVED)}
        compared = compare_scores(positive, user, scores)
        if len(lines) == 2:
            lines.append(
                f"| **as served** | {figure(compared.roc_auc[AS_SERVED]._asdict(), 3)} "
                f"| {figure(compared.average_precision[AS_SERVED]._asdict(), 4)} | | |"
            )
        cells = [
            words,
            figure(compared.roc_auc[f"with_{name}"]._asdict(), 3),
            figure(compared.average_precision[f"with_{name}"]._asdict(), 4),
            figure(compared.roc_auc_above[AS_SERVED]._asdict(), 3, "+"),
            figure(compared.average_precision_above[AS_SERVED]._asdict(), 4, "+"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> int:
    """Replay and compare on the requested logs that exist; return 1 if none does."""
    if missing := {name for names, _ in FAMILIES.values() for name in names} ^ (set(catalogue.NAMES) - set(SERVED)):
        sys.exit(f"{', '.join(sorted(missing))}: FAMILIES and CANDIDATES do not hold the same features")
    arguments = evaluate_logs.asked(__doc__, "out/candidates")
    for name in arguments.found:
        policy, log = evaluate_logs.policy_of(name, CHAMPION), evaluate_logs.log_of(arguments.logs, name)
        source = LogSource(log, evaluate_logs.mapping_of(name))
        replay(source, tried(policy), arguments.out / name, log_name=log.name, report=False)
        click.echo(f"== {name}\n\n" + "\n".join(table(read_outputs(arguments.out / name))) + "\n")
    return 0 if arguments.found else 1


if __name__ == "__main__":
    sys.exit(main())
