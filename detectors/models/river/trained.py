"""Published versions of a River model: copies of the trained object, which only score."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import lru_cache
from math import isfinite, nan
from typing import Any

import numpy as np

from detectors.base.elementary import log
from detectors.base.elementwise import ordered_sum
from detectors.base.vectors import Matrix
from detectors.models.river.archive import NotRestorableError, decode, encode
from schemas.records.decisions import Exemplar

SURE = 1e-12
"""Probabilities are bounded to at least this far from 0 and 1, so that their log-odds are finite."""
OPEN = 8
"""Versions kept decoded; the others are bytes until they score."""
FAILURES = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""Errors of River's code that end the learning of a model, or leave a point without a score, and not the run."""

Features = dict[str, float]


class RiverModel:
    """A classifier of River's and, if features are to be standardised, a scaler before it."""

    def __init__(self, classifier: Any, scaler: Any) -> None:
        self.classifier = classifier
        self.scaler = scaler

    def learn_one(self, features: Features, label: bool, **weight: float) -> None:
        """Learn an example; the scaler learns it first."""
        if self.scaler is not None:
            self.scaler.learn_one(features)
            features = self.scaler.transform_one(features)
        self.classifier.learn_one(features, label, **weight)

    def log_odds(self, features: Features) -> float:
        """Return the log-odds of the positive label; NaN without features, or if the classifier gives no probability.

        Raises:
            Exception: whatever River's code raises.
        """
        if not features:
            return nan
        if self.scaler is not None:
            features = self.scaler.transform_one(features)
        shares = self.classifier.predict_proba_one(features)
        if not shares:
            return nan
        share = float(shares.get(True, 0.0))
        if not isfinite(share):
            return nan
        share = min(max(share, SURE), 1.0 - SURE)
        return log(share / (1.0 - share))

    def score(self, features: Features) -> float:
        """Return `log_odds`; NaN if River's code fails."""
        try:
            return self.log_odds(features)
        except FAILURES:
            return nan

    def packed(self) -> bytes:
        """Return the model as bytes.

        Raises:
            NotRestorableError: if it holds something that cannot be stored.
        """
        return encode([self.classifier, self.scaler])


@lru_cache(maxsize=OPEN)
def unpacked(data: bytes) -> RiverModel:
    """Return the model in bytes from `RiverModel.packed`; it is shared, so it must not learn."""
    return RiverModel(*decode(data))


class Trained:
    """The trained object of a version: bytes, or a copy of it where it cannot be stored as bytes."""

    __slots__ = ("_copy", "_data")

    def __init__(self, data: bytes | None, model: RiverModel | None = None) -> None:
        self._data = data
        self._copy = model

    @classmethod
    def of(cls, model: RiverModel) -> Trained:
        """Return a copy of a model; later learning does not change it."""
        try:
            return cls(model.packed())
        except NotRestorableError:
            return cls(None, deepcopy(model))

    @property
    def data(self) -> bytes | None:
        """Return the bytes, None if there are none."""
        return self._data

    @property
    def model(self) -> RiverModel:
        """Return the model, for scoring only."""
        return self._copy if self._copy is not None else unpacked(self._data or b"")


def features_of(names: Sequence[str], row: Sequence[float]) -> Features:
    """Return the features of a row that are present, by name."""
    return {name: value for name, value in zip(names, row, strict=True) if value == value}  # noqa: PLR0124 - only NaN differs from itself


class RiverTerms:
    """Scoring terms of a version of a River model. Points are scored one by one."""

    def __init__(self, trained: Trained, names: tuple[str, ...]) -> None:
        self._trained = trained
        self._names = names

    @property
    def ready(self) -> bool:
        """Return True: the numbers of examples decide."""
        return True

    def logits(self, columns: Matrix, users: Sequence[str]) -> Matrix:  # noqa: ARG002 - the same for any user
        """Return the log-odds of every point; NaN where River gives none."""
        score, names = self._trained.model.score, self._names
        return np.array([score(features_of(names, row)) for row in columns.T.tolist()], dtype=np.float64)

    def contributions(self, column: Matrix, user: str | None) -> Matrix:  # noqa: ARG002 - the same for any user
        """Return for each feature the log-odds minus those of the same point without it; NaN where it is absent.

        The differences do not add up to the log-odds if features interact.
        """
        features, score = features_of(self._names, column[:, 0].tolist()), self._trained.model.score
        whole = score(features)
        parts = []
        for name in self._names:
            rest = {other: value for other, value in features.items() if other != name}
            parts.append(whole - score(rest) if name in features else nan)
        return np.array(parts, dtype=np.float64)

    def start(self, column: Matrix, user: str | None) -> float:
        """Return the log-odds less all contributions: what interactions leave, and what no feature explains."""
        parts = self.contributions(column, user)
        return float(self.logits(column, ())[0]) - float(ordered_sum(np.where(np.isnan(parts), 0.0, parts)))

    def exemplars(self, column: Matrix, user: str | None, most: int) -> tuple[Exemplar, ...]:  # noqa: ARG002
        """Return no exemplars: a River model names no examples."""
        return ()
