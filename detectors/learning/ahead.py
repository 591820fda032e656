"""Examples dated ahead of what the log's clock supports: they wait until the clock has come near, or are left out.

A model that had learnt from one of them could score nobody until then, because a version may not have learnt from an
event at or after the point it scores.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from hashlib import blake2b
from typing import Any

from detectors.base.points import Example, Origin
from detectors.features.upgrade import stored_vector

MOST = 8_192
"""Examples that wait at most."""
LEFT_OUT = 4_096
"""Users whose left-out positives are remembered, so that none of them is taken back."""
OF_A_USER = 32
"""Left-out positives remembered of one user."""

Plain = tuple[Any, ...]


class Ahead:
    """Examples that wait for the log's clock, in the order of the times at which their labels were known.

    When there are too many, whoever has most of them loses those furthest ahead. So a flood by few users leaves out
    none of anybody else's.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, Example]] = []
        self._number = 0  # examples of one time are learnt in the order they came in
        self._left_out: dict[str, list[bytes]] = {}  # digests of positives by user

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def first(self) -> int | None:
        """The time of the example to be learnt next; None if there is none."""
        return self._waiting[0][0] if self._waiting else None

    def add(self, example: Example) -> None:
        """Let an example wait."""
        self._number += 1
        insort(self._waiting, (example.known_at, self._number, example))

    def due(self, until: int) -> list[Example]:
        """Take out the examples dated no later than `until`, in their order."""
        many = 0
        for known_at, _, _ in self._waiting:
            if known_at > until:
                break
            many += 1
        found = [example for _, _, example in self._waiting[:many]]
        del self._waiting[:many]
        return found

    def cancel(self, back: Example) -> bool:
        """Whether what is to be taken back was never learnt; then it neither waits nor is remembered any more."""
        for place, (_, _, example) in enumerate(self._waiting):
            same = example.user_id == back.user_id and example.label == back.label and example.weight == -back.weight
            if same and example.vector == back.vector:
                del self._waiting[place]
                return True
        digest, left_out = _digest(back), self._left_out.get(back.user_id, [])
        if digest not in left_out:
            return False
        left_out.remove(digest)
        if not left_out:
            del self._left_out[back.user_id]
        return True

    def make_room(self) -> int:
        """Leave out examples until a quarter of the room is free, if there are too many; how many were left out."""
        if len(self._waiting) <= MOST:
            return 0
        held = Counter([example.user_id for _, _, example in self._waiting])
        share = _fair_share(list(held.values()), MOST * 3 // 4)
        kept: list[tuple[int, int, Example]] = []
        seen: Counter[str] = Counter()
        for entry in self._waiting:
            example = entry[2]
            seen[example.user_id] += 1
            if seen[example.user_id] <= share:
                kept.append(entry)
            elif example.label and example.weight > 0:
                self._remember(example)
        for _, _, example in kept[MOST:]:  # more users than room: the furthest ahead go
            if example.label and example.weight > 0:
                self._remember(example)
        del kept[MOST:]
        left_out = len(self._waiting) - len(kept)
        self._waiting = kept
        return left_out

    def forget(self, user_id: str) -> None:
        """Keep nothing of a user."""
        self._waiting = [entry for entry in self._waiting if entry[2].user_id != user_id]
        self._left_out.pop(user_id, None)

    def _remember(self, example: Example) -> None:
        digests = self._left_out.pop(example.user_id, [])
        digests.append(_digest(example))
        self._left_out[example.user_id] = digests[-OF_A_USER:]
        if len(self._left_out) > LEFT_OUT:
            del self._left_out[next(iter(self._left_out))]

    def state(self) -> list[Any]:
        """Everything as plain data."""
        waiting = [(number, *plain_example(example)) for _, number, example in self._waiting]
        return [self._number, waiting, [*self._left_out.items()]]

    def restore(self, state: list[Any]) -> None:
        """Go on from a state."""
        self._number, waiting, left_out = state
        examples = [(number, example_of(plain)) for number, *plain in waiting]
        self._waiting = [(example.known_at, number, example) for number, example in examples]
        self._left_out = dict(left_out)


def plain_example(example: Example) -> Plain:
    """An example as plain data."""
    return (example.user_id, example.known_at, example.vector.tobytes(), example.label, example.weight, example.origin)


def example_of(plain: Plain | list[Any]) -> Example:
    """The example that `plain_example` turned into data; before there were origins it had none."""
    user_id, known_at, vector, label, weight, *origin = plain
    known = Origin(*origin[0]) if any(origin) else None
    return Example(user_id, known_at, stored_vector(vector), label, weight, known)


def _fair_share(counts: list[int], room: int) -> int:
    """The most examples of one user with which all users together need no more than `room`, at least 1.

    >>> _fair_share([1, 2, 90], 13)
    10
    """
    low, high = 1, max(counts)
    while low < high:
        middle = (low + high + 1) // 2
        if sum(min(count, middle) for count in counts) <= room:
            low = middle
        else:
            high = middle - 1
    return low


def _digest(example: Example) -> bytes:
    kept = example.vector.tobytes() + repr(abs(example.weight)).encode()
    return blake2b(kept, digest_size=8).digest()
