"""The models a policy can name."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from detectors.features.selection import FeatureSelection
from detectors.models.additive.additive import Additive
from detectors.models.base import OnlineModel
from detectors.models.linear.logistic import Logistic
from detectors.models.lookalike.lookalike import Lookalike
from detectors.models.naive_bayes.bayes import Bayes
from detectors.models.river.classifier import RiverClassifier
from detectors.models.river.trained import RiverTerms, Trained
from detectors.models.sequence.ngrams import Sequence
from detectors.models.stack.stack import Stack, terms_among
from detectors.models.version import Family, FrozenModel
from detectors.policy.policy import Policy
from detectors.policy.sections import LearningPolicy, StackPolicy
from schemas.records.decisions import ModelVersion

MODELS: dict[str, Callable[[LearningPolicy], OnlineModel]] = {
    "logistic": lambda learning: Logistic(learning.learning_rate, learning.l2),
    "bayes": lambda _learning: Bayes(),
    "additive": lambda _learning: Additive(),
    "sequence": lambda _learning: Sequence(),
    "lookalike": Lookalike,
    "stack": lambda learning: Stack({name: MODELS[name](learning) for name in StackPolicy().members}, learning),
}
READS: dict[str, tuple[str, ...]] = {name: new(LearningPolicy()).reads.names for name, new in MODELS.items()}
"""Names of the features that each model reads."""
SHARED = 256
"""Frozen versions kept in the cache, so that lanes share one object per version."""
FAMILIES: dict[str, Family] = {
    model.family: Family(model.reads, model.terms) for model in (Logistic, Bayes, Additive, Sequence, Lookalike)
}
FAMILIES[Stack.family] = Family(Stack.reads, partial(terms_among, FAMILIES))
FAMILIES[RiverClassifier.family] = Family(RiverClassifier.reads, RiverClassifier.terms)


def new_model(name: str, policy: Policy) -> OnlineModel:
    """Return an untrained model for a name in the policy: a model, a stack, a variant or a River model."""
    if name in policy.models:
        return RiverClassifier(policy.models[name])
    variant = policy.variants.get(name)
    if policy.members(name):
        members = {member: new_model(member, policy) for member in policy.members(name)}
        model: OnlineModel = Stack(members, policy.learning)
    else:
        model = MODELS[name if variant is None else variant.model](policy.learning)
    if variant is not None:
        model.reads = FeatureSelection([name for name in model.reads.names if not variant.ignores(name)])
    return model


def made_of(policy: Policy) -> dict[str, dict[str, Any]]:
    """Return the policy's definitions of its champion and challengers, as plain data."""
    models = (policy.learning.champion, *policy.learning.challengers)
    asked = [name for model in models for name in (model, *policy.members(model))]
    found: dict[str, dict[str, Any]] = {}
    for name in asked:
        if name in policy.variants:
            found[name] = policy.variants[name].model_dump(mode="json", exclude={"members"})
        if name in policy.models:
            found[name] = policy.models[name].model_dump(mode="json", include={"river", "parameters", "scale"})
        if policy.members(name):
            found[name] = {**found.get(name, {}), "members": list(policy.members(name))}
    return found


def freeze(record: ModelVersion, trained: Trained | None = None) -> FrozenModel:
    """Return the frozen model of a version; cached, because every lane loads the same record.

    A version of a River model scores with the object that was `trained`, which the lanes share, and is not cached.

    Raises:
        ValueError: if the family is unknown here, or needs a trained object.
    """
    if trained is None:
        return _frozen(record)
    family = FAMILIES[record.family]
    return FrozenModel(record, family._replace(terms=lambda _state, names: RiverTerms(trained, names)))


@lru_cache(maxsize=SHARED)
def _frozen(record: ModelVersion) -> FrozenModel:
    if record.family not in FAMILIES:
        raise ValueError(
            f"model family {record.family!r} is unknown: this forewarn scores {', '.join(sorted(FAMILIES))}"
        )
    return FrozenModel(record, FAMILIES[record.family])
