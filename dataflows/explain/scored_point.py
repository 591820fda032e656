"""The explanation of one decision point: every contribution to its score, the rules, and the distance to its tier."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf, isinf, isnan, nan
from typing import Any, NamedTuple

import numpy as np
import orjson

from dataflows.explain.run_files import UserRun
from detectors.base.vectors import Vector, vector_from
from detectors.features.catalogue import CODES, NAMES
from detectors.features.families import family_of
from detectors.features.signals import key_of
from detectors.models.catalogue import freeze
from detectors.models.erasure import without_user
from detectors.models.river.classifier import FAMILY as RIVER
from detectors.models.track_record import Track, track_of
from detectors.models.version import Decomposition, FrozenModel
from evaluation.counterfactual import Change, changes
from evaluation.decisions import Decision
from schemas.records.decisions import ModelVersion, Tier


class Scored(NamedTuple):
    """A point of the user as the model saw it: its number among the user's points, and the probability in the file."""

    number: int
    vector: Vector
    probability: float
    seq: int
    as_of: int


def explain_point(run: UserRun, scored: Scored, decision: Decision, version: ModelVersion | None) -> dict[str, Any]:
    """Return the explanation of a point as plain data; `version` is the one that the run names for the point.

    `verified` is whether that version gives the probability in the file; without it there are no contributions.
    """
    outputs, row = run.outputs, int(run.rows[scored.number])
    document: dict[str, Any] = {
        "event_id": outputs.event_id[row],
        "seq": scored.seq,
        "as_of": scored.as_of,
        "tier": decision.after,
        "previous_tier": decision.before,
        "probability": None if isnan(scored.probability) else scored.probability,
        "unscored": None,
        "model": None,
        "verified": None,
        "score": None,
        "rules": [
            _rule(active.rule.name, active.rule.limit, active.tier, active.rule.features, scored.vector)
            for active in decision.fired
        ],
        "threshold": None,
        "changes": None,
    }
    if version is None:
        document["unscored"] = "no_version"
        return document
    document["model"] = {
        **version.model_dump(include={"name", "family", "version", "learned_until", "examples", "positives"}),
        "ahead": version.learned_until is not None and version.learned_until >= scored.as_of,
        "kept": kept(version),
    }
    if isnan(scored.probability):
        document["unscored"] = why_unscored(run, version, scored.vector)
        return document
    if not kept(version):
        document["threshold"] = _threshold(decision, None, None)
        return document
    model = _served_by(run, scored, version)
    found = None if model is None else model.decompose(scored.vector, run.user_id)
    document["verified"] = found is not None
    if model is None or found is None:
        return document
    families = families_of(found, scored.vector)
    document["score"] = {
        "log_odds": found.log_odds,
        "start": found.start,
        "sum": float(np.sum([family["contribution"] for family in families])),
        "full_from": _finite(model.log_odds_of(1.0)),
        "families": families,
    }
    threshold = _threshold(decision, model, found.log_odds)
    document["threshold"] = threshold
    if threshold["probability"] is not None and decision.after is not Tier.NONE:
        document["changes"] = _changes(run, model, scored, families, threshold["probability"])
    return document


def kept(version: ModelVersion) -> bool:
    """Return whether a version holds the state that scored; that of a River model is in no file of a run."""
    return version.family != RIVER


def track_in(version: ModelVersion | None) -> Track | None:
    """Return the threshold statistics in a version, None if it has none."""
    document = {} if version is None else orjson.loads(version.state)
    return track_of(document["track"]) if "track" in document else None


def why_unscored(run: UserRun, version: ModelVersion, vector: Vector) -> str:
    """Return the cause for which a point has no score, though a version was old enough."""
    if not kept(version):
        seen = min(version.positives, version.examples - version.positives)
        return "not_learnt" if seen < run.policy.learning.min_positives else "not_told"
    model = freeze(version)
    if not model.ready:
        return "not_learnt"
    return "model_silent" if model.decompose(vector, run.user_id) is None else "few_events"


def families_of(found: Decomposition, vector: Vector) -> list[dict[str, Any]]:
    """Return the contributions by family; families and features that raise the score come first."""
    members: dict[str, list[dict[str, Any]]] = {}
    for feature, part in found.contributions.items():
        value = vector[NAMES.index(feature)]
        fact = {"feature": feature, "value": None if isnan(value) else value, "contribution": part}
        members.setdefault(family_of(feature), []).append(fact)
    families = [
        {
            "family": name,
            "contribution": sum(fact["contribution"] for fact in facts),
            "features": sorted(facts, key=lambda fact: (-fact["contribution"], fact["feature"])),
        }
        for name, facts in members.items()
    ]
    return sorted(families, key=lambda family: (-family["contribution"], family["family"]))


def _served_by(run: UserRun, scored: Scored, version: ModelVersion) -> FrozenModel | None:
    """Return the model whose probability equals the one in the file; None if the run's own version gives another.

    Examples of users who were erased before the point are missing from the versions that scored it.
    """
    model = freeze(version)
    if _probability(model, scored, run.user_id) == scored.probability:
        return model
    for user_id, seq in run.erased:
        if seq < scored.seq:
            version = without_user(version, key_of(user_id))
    model = freeze(version)
    return model if _probability(model, scored, run.user_id) == scored.probability else None


def _probability(model: FrozenModel, scored: Scored, user_id: str) -> float:
    return float(model.probabilities(np.array([scored.vector]), [user_id])[0])


def _threshold(decision: Decision, model: FrozenModel | None, log_odds: float | None) -> dict[str, Any]:
    """Return the threshold that decides about the tier after the point, and how far above it the score is.

    It is where the tier is entered, if the point raised the user to it; where it is left, if the user was in it; and
    where the lowest tier is entered, if the user is in none. Without a `model` it has no log-odds.
    """
    tier, which, probability = decision.after, "rule", inf
    if tier is Tier.NONE:
        tier = decision.thresholds.tiers[0][0]
        which, probability = "enter", decision.enter(tier)
    elif not decision.kept_by_rule:
        which = "enter" if decision.raised else "leave"
        probability = decision.enter(tier) if decision.raised else decision.leave(tier)
    limit = inf if model is None or isinf(probability) else model.log_odds_of(probability)
    return {
        "tier": tier,
        "which": which,
        "probability": _finite(probability),
        "log_odds": _finite(limit),
        "above": None if log_odds is None else _finite(log_odds - limit),
    }


def _changes(
    run: UserRun, model: FrozenModel, scored: Scored, families: list[dict[str, Any]], below: float
) -> dict[str, Any]:
    """Return the single changes, and the families without which, the score would lie below a threshold."""
    read = {fact["feature"] for family in families for fact in family["features"]}
    vector = vector_from([value if name in read else nan for name, value in zip(NAMES, scored.vector, strict=True)])
    together = {tuple(fact["feature"] for fact in family["features"]): family["family"] for family in families}
    single, grouped = changes(model, vector, run.user_id, _typical(run, read), together)
    named = {name: family for features, family in together.items() for name in features}
    return {
        "single": [_change(one) for one in _lowest(single, below)],
        "families": [
            {"family": named[one.features[0]], "probability": one.probability} for one in _lowest(grouped, below)
        ],
    }


def _typical(run: UserRun, read: Iterable[str]) -> dict[str, float]:
    """Return each feature's median over the run's points that have it."""
    known = {name: values[~np.isnan(values)] for name, values in run.outputs.features.items() if name in set(read)}
    return {name: float(np.median(values)) for name, values in known.items() if len(values) and name not in CODES}


def _lowest(made: list[Change], below: float) -> list[Change]:
    return sorted((one for one in made if one.probability < below), key=lambda one: (one.probability, one.features))


def _change(one: Change) -> dict[str, Any]:
    return {"feature": one.features[0], "to": one.substitute, "value": one.value, "probability": one.probability}


def _rule(name: str, limit: float, tier: Tier, features: tuple[str, ...], vector: Vector) -> dict[str, Any]:
    reasons = [{"feature": feature, "value": vector[NAMES.index(feature)]} for feature in features]
    return {"rule": name, "limit": limit, "tier": tier, "reasons": reasons}


def _finite(value: float) -> float | None:
    return value if -inf < value < inf else None
