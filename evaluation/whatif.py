"""Other thresholds in a replay: scores do not depend on them, so only the decisions are made again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import orjson

from detectors.features.catalogue import NAMES
from detectors.policy.policy import Policy
from detectors.scoring.tiers import Decider
from evaluation.compare import compare_warnings
from evaluation.decisions import Decision, decide_again
from evaluation.runs import EvaluationError, Outputs, Warned

FORMAT = 1
"""Version of the document."""


def what_if(
    run: Outputs, before: Policy, after: Policy, tiers: list[str], erasures: Iterable[tuple[str, int]]
) -> dict[str, Any]:
    """Return the warnings of a run under its own policy and under one with other thresholds, gained and lost.

    `tiers` are the run's tiers after each point. `erasures` are users with the places in the log at which they were
    erased.

    Raises:
        EvaluationError: if more than the thresholds differ, or the new ones depend on threshold statistics.
    """
    if other := changed_keys(before, after):
        raise EvaluationError(
            f"The policies differ in {', '.join(other)}, not only in tiers: replay the log with the changed one, and "
            "compare."
        )
    if after.tracked:
        raise EvaluationError(
            "The changed policy has a precision guarantee or a budget, whose thresholds the replay has to find: replay "
            "the log, and compare."
        )
    erased = list(erasures)
    if not before.tracked and [str(one.after) for one in _decisions(run, before, erased)] != tiers:
        raise EvaluationError("The tiers in the file are not those of the run's policy: replay the log again.")
    changed = replace(run, warnings=_warned(run, _decisions(run, after, erased)))
    document = {
        "format": FORMAT,
        "log": run.name,
        "policy": {"name": before.name, "before": before.version, "after": after.version},
        "horizon_ms": run.horizon,
        "thresholds": {
            which: {str(tier): section.model_dump(mode="json") for tier, section in policy.tiers.items()}
            for which, policy in (("before", before), ("after", after))
        },
        **compare_warnings(run, changed),
    }
    plain: dict[str, Any] = orjson.loads(orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS))
    return plain


def changed_keys(before: Policy, after: Policy) -> list[str]:
    """Return the keys of two policies that differ, other than the name and the tiers."""
    was, now = (policy.model_dump(mode="json", exclude={"name", "tiers"}) for policy in (before, after))
    return sorted(
        f"{section}.{key}" if key else section
        for section in was
        for key in (_keys(was[section], now[section]) if was[section] != now[section] else ())
    )


def _keys(was: Any, now: Any) -> list[str]:
    """Return the differing keys of two tables; an empty key for values that are none."""
    if not (isinstance(was, dict) and isinstance(now, dict)):
        return [""]
    return [key for key in {*was, *now} if was.get(key) != now.get(key)]


def _decisions(run: Outputs, policy: Policy, erasures: list[tuple[str, int]]) -> list[Decision]:
    """Return the decisions at all points of a run, by row; a user begins anew with each erasure."""
    thresholds = Decider(policy.tiers, policy.warnings, policy.promises).thresholds(None)
    matrix = np.stack([run.features[name] for name in NAMES], axis=1)
    scores, order = run.scores[run.champion], np.lexsort((run.seq, run.user))
    code = {user: number for number, user in enumerate(run.users)}
    places: dict[int, list[int]] = {}
    for user, seq in erasures:
        places.setdefault(code.get(user, -1), []).append(seq)
    made: dict[int, Decision] = {}
    starts = np.flatnonzero(np.diff(run.user[order], prepend=-1)).tolist()
    for first, last in pairwise([*starts, len(order)]):
        own = order[first:last]
        cuts = np.searchsorted(run.seq[own], sorted(places.get(int(run.user[own[0]]), ())))
        for rows in np.split(own, cuts):
            if len(rows):
                again = decide_again(
                    policy, run.as_of[rows].tolist(), scores[rows].tolist(), matrix[rows], lambda _: thresholds
                )
                made.update(zip(rows.tolist(), again, strict=True))
    return [made[row] for row in range(len(run))]


def _warned(run: Outputs, decisions: list[Decision]) -> list[Warned]:
    """Return the warnings among decisions, in the order of the log; their reasons are the rules that fired."""
    return [
        Warned(
            row,
            int(run.user[row]),
            int(run.as_of[row]),
            str(one.after),
            one.before,
            bool(one.fired),
            one.probability,
            tuple(active.rule.name for active in one.fired),
        )
        for row, one in enumerate(decisions)
        if one.raised
    ]
