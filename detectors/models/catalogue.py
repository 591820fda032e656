"""The models a policy can name."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from detectors.contract import OnlineModel
from detectors.models.bayes import Bayes
from detectors.models.logistic import Logistic
from detectors.models.lookalike import Lookalike
from detectors.models.sequence import Sequence
from detectors.models.version import Family, FrozenModel
from detectors.policy import LearningPolicy
from schemas.records import ModelVersion

MODELS: dict[str, Callable[[LearningPolicy], OnlineModel]] = {
    "logistic": lambda learning: Logistic(learning.learning_rate, learning.l2),
    "bayes": lambda _learning: Bayes(),
    "sequence": lambda _learning: Sequence(),
    "lookalike": Lookalike,
}
SHARED = 256
"""Versions whose frozen form is kept for the next lane that hears of them."""
FAMILIES: dict[str, Family] = {
    model.family: Family(model.reads, model.terms) for model in (Logistic, Bayes, Sequence, Lookalike)
}


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
