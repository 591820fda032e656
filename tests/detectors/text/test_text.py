"""The text scorer: what disguise does not change, what a batch does not change, and what a file may not be."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.text.ngrams import BITS
from detectors.text.normalise import plain, skeleton
from detectors.text.scorer import TextScorer

TEXTS = st.lists(st.text(st.characters(), max_size=30), max_size=8)


@pytest.fixture(scope="module")
def scorer() -> TextScorer:
    """Weights as a model has them, without a model behind them."""
    weights = np.random.default_rng(1).normal(size=1 << BITS).astype(np.float32)
    return TextScorer(weights, -1.0, 0.9, 0.1, messages=100, positives=10)


@pytest.mark.parametrize(
    "disguised",
    [
        "K I L L yourself",
        "k.i.l.l yourself",
        "k - i - l - l yourself",
        "k_i_l_l yourself",
        "kiiiillll yourself",
        "k1ll y0urself",
        "KILL YOURSELF",
        "ki\u200bll your\u00adself",
        "\uff4b\uff49\uff4c\uff4c yourself",
        "\u043aill yours\u0435lf",
        "k\u0301i\u0308ll yourself",
    ],
)
def test_disguise_comes_off(disguised: str) -> None:
    """Letters apart, repeated, replaced, marked, hidden or borrowed from another alphabet: one skeleton."""
    assert skeleton(plain(disguised)) == skeleton(plain("kill yourself"))


@pytest.mark.parametrize("harmless", ["gg wp 5 min", "1000 gold at 10:45", "a b", "push mid 2 3", "ok. go. now."])
def test_what_is_no_disguise_is_left_alone(harmless: str) -> None:
    """Numbers stay numbers, and words stay apart."""
    assert plain(harmless) == harmless


@given(st.text(st.characters(), max_size=60))
def test_a_skeleton_has_no_skeleton(text: str) -> None:
    """Whatever is written: nothing fails, and no runs are left."""
    bones = skeleton(plain(text))
    assert skeleton(bones) == bones
    assert all(one != other or one.isspace() or one.isdigit() for one, other in pairwise(bones))


@given(TEXTS)
def test_a_messages_score_does_not_depend_on_those_beside_it(texts: list[str]) -> None:
    """To the last bit, however they are batched; each is a probability."""
    scorer = TextScorer(np.random.default_rng(1).normal(size=1 << BITS).astype(np.float32), -1.0)
    together = scorer.score_many(texts)
    assert together.tolist() == [float(scorer.score_many([text])[0]) for text in texts]
    assert ((together >= 0) & (together <= 1)).all()


def test_very_long_messages_are_taken_one_by_one(scorer: TextScorer) -> None:
    """As long as a message may be, and more of them than are hashed together."""
    texts = ["spam " * 13_000, "hello", "", "x" * 65_536, "hello"]
    scores = scorer.score_many(texts)
    assert np.isfinite(scores).all()
    assert scores[1] == scores[4]
