"""Rehearsal: examples that are learnt repeatedly, namely the latest positives and a sample of the negatives.

Rows are bytes: the low 32 bits of the hash of the user's id, the weight with the label for its sign, and a place for
every feature. This keeps the state small, and a row cannot be decoded without the knots.

No random generator with a state of its own is used: draws are hashes of the counts of rows seen and of rehearsals.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.base.vectors import Matrix
from detectors.features.signals import key_of
from detectors.models.additive.knots import ABSENT, Places

POSITIVES = 256
"""Number of latest positives kept."""
NEGATIVES = 512
"""Number of negatives kept: a sample of the latest `REACH`."""
REACH = 20_000
"""Each of this many latest negatives is equally likely to be in the sample; older ones thin out."""
PAIRS = 8
"""Number of positives rehearsed at a time, and of negatives."""
GRAIN = 16
"""Steps per unit of weight in which weights are stored."""
HEAD = 5
"""Bytes before the places: user and weight."""


class Rows(NamedTuple):
    """Decoded rows: their labels, weights, and places, shape (rows, features)."""

    labels: NDArray[np.bool_]
    weights: Matrix
    places: Places


def row_of(user_id: str, label: bool, weight: float, places: Places) -> bytes:
    """Return an example as a row. The sign of the weight is ignored, so an undone example gives its original row."""
    steps = max(1, min(127, round(abs(weight) * GRAIN)))
    return _user(user_id) + (steps if label else -steps).to_bytes(1, "little", signed=True) + places.tobytes()


def read(rows: list[bytes]) -> Rows:
    """Decode rows to arrays."""
    table = np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(len(rows), -1)
    weights = table[:, HEAD - 1].view(np.int8) / GRAIN
    return Rows(weights > 0, np.abs(weights), table[:, HEAD:])


class Rehearsal:
    """Rows that wait to be learnt, the latest positives (oldest first), and a reservoir of negatives (Vitter, 1985)."""

    def __init__(self) -> None:
        self.waiting: list[bytes] = []
        self._positives: list[bytes] = []
        self._negatives: list[bytes] = []
        self._seen = 0
        self._rehearsed = 0

    def keep(self) -> list[bytes]:
        """Move the waiting rows to the rehearsal pools, as far as there is room; return these rows."""
        learnt, self.waiting = self.waiting, []
        for row in learnt:
            if row[HEAD - 1] < 128:
                self._positives.append(row)
            else:
                self._keep_negative(row)
        del self._positives[:-POSITIVES]
        return learnt

    def _keep_negative(self, row: bytes) -> None:
        self._seen += 1
        if len(self._negatives) < NEGATIVES:
            self._negatives.append(row)
            return
        [drawn] = _draws("keep", self._seen, 1)
        if (place := drawn % min(self._seen, REACH)) < NEGATIVES:
            self._negatives[place] = row

    def pairs(self) -> list[bytes]:
        """Return `PAIRS` positives and `PAIRS` negatives, drawn with replacement; empty unless both kinds exist."""
        if not self._positives or not self._negatives:
            return []
        self._rehearsed += 1
        draws = _draws("rehearse", self._rehearsed, 2 * PAIRS)
        positives = [self._positives[drawn % len(self._positives)] for drawn in draws[:PAIRS]]
        return positives + [self._negatives[drawn % len(self._negatives)] for drawn in draws[PAIRS:]]

    def take_back(self, row: bytes) -> bool:
        """Remove the latest row equal to this one; return whether it counts as learnt.

        A row found among the waiting rows was not learnt. A row found nowhere is assumed to have been learnt.
        """
        for rows in (self.waiting, self._positives, self._negatives):
            for place in range(len(rows) - 1, -1, -1):
                if rows[place] == row:
                    del rows[place]
                    return rows is not self.waiting
        return True

    def forget(self, user_id: str) -> None:
        """Erase a user's rows."""
        user = _user(user_id)
        self.waiting = [row for row in self.waiting if not row.startswith(user)]
        self._positives = [row for row in self._positives if not row.startswith(user)]
        self._negatives = [row for row in self._negatives if not row.startswith(user)]

    def dump(self) -> dict[str, Any]:
        """Return the rows, concatenated in base 64, and the counts from which draws are made."""
        kept = {"waiting": self.waiting, "positives": self._positives, "negatives": self._negatives}
        packed = {name: b64encode(b"".join(rows)).decode() for name, rows in kept.items()}
        return {**packed, "seen": self._seen, "rehearsed": self._rehearsed}

    def load(self, state: dict[str, Any], known: list[str], names: tuple[str, ...]) -> None:
        """Restore a dump made with the features `known`; a feature that was not known then is absent."""
        self.waiting, self._positives, self._negatives = (
            _loaded(state[name], known, names) for name in ("waiting", "positives", "negatives")
        )
        self._seen, self._rehearsed = state["seen"], state["rehearsed"]


def _user(user_id: str) -> bytes:
    return (key_of(user_id) & 0xFFFF_FFFF).to_bytes(4, "little")


def _draws(what: str, number: int, count: int) -> list[int]:
    """Return `count` pseudo-random numbers below 2**32, at most 16."""
    digest = blake2b(f"{what} {number}".encode(), digest_size=4 * count).digest()
    return [int.from_bytes(digest[start : start + 4], "little") for start in range(0, 4 * count, 4)]


def _loaded(packed: str, known: list[str], names: tuple[str, ...]) -> list[bytes]:
    table = np.frombuffer(b64decode(packed), dtype=np.uint8).reshape(-1, HEAD + len(known))
    if known != list(names):
        places = {name: HEAD + column for column, name in enumerate(known)}
        nothing = np.full(len(table), ABSENT, dtype=np.uint8)
        columns = [table[:, places[name]] if name in places else nothing for name in names]
        table = np.column_stack([table[:, :HEAD], *columns])
    return [row.tobytes() for row in table]
