"""Ablation of models and of feature families on the public logs: tables for docs/lab-book/datasets.md.

One replay of a log runs in shadow every model, the stack of all models, that stack without each of its members, and
`logistic` without each family of features. The cost of leaving something out is measured on the last 15 % of time, on
which nothing may be chosen: run this once, when all choices are made.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import NamedTuple

import click
import numpy as np

from dataflows.replay.replay import replay
from dataflows.reports.numbers import figure
from dataflows.sources.files.log import LogSource
from detectors.features.catalogue import NAMES
from detectors.features.families import family_of
from detectors.models.catalogue import MODELS, READS, new_model
from detectors.policy.parse import parse_policy
from detectors.policy.policy import Policy
from detectors.policy.sections import STACK, VariantPolicy
from detectors.rules.catalogue import RULES
from evaluation.evaluate import Protocol, usable_rows
from evaluation.intervals import Compared, compare_scores
from evaluation.runs import Outputs, read_outputs
from tools.studies import evaluate_logs

TEST = Protocol(from_quantile=0.85)
"""Only points after this quantile of their times. Choices are made on the points before it."""
SIMPLEST = "logistic"
"""The champion of the study, whatever the policy's is. Families of features are left out of it in turn, which would
take too long with a stack."""
WHOLE = "stack_of_all"
MEMBERS = tuple(name for name in MODELS if name != STACK)


class Group(NamedTuple):
    """Families of features that are left out together, and their description."""

    families: tuple[str, ...]
    words: str

    @property
    def features(self) -> tuple[str, ...]:
        """Return the features of the group."""
        return tuple(name for name in NAMES if family_of(name) in self.families)


GROUPS = {
    "volume": Group(("pace of messages",), "how much the user talks"),
    "manner": Group(("length and repetition", "toxicity"), "how the user talks"),
    "places": Group(("channels and people addressed",), "whom and where"),
    "channels": Group(("the channel", "toxicity beside the channel's"), "the channel"),
    "answers": Group(("answers",), "answers"),
    "sessions": Group(("sessions",), "sessions"),
    "reports": Group(("reports",), "reports"),
    "sanctions": Group(("sanctions",), "sanctions and strikes"),
    "reversals": Group(("sanctions taken back",), "reversals"),
    "lessons": Group(("interventions shown",), "lessons already given"),
    "age": Group(("time since first seen",), "how long the user is known"),
    "order": Group(("order of the latest events",), "what happened last, in its order"),
}
"""Groups of families; every family is in exactly one of them."""


class Left(NamedTuple):
    """A model with something left out: its name in the replay, its description, and the name of the full model."""

    name: str
    words: str
    full: str


def groups_read(policy: Policy) -> list[str]:
    """Return the groups of which a policy's champion reads at least one feature, in order of the first one."""
    of = {family: group for group, (families, _) in GROUPS.items() for family in families}
    reads = new_model(policy.learning.champion, policy).reads.names
    return list(dict.fromkeys(of[family_of(name)] for name in reads))


def lefts(policy: Policy) -> Iterator[Left]:
    """Yield every model to compare under a policy."""
    champion = policy.learning.champion
    for group in groups_read(policy):
        yield Left(f"without_{group}", f"`{champion}` without {GROUPS[group].words}", champion)
    yield Left(STACK, f"stack of {' and '.join(f'`{member}`' for member in policy.stack.members)}", WHOLE)
    for member in MEMBERS:
        yield Left(member, f"`{member}` alone", WHOLE)
    for member in MEMBERS:
        yield Left(f"{WHOLE}_without_{member}", f"stack without `{member}`", WHOLE)


def ablated(policy: Policy) -> Policy:
    """Return the policy with every model to compare as a challenger."""
    champion, variants = policy.learning.champion, dict(policy.variants)
    itself = variants.get(champion, VariantPolicy(model=champion))
    for group in groups_read(policy):
        ignore = (*itself.ignore, *GROUPS[group].features)
        variants[f"without_{group}"] = itself.model_copy(update={"ignore": ignore})
    variants[WHOLE] = VariantPolicy(model=STACK, members=MEMBERS)
    for member in MEMBERS:
        rest = tuple(name for name in MEMBERS if name != member)
        variants[f"{WHOLE}_without_{member}"] = VariantPolicy(model=STACK, members=rest)
    document = policy.model_dump(mode="json")
    document["variants"] = {name: variant.model_dump(mode="json") for name, variant in variants.items()}
    asked = dict.fromkeys([WHOLE, *(left.name for left in lefts(policy))])
    document["learning"]["challengers"] = [name for name in asked if name != champion]
    return parse_policy(document, RULES, READS)


def table(run: Outputs, policy: Policy) -> list[str]:
    """Return a Markdown table: each model's figures on the test points, and the lead of the full model over it."""
    labels = TEST.label(run)
    rows = usable_rows(run, labels, TEST) & ~np.isnan(run.scores[run.champion])
    positive, user = labels.positive[rows], run.user[rows]
    scores = {name: np.nan_to_num(values[rows]) for name, values in run.scores.items()}
    lines = [
        f"{len(positive):,} points, {int(positive.sum()):,} positive, {len(np.unique(user)):,} users",
        "",
        "| | AUC | AP | full one above it: AUC | AP |",
        "|---|---|---|---|---|",
    ]
    for full, words in ((run.champion, f"`{run.champion}`"), (WHOLE, "stack of all")):
        lesser = [left for left in lefts(policy) if left.full == full]
        names = dict.fromkeys([full, *(left.name for left in lesser)])
        compared = compare_scores(positive, user, {name: scores[name] for name in names})
        lines.append(_row(f"**{words}**", full, compared))
        lines += [_row(left.words, left.name, compared) for left in lesser]
    return lines


def _row(words: str, name: str, compared: Compared) -> str:
    cells = [words, figure(compared.roc_auc[name]._asdict(), 3), figure(compared.average_precision[name]._asdict(), 4)]
    for above, digits in ((compared.roc_auc_above, 3), (compared.average_precision_above, 4)):
        cells.append(figure(above[name]._asdict(), digits, "+") if name in above else "")
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Replay and compare on the requested logs that exist; return 1 if none does."""
    arguments = evaluate_logs.asked(__doc__, "out/ablation")
    for name in arguments.found:
        policy, log = evaluate_logs.policy_of(name, SIMPLEST), evaluate_logs.log_of(arguments.logs, name)
        source = LogSource(log, evaluate_logs.mapping_of(name))
        replay(source, ablated(policy), arguments.out / name, log_name=log.name, report=False)
        click.echo(f"== {name}\n\n" + "\n".join(table(read_outputs(arguments.out / name), policy)) + "\n")
    return 0 if arguments.found else 1


if __name__ == "__main__":
    sys.exit(main())
