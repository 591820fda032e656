"""What one user's events will be examples of: points that wait for a label, and what an escalation makes of them.

A point is learnt at once as a negative if it is in the sample, and again as a positive if its user escalates within
the horizon. A user escalates by the second report or upheld sanction, and by every further one.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from tests.bench.peers.model import SAMPLE, Features

HORIZON = 86_400_000
TILE = HORIZON // 24
OFFERED = 48
WAITING = 8
HEAVIEST = 4.0
FACTS_CAP = 64
SAMPLED = int(SAMPLE * 2**20)


def hash_of(user_id: str, number: int) -> int:
    """Return the hash of a user's point at their event of this number, which is the same in every process."""
    point = f"{user_id}\0{number}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(point, digest_size=8).digest(), "big") >> 1


class Labels:
    """A user's moderation history, and the points that wait: those with the lowest hashes of all since the last time.

    What the model read of a point is kept in `vectors`, by a number. It is any mapping: a state store can be one.
    """

    __slots__ = ("escalations", "facts", "highest", "offered", "vectors", "waiting", "weight")

    def __init__(self, vectors: Any = None) -> None:
        self.facts: list[tuple[str, int, str]] = []  # id, time, and whose it is
        self.waiting: list[tuple[int, int, int]] = []  # hash, time, number
        self.highest = -1
        self.offered: dict[int, int] = {}
        self.escalations: list[tuple[str, int, list[int], float]] = []  # cause, time, what was learnt, its weight
        self.weight = 1.0
        self.vectors: Any = {} if vectors is None else vectors

    def offer(self, user_id: str, time: int, number: int, z: Features) -> bool:
        """Let a point wait; whether it is in the sample of those that are negatives at once."""
        key, offered, waiting = hash_of(user_id, number), self.offered, self.waiting
        tile = time // TILE
        offered[tile] = offered.get(tile, 0) + 1
        if len(offered) > OFFERED:
            self.offered = {at: count for at, count in offered.items() if at >= (time - HORIZON) // TILE}
        if waiting and waiting[0][1] < time - HORIZON:
            self._forget([old for _, at, old in waiting if at < time - HORIZON])
            self.waiting = waiting = [point for point in waiting if point[1] >= time - HORIZON]
            self.highest = max(waiting)[0] if waiting else -1
        if len(waiting) < WAITING:
            waiting.append((key, time, number))
            self.vectors[number] = z
            self.highest = max(self.highest, key)
        elif key < self.highest:
            at = next(at for at, point in enumerate(waiting) if point[0] == self.highest)
            self._forget([waiting.pop(at)[2]])
            waiting.append((key, time, number))
            self.vectors[number] = z
            self.highest = max(waiting)[0]
        return key % 2**20 < SAMPLED

    def count(self, fact: str, time: int, by: str) -> list[Features]:
        """Count a report or a sanction; what is now known to be positive, each with the weight `weight`.

        `by` is the reporter, or the fact itself where there is none: of one reporter, one report counts.
        """
        if any(known == fact for known, _, _ in self.facts):
            return []
        repeated = any(by == other for _, _, other in self.facts)
        self.facts.append((fact, time, by))
        if len(self.facts) > FACTS_CAP:
            del self.facts[0]
        if repeated or len(self.facts) < 2:
            return []
        due = [number for _, at, number in self.waiting if time - HORIZON <= at <= time]
        self._forget([number for _, at, number in self.waiting if not time - HORIZON <= at <= time])
        first, last = (time - HORIZON) // TILE, time // TILE
        offered = sum(count for tile, count in self.offered.items() if first <= tile <= last)
        self.weight = min(HEAVIEST, max(1.0, offered / len(due))) if due else 1.0
        self.escalations.append((fact, time, due, self.weight))
        self.waiting, self.offered, self.highest = [], {}, -1
        return [self.vectors[number] for number in due]

    def overturn(self, sanction: str) -> list[tuple[Features, float]]:
        """Forget a reversed sanction; what was learnt from escalations that fall with it, each with its weight."""
        facts, left = self.facts, [fact for fact in self.facts if fact[0] != sanction]
        if len(left) == len(facts):
            return []
        self.facts = left
        fallen = [
            one
            for one in self.escalations
            if one[0] == sanction or (_stands(facts, one[1]) and not _stands(left, one[1]))
        ]
        self.escalations = [one for one in self.escalations if one not in fallen]
        taken_back = [(self.vectors[number], weight) for _, _, learnt, weight in fallen for number in learnt]
        for _, _, learnt, _ in fallen:
            self._forget(learnt)
        return taken_back

    def clear(self) -> None:
        """Forget everything, in the store too."""
        self._forget(
            [*(n for _, _, learnt, _ in self.escalations for n in learnt), *(number for _, _, number in self.waiting)]
        )
        self.__init__(self.vectors)  # type: ignore[misc]

    def _forget(self, numbers: list[int]) -> None:
        for number in numbers:
            self.vectors.pop(number, None)


def _stands(facts: list[tuple[str, int, str]], time: int) -> bool:
    """Whether an escalation of this time still has two facts, of different reporters, up to then."""
    return len({by for _, at, by in facts if at <= time}) >= 2
