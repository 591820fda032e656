"""The scorer: one weight for each bucket, summed over a message's n-grams, as a calibrated probability."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from detectors.base.elementwise import logistic
from detectors.base.state import content_hash
from detectors.text.ngrams import BITS, LONGEST, hashed
from detectors.text.normalise import NORMALISATION

NAME = "forewarn-text"
"""What its results are called in a message's scores."""
MOST_CHARACTERS = 100_000
"""Of messages hashed together, unless a single one is longer: each takes some 200 bytes while that lasts."""

_OTHER_TEXT = "was trained on text that another forewarn had normalised in another way: train it again"

Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Document(BaseModel):
    """A text model as plain data. `weights` are little-endian 32-bit floats in base64."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    format: Literal[1]
    normalisation: int
    longest: int
    bits: int
    bias: Finite
    slope: Finite
    offset: Finite
    messages: Annotated[int, Field(gt=0)]
    positives: Annotated[int, Field(ge=0)]
    weights: str
    version: str


class TextScorer:
    """Scores messages; it never learns. `version` is a hash of everything in it.

    The log-odds of a message are `bias` plus its n-grams' weights divided by the square root of their number, stretched
    by `slope` and moved by `offset`, which were fitted on messages that the weights were not (Platt, 1999).
    """

    def __init__(
        self,
        weights: NDArray[np.float32],
        bias: float,
        slope: float = 1.0,
        offset: float = 0.0,
        *,
        messages: int = 1,
        positives: int = 0,
    ) -> None:
        self._weights = weights.astype(np.float32)
        self._bias, self._slope, self._offset = bias, slope, offset
        self._messages, self._positives = messages, positives
        self.version = content_hash(self._document())

    def log_odds(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """The messages' log-odds before calibration; that of one does not depend on those beside it."""
        found = np.empty(len(texts))
        ends = np.cumsum([len(text) for text in texts])
        first = 0
        while first < len(texts):
            before = ends[first - 1] if first else 0
            last = max(first + 1, int(np.searchsorted(ends, before + MOST_CHARACTERS, side="right")))
            buckets, owner = hashed(texts[first:last])
            total = np.bincount(owner, self._weights[buckets], minlength=last - first)
            many = np.bincount(owner, minlength=last - first)
            found[first:last] = self._bias + total / np.sqrt(many)
            first = last
        return found

    def score_many(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """The probability of each message that it is toxic."""
        logit = np.clip(self._slope * self.log_odds(texts) + self._offset, -50.0, 50.0)
        return logistic(logit)

    def calibrated(self, slope: float, offset: float) -> Self:
        """The same scorer, stretched and moved."""
        return type(self)(self._weights, self._bias, slope, offset, messages=self._messages, positives=self._positives)

    def document(self) -> dict[str, Any]:
        """Everything in it as plain data: numbers, and nothing of the messages it was trained on."""
        return {**self._document(), "version": self.version}

    def _document(self) -> dict[str, Any]:
        return {
            "format": 1,
            "normalisation": NORMALISATION,
            "longest": LONGEST,
            "bits": BITS,
            "bias": self._bias,
            "slope": self._slope,
            "offset": self._offset,
            "messages": self._messages,
            "positives": self._positives,
            "weights": b64encode(self._weights.astype("<f4").tobytes()).decode(),
        }

    @classmethod
    def of(cls, document: Any) -> Self:
        """The scorer in a document.

        Raises:
            ValueError: if there is none in it, or one that this version cannot use; the text says which.
        """
        if isinstance(document, dict) and document.get("format") == 1 and "normalisation" not in document:
            raise ValueError(_OTHER_TEXT)  # it is of before the normalisation had a version
        try:
            known = _Document.model_validate(document)
            weights = np.frombuffer(b64decode(known.weights, validate=True), dtype="<f4").astype(np.float32)
        except (ValidationError, binascii.Error, ValueError):
            raise ValueError("is no text model") from None
        if known.normalisation != NORMALISATION:
            raise ValueError(_OTHER_TEXT)
        if (known.longest, known.bits, len(weights)) != (LONGEST, BITS, 1 << BITS):
            raise ValueError("was made for other n-grams than this forewarn reads")
        numbers = known.bias, known.slope, known.offset
        found = cls(weights, *numbers, messages=known.messages, positives=known.positives)
        if found.version != known.version or not np.isfinite(weights).all():
            raise ValueError(f"has changed since version {known.version} was made")
        return found
