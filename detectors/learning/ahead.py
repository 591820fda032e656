"""Examples dated ahead of what the log's clock supports: they wait until the clock is near, or are left out.

After learning from such an example, a model could score nobody until the clock reaches it, because a version may not
have learnt from an event at or after the point it scores.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from hashlib import blake2b
from typing import Any

from detectors.base.points import Example, Origin
from detectors.features.upgrade import stored_vector

MOST = 8_192
"""Maximum number of waiting examples."""
LEFT_OUT = 4_096
"""Maximum number of users whose left-out positives are recorded; undoing a recorded one has no effect."""
OF_A_USER = 32
"""Maximum number of left-out positives recorded per user."""

Plain = tuple[Any, ...]


class Ahead:
    """Examples that wait for the log's clock, in the order of the times at which their labels were known.

    When there are too many, the users with the most examples lose those furthest ahead. A flood by few users therefore
    displaces no other user's examples.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, Example]] = []
        self._number = 0  # arrival order, in which examples of one time are learnt
        self._left_out: dict[str, list[bytes]] = {}  # digests of left-out positives, by user

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def first(self) -> int | None:
        """Return the time (ms) of the example to be learnt next; None if there is none."""
        return self._waiting[0][0] if self._waiting else None

    def add(self, example: Example) -> None:
        """Add an example to those that wait."""
        self._number += 1
        insort(self._waiting, (example.known_at, self._number, example))

    def due(self, until: int) -> list[Example]:
        """Remove and return the examples dated no later than `until` (ms), in order."""
        many = 0
        for known_at, _, _ in self._waiting:
            if known_at > until:
                break
            many += 1
        found = [example for _, _, example in self._waiting[:many]]
        del self._waiting[:many]
        return found

    def cancel(self, back: Example) -> bool:
        """Return whether the example that `back` undoes was never learnt.

        If so, remove it from the waiting examples or from the recorded left-out ones.
        """
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
        """Leave out examples, if too many wait, until a quarter of the room is free.

        Return how many were left out.
        """
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
        for _, _, example in kept[MOST:]:  # more users than room: leave out the furthest ahead
            if example.label and example.weight > 0:
                self._remember(example)
        del kept[MOST:]
        left_out = len(self._waiting) - len(kept)
        self._waiting = kept
        return left_out

    def forget(self, user_id: str) -> None:
        """Erase a user's examples and records."""
        self._waiting = [entry for entry in self._waiting if entry[2].user_id != user_id]
        self._left_out.pop(user_id, None)

    def _remember(self, example: Example) -> None:
        digests = self._left_out.pop(example.user_id, [])
        digests.append(_digest(example))
        self._left_out[example.user_id] = digests[-OF_A_USER:]
        if len(self._left_out) > LEFT_OUT:
            del self._left_out[next(iter(self._left_out))]

    def state(self) -> list[Any]:
        """Return the full state as plain data."""
        waiting = [(number, *plain_example(example)) for _, number, example in self._waiting]
        return [self._number, waiting, [*self._left_out.items()]]

    def restore(self, state: list[Any]) -> None:
        """Restore a state."""
        self._number, waiting, left_out = state
        examples = [(number, example_of(plain)) for number, *plain in waiting]
        self._waiting = [(example.known_at, number, example) for number, example in examples]
        self._left_out = dict(left_out)


def plain_example(example: Example) -> Plain:
    """Return an example as plain data."""
    return (example.user_id, example.known_at, example.vector.tobytes(), example.label, example.weight, example.origin)


def example_of(plain: Plain | list[Any]) -> Example:
    """Return the example of `plain_example` data; data from before origins existed gives no origin."""
    user_id, known_at, vector, label, weight, *origin = plain
    known = Origin(*origin[0]) if any(origin) else None
    return Example(user_id, known_at, stored_vector(vector), label, weight, known)


def _fair_share(counts: list[int], room: int) -> int:
    """Return the largest number of examples per user with which all users need at most `room`, at least 1.

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
