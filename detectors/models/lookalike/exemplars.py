"""Exemplars: vectors of users whose outcome is known, stored for comparison with new points.

A pool is bounded, and holds at most one exemplar per user. Vectors are symlog-transformed features in thousandths, so
that scoring uses exactly the published bits. Users are identified by hashes.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.base.vectors import Matrix

Thousandths = NDArray[np.int16]
"""Symlog-transformed values times 1000, rounded; `ABSENT` where there is none."""
ABSENT = -32_768
LARGEST = 32_767


class Exemplar(NamedTuple):
    """One user's vector with a known outcome.

    `key` is the hash of the id of the event that made the decision point, `user` the hash of the user's id, `known_at`
    the event time (ms) at which the outcome was known, and `vector` packed thousandths, two bytes per feature.
    """

    key: int
    user: int
    known_at: int
    vector: bytes


def packed(values: Iterable[float]) -> bytes:
    """Return symlog-transformed values, NaN where absent, as packed thousandths.

    >>> packed([0.5, float("nan")]).hex()
    'f4010080'
    """
    row = np.array(tuple(values), dtype=np.float64)
    absent = np.isnan(row)
    rounded = np.clip(np.rint(np.where(absent, 0.0, row) * 1000.0), -LARGEST, LARGEST)
    return np.where(absent, ABSENT, rounded).astype("<i2").tobytes()


def unpacked(vectors: bytes, features: int) -> Matrix:
    """Return concatenated packed vectors as columns, shape (features, exemplars); NaN where absent."""
    whole = np.frombuffer(vectors, dtype="<i2").reshape(-1, features).T
    columns: Matrix = np.where(whole == ABSENT, np.nan, whole / 1000.0)
    return np.ascontiguousarray(columns)


class Pool:
    """The latest exemplars of one kind, oldest first: at most `size`, none older than `age` (ms), one per user."""

    def __init__(self, size: int, age: int) -> None:
        self._size = size
        self._age = age
        self.exemplars: list[Exemplar] = []

    def add(self, exemplar: Exemplar) -> None:
        """Add an exemplar in place of an older one of the same user; drop the oldest ones beyond `size`."""
        self.exemplars = [known for known in self.exemplars if known.user != exemplar.user]
        self.exemplars.append(exemplar)
        del self.exemplars[: -self._size]

    def expire(self, now: int) -> bool:
        """Drop exemplars older than `age` at `now` (ms); return whether there were any."""
        return self._keep([known for known in self.exemplars if known.known_at >= now - self._age])

    def drop(self, user: int, vector: bytes | None = None) -> bool:
        """Drop a user's exemplar if `vector` is None or equals its vector; return whether one was dropped."""
        return self._keep([e for e in self.exemplars if e.user != user or vector not in (None, e.vector)])

    def _keep(self, kept: list[Exemplar]) -> bool:
        changed = len(kept) != len(self.exemplars)
        if changed:
            self.exemplars = kept
        return changed


def dumped(exemplars: list[Exemplar]) -> dict[str, Any]:
    """Return exemplars as plain data, the vectors as one base 64 string of packed thousandths."""
    return {
        "keys": [exemplar.key for exemplar in exemplars],
        "users": [exemplar.user for exemplar in exemplars],
        "known_at": [exemplar.known_at for exemplar in exemplars],
        "vectors": b64encode(b"".join(exemplar.vector for exemplar in exemplars)).decode(),
    }


def loaded(state: dict[str, Any], known: list[str], names: tuple[str, ...]) -> list[Exemplar]:
    """Return exemplars dumped with the features `known`, aligned to `names`; a feature not known then is absent."""
    vectors, size = b64decode(state["vectors"]), 2 * len(names)
    if known != list(names):
        whole = np.frombuffer(vectors, dtype="<i2").reshape(len(state["keys"]), len(known))
        aligned = np.full((len(whole), len(names)), ABSENT, dtype="<i2")
        for column, name in enumerate(names):
            if name in known:
                aligned[:, column] = whole[:, known.index(name)]
        vectors = aligned.tobytes()
    rows = [vectors[start : start + size] for start in range(0, len(vectors), size)]
    return list(map(Exemplar._make, zip(state["keys"], state["users"], state["known_at"], rows, strict=True)))
