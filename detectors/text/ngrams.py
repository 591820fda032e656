"""Hashed character n-grams of many messages at once.

Messages are concatenated into one array of code points. The hash of an n-gram is computed from that of the n-gram one
character shorter, so a batch takes a few array operations instead of a loop over characters.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.text.normalise import READ, plain, skeleton

LONGEST = 6
"""Characters of the longest n-gram; all shorter ones are used as well."""
BITS = 17
"""Bits of a bucket's number: n-grams are hashed into 2 ** 17 buckets."""

_STEP, _MARK, _MIX, _LAST = (np.uint32(odd) for odd in (0x01000193, 0x9E3779B1, 0x85EBCA6B, 0xC2B2AE35))
_KIND = 0x27D4EB2F


def hashed(texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Return the bucket of every n-gram of both forms of every text, and the index of its text."""
    forms = [plain(excerpt(text)) for text in texts]
    first = _hashed(forms, 0)
    second = _hashed([skeleton(form) for form in forms], 1)
    return np.concatenate([first[0], second[0]]), np.concatenate([first[1], second[1]])


def excerpt(text: str) -> str:
    """Return the part of a message that is read: all of it, or the beginning and the end of a very long one."""
    return text if len(text) <= READ else f"{text[: READ // 2]} {text[-READ // 2 :]}"


def _hashed(texts: Sequence[str], form: int) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Return the bucket of every n-gram, and the index of its text.

    A space is added before and after each text, so that n-grams also mark the beginning and the end of its words.
    """
    padded = [f" {text} " for text in texts]
    lengths = np.array([len(text) for text in padded], dtype=np.int64)
    points = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    owner = np.repeat(np.arange(len(texts)), lengths)
    end = np.repeat(np.cumsum(lengths), lengths)
    place = np.arange(len(points))
    rolling = np.zeros(len(points), dtype=np.uint32)
    buckets, owners = [], []
    for length in range(1, LONGEST + 1):
        many = max(len(points) - length + 1, 0)
        rolling = rolling[:many] * _STEP + points[length - 1 :] * _MARK
        within = place[:many] + length <= end[:many]
        mixed = rolling[within]
        mixed = (mixed ^ (mixed >> np.uint32(15))) * _MIX + np.uint32((2 * length + form) * _KIND & 0xFFFFFFFF)
        mixed ^= mixed >> np.uint32(13)
        buckets.append((mixed * _LAST) >> np.uint32(32 - BITS))
        owners.append(owner[:many][within])
    return np.concatenate(buckets), np.concatenate(owners)
