"""The scorer: a calibrated probability from the sum of one weight per bucket over a message's n-grams."""

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
"""The scorer's name in a message's scores."""
MOST_CHARACTERS = 100_000
"""Maximum number of characters hashed together, unless one message is longer: each takes some 200 bytes meanwhile."""

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
    """A scorer of messages with fixed parameters. `version` is a hash of all its contents.

    The log-odds of a message are `bias` plus the sum of its n-grams' weights divided by the square root of their
    number. They are scaled by `slope` and shifted by `offset`, which were fitted on other messages than the weights
    (Platt, 1999).
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
        """Return the log-odds of the messages before calibration; each is independent of the other messages."""
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
        """Return the probability that each message is toxic."""
        logit = np.clip(self._slope * self.log_odds(texts) + self._offset, -50.0, 50.0)
        return logistic(logit)

    def calibrated(self, slope: float, offset: float) -> Self:
        """Return the same scorer with this `slope` and `offset`."""
        return type(self)(self._weights, self._bias, slope, offset, messages=self._messages, positives=self._positives)

    def document(self) -> dict[str, Any]:
        """Return the whole scorer as plain data, without any text of the messages it was trained on."""
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
        """Return the scorer in a document.

        Raises:
            ValueError: if it contains no text model, or one that this version cannot use; the message gives the reason.
        """
        if isinstance(document, dict) and document.get("format") == 1 and "normalisation" not in document:
            raise ValueError(_OTHER_TEXT)  # from before the normalisation had a version
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
