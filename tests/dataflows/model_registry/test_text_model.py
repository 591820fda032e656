"""Text models as files: the same again, or a sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from dataflows.model_registry.text_model import TextModelError, load_text_model, save_text_model
from detectors.text.ngrams import BITS
from detectors.text.scorer import TextScorer


@pytest.fixture(scope="module")
def scorer() -> TextScorer:
    """Weights as a model has them, without a model behind them."""
    weights = np.random.default_rng(1).normal(size=1 << BITS).astype(np.float32)
    return TextScorer(weights, -1.0, 0.9, 0.1, messages=100, positives=10)


def test_a_scorer_is_the_same_from_its_file(scorer: TextScorer, tmp_path: Path) -> None:
    """The same scores, the same version, the same bytes again."""
    save_text_model(scorer, tmp_path / "model.json")
    again = load_text_model(tmp_path / "model.json")
    texts = ["you are bad", "gg wp", "n00b"]
    assert again.score_many(texts).tolist() == scorer.score_many(texts).tolist()
    assert again.version == scorer.version
    save_text_model(again, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "model.json").read_bytes()


def without(key: str, document: dict[str, Any]) -> dict[str, Any]:
    """The document as it was before it had that key."""
    return {name: value for name, value in document.items() if name != key}


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda _: b"not json", "is no text model"),
        (lambda document: orjson.dumps({**document, "format": 2}), "is no text model"),
        (lambda document: orjson.dumps({**document, "more": 1}), "is no text model"),
        (lambda document: orjson.dumps({**document, "weights": "*"}), "is no text model"),
        (lambda document: orjson.dumps({**document, "bias": None}), "is no text model"),
        (lambda document: orjson.dumps({**document, "normalisation": 1}), "normalised in another way: train it again"),
        (
            lambda document: orjson.dumps(without("normalisation", document)),
            "normalised in another way: train it again",
        ),
        (lambda document: orjson.dumps({**document, "bits": 16}), "made for other n-grams"),
        (lambda document: orjson.dumps({**document, "weights": document["weights"][:400]}), "made for other n-grams"),
        (lambda document: orjson.dumps({**document, "bias": 3.0}), "changed since version"),
    ],
)
def test_a_file_that_is_no_model_is_answered_in_a_sentence(
    scorer: TextScorer, tmp_path: Path, spoil: Callable[[Any], bytes], sentence: str
) -> None:
    """Damaged, of another make, or changed by hand."""
    path = tmp_path / "model.json"
    save_text_model(scorer, path)
    path.write_bytes(spoil(orjson.loads(path.read_bytes())))
    with pytest.raises(TextModelError, match=sentence):
        load_text_model(path)


def test_a_file_that_is_not_there_is_answered_in_a_sentence(tmp_path: Path) -> None:
    """With where to get one."""
    with pytest.raises(TextModelError, match=r"cannot be read .* take one that `forewarn train-text` wrote"):
        load_text_model(tmp_path / "none.json")
