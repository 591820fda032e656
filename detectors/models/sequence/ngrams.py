"""A challenger that uses the order of events: n-grams of tokens, each with its shorter form as its prior."""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan
from typing import Any

import numpy as np

from detectors.base import elementwise
from detectors.base.elementary import log
from detectors.base.points import Example
from detectors.base.vectors import Matrix, Row
from detectors.features.catalogue import NUMBERS
from detectors.features.selection import CATEGORIES
from detectors.features.tokens import LONGEST
from detectors.models.version import LinearTerms

FAMILY = "token_ngrams"
MOST = 1_024
"""Maximum number of stored n-grams. Beyond it the rarest are dropped, until they occur again."""
FORGOTTEN = MOST // 32
"""Number of n-grams dropped at once, so that the search for the rarest costs little."""
DOUBT = 8.0
"""Strength of the prior in positives: with fewer, an n-gram's ratio stays close to its shorter form's."""


class Sequence:
    """A variable-order Markov model: the likelihood ratio of escalating users to others, given the latest events.

    With positives and negatives in total, and of the n-gram of the latest n tokens,

        ratio_0 = positives / negatives
        ratio_n = (positives_n + DOUBT) / (negatives_n + DOUBT / ratio_(n-1))

    where ratio_n is the mean of a gamma posterior whose prior has its mean at the shorter form's ratio. Log-odds are
    the logarithm of the longest n-gram's ratio. An n-gram that is not stored has the ratio of its shorter form.

    N-grams are stored by their code and not by a hash, so that no two n-grams share a bucket. Positives are counted
    without class weight: a generative model needs none.
    """

    family = FAMILY
    reads = CATEGORIES

    def __init__(self) -> None:
        self.positives = 0.0
        self.negatives = 0.0
        self.seen: dict[int, list[float]] = {}

    def class_weight(self, _asked: float) -> float:
        """Return 1.0: a positive weighs the same as a negative in learning."""
        return 1.0

    def score_one(self, row: Row, _example: Example) -> float:
        """Return the log-odds of an example's recent tokens as a version made now would."""
        ratio = max(self.positives, 1.0) / max(self.negatives, 1.0)
        for trail in _trails(row):
            for code in _ngrams(trail):
                if (counts := self.seen.get(code)) is not None:
                    ratio = (counts[0] + DOUBT) / (counts[1] + DOUBT / ratio)
        return log(ratio)

    def learn_one(self, row: Row, example: Example) -> None:
        """Learn one example; a negative weight undoes one, exactly if its n-grams are still stored."""
        label, weight = example.label, example.weight
        if label:
            self.positives = max(self.positives + weight, 0.0)
        else:
            self.negatives = max(self.negatives + weight, 0.0)
        seen, side = self.seen, int(not label)
        for trail in _trails(row):
            for code in _ngrams(trail):
                counts = seen.get(code)
                if counts is None:
                    if weight <= 0:
                        continue
                    if len(seen) >= MOST:
                        _forget(seen)
                    counts = seen[code] = [0.0, 0.0]
                counts[side] = max(counts[side] + weight, 0.0)

    def dump(self) -> dict[str, Any]:
        """Return weighted counts of positives and negatives, in total and of every stored n-gram, as plain data."""
        return {
            "positives": self.positives,
            "negatives": self.negatives,
            "codes": list(self.seen),
            "code_positives": [positives for positives, _ in self.seen.values()],
            "code_negatives": [negatives for _, negatives in self.seen.values()],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Replace the model's state with a dumped one."""
        self.positives, self.negatives = state["positives"], state["negatives"]
        counts = zip(state["code_positives"], state["code_negatives"], strict=True)
        self.seen = dict(zip(state["codes"], map(list, counts), strict=True))

    @staticmethod
    def terms(state: dict[str, Any], _names: tuple[str, ...]) -> LinearTerms:
        """Return a dumped model's scoring terms: the overall ratio, and that of recent tokens relative to it."""
        whole = max(state["positives"], 1.0) / max(state["negatives"], 1.0)
        order = np.argsort(state["codes"])
        known = np.append(np.array(state["codes"], dtype=np.int64)[order], -1)  # -1 equals no code
        positives, negatives = (
            np.append(np.array(state[f"code_{side}"], dtype=np.float64)[order], 0.0)
            for side in ("positives", "negatives")
        )

        def contributions(columns: Matrix) -> Matrix:
            trails = np.nan_to_num(columns).astype(np.int64)
            ratios = np.full(trails.shape, whole)
            for length in range(1, LONGEST + 1):
                codes = np.where(trails >> 8 * (length - 1), trails & (1 << 8 * length) - 1, 0)
                at = np.searchsorted(known[:-1], codes)
                drawn = (positives[at] + DOUBT) / (negatives[at] + DOUBT / ratios)
                ratios = np.where(known[at] == codes, drawn, ratios)
            parts: Matrix = elementwise.log(ratios / whole)
            return parts

        return LinearTerms(log(whole), contributions)


def _trails(row: Row) -> list[int]:
    """Return the codes of the recent tokens that are present in a row."""
    return [int(trail) for trail in row[len(NUMBERS) :] if not isnan(trail)]


def _ngrams(trail: int) -> Iterator[int]:
    """Yield the codes of the n-grams that end with the latest token, the shortest first."""
    mask = 0
    while mask < trail:
        mask = mask << 8 | 255
        yield trail & mask


def _forget(seen: dict[int, list[float]]) -> None:
    """Drop the `FORGOTTEN` rarest n-grams; of equally rare ones, those stored first."""
    for code in sorted(seen, key=lambda code: seen[code][0] + seen[code][1])[:FORGOTTEN]:
        del seen[code]
