"""Exponentially decayed sums."""

from __future__ import annotations

from math import exp2


class Decayed:
    """A sum in which an amount of age a weighs `2 ** (-a / half_life)`; `value` holds at event time `time`."""

    __slots__ = ("time", "value")

    def __init__(self, time: int = 0, value: float = 0.0) -> None:
        self.time = time
        self.value = value

    def add(self, amount: float, time: int, half_life: int) -> None:
        """Add `amount` at `time`, which may lie before the latest one (an out-of-order event)."""
        age = time - self.time
        if age >= 0:
            self.value = self.value * exp2(-age / half_life) + amount
            self.time = time
        else:
            self.value += amount * exp2(age / half_life)

    def at(self, now: int, half_life: int) -> float:
        """The sum as of `now`, not before the latest added time."""
        return self.value * exp2((self.time - now) / half_life)
