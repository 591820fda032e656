"""The models a policy can name."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from detectors.contract import OnlineModel
from detectors.models.bayes import Bayes
from detectors.models.logistic import Logistic
from detectors.models.lookalike import Lookalike
from detectors.models.sequence import Sequence
from detectors.models.version import Family, FrozenModel
from detectors.policy import LearningPolicy, Policy
from schemas.records import ModelVersion

MODELS: dict[str, Callable[[LearningPolicy], OnlineModel]] = {
    "logistic": lambda learning: Logistic(learning.learning_rate, learning.l2),
    "bayes": lambda _learning: Bayes(),
    "sequence": lambda _learning: Sequence(),
    "lookalike": Lookalike,
}
READS: dict[str, tuple[str, ...]] = {name: new(LearningPolicy()).reads.names for name, new in MODELS.items()}
"""The features that each model reads."""
SHARED = 256
"""Versions whose frozen form is kept for the next lane that hears of them."""
FAMILIES: dict[str, Family] = {
    model.family: Family(model.reads, model.terms) for model in (Logistic, Bayes, Sequence, Lookalike)
}


def new_model(name: str, policy: Policy) -> OnlineModel:
    """A model that a policy names, or a variant of one, that has learnt nothing yet."""
    if name not in policy.variants:
        return MODELS[name](policy.learning)
    variant = policy.variants[name]
    model = new_model(variant.model, policy)
    model.reads = model.reads.without(variant.ignore)
    return model


def made_of(policy: Policy) -> dict[str, dict[str, Any]]:
    """What the policy makes champion and challengers of, in plain data, where it has a say in that."""
    asked = (policy.learning.champion, *policy.learning.challengers)
    return {name: policy.variants[name].model_dump(mode="json") for name in asked if name in policy.variants}


@lru_cache(maxsize=SHARED)
def freeze(record: ModelVersion) -> FrozenModel:
    """The version at work; the same object for the same record, because every lane asks for it.

    Raises:
        ValueError: if the family is unknown here.
    """
    if record.family not in FAMILIES:
        raise ValueError(
            f"model family {record.family!r} is unknown: this forewarn scores {', '.join(sorted(FAMILIES))}"
        )
    return FrozenModel(record, FAMILIES[record.family])
