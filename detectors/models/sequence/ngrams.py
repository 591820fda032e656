"""A challenger over the order of events: n-grams of tokens, each judged against its shorter form."""

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
"""N-grams a model remembers. Beyond them the rarest are forgotten, until they come again."""
FORGOTTEN = MOST // 32
"""How many are forgotten at once, so that looking for the rarest costs little."""
DOUBT = 8.0
"""Positives that an n-gram's rate is drawn towards its shorter form's by: with fewer it hardly speaks for itself."""


class Sequence:
    """A variable-order Markov model's likelihood ratio of escalating against other users, given the latest events.

    With positives and negatives of the whole, and of the n-gram of the latest n tokens,

        ratio_0 = positives / negatives
        ratio_n = (positives_n + DOUBT) / (negatives_n + DOUBT / ratio_(n-1))

    which is the mean of a gamma posterior whose prior has its mean at the shorter form's ratio. Log-odds are the
    logarithm of the longest one's ratio. An n-gram that is not remembered says what its shorter form says.

    N-grams are remembered by their code and not by a hash, so that none speaks for another that fell into the same
    bucket. Positives are counted without class weight: a generative model needs none.
    """

    family = FAMILY
    reads = CATEGORIES

    def __init__(self) -> None:
        self.positives = 0.0
        self.negatives = 0.0
        self.seen: dict[int, list[float]] = {}

    def class_weight(self, _asked: float) -> float:
        """What a positive weighs against a negative in what this model learns: the same."""
        return 1.0

    def score_one(self, row: Row, _example: Example) -> float:
        """Log-odds of an example's trail, as a version made now would give them."""
        ratio = max(self.positives, 1.0) / max(self.negatives, 1.0)
        for trail in _trails(row):
            for code in _ngrams(trail):
                if (counts := self.seen.get(code)) is not None:
                    ratio = (counts[0] + DOUBT) / (counts[1] + DOUBT / ratio)
        return log(ratio)

    def learn_one(self, row: Row, example: Example) -> None:
        """Learn one example; with a negative weight, take one back, exactly as long as its n-grams are remembered."""
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
        """Positives and negatives by weight, of the whole and of every n-gram remembered, as plain data."""
        return {
            "positives": self.positives,
            "negatives": self.negatives,
            "codes": list(self.seen),
            "code_positives": [positives for positives, _ in self.seen.values()],
            "code_negatives": [negatives for _, negatives in self.seen.values()],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Become the model that was dumped."""
        self.positives, self.negatives = state["positives"], state["negatives"]
        counts = zip(state["code_positives"], state["code_negatives"], strict=True)
        self.seen = dict(zip(state["codes"], map(list, counts), strict=True))

    @staticmethod
    def terms(state: dict[str, Any], _names: tuple[str, ...]) -> LinearTerms:
        """What a dumped model says of a trail, against what it says of anybody."""
        whole = max(state["positives"], 1.0) / max(state["negatives"], 1.0)
        order = np.argsort(state["codes"])
        known = np.append(np.array(state["codes"], dtype=np.int64)[order], -1)  # the last one equals no code
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
    """The trails that are there, as codes."""
    return [int(trail) for trail in row[len(NUMBERS) :] if not isnan(trail)]


def _ngrams(trail: int) -> Iterator[int]:
    """The codes of a trail's n-grams that end with its latest token, the shortest first."""
    mask = 0
    while mask < trail:
        mask = mask << 8 | 255
        yield trail & mask


def _forget(seen: dict[int, list[float]]) -> None:
    """Drop the rarest n-grams, of equally rare ones those that came first."""
    for code in sorted(seen, key=lambda code: seen[code][0] + seen[code][1])[:FORGOTTEN]:
        del seen[code]
