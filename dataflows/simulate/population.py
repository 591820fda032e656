"""The users of a simulated platform: latent trajectories, and the effects of sanctions and notices on them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataflows.simulate.config import SimulationConfig

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

NEVER = math.inf

CASUAL, OCCASIONAL, CHRONIC, CONTACTING = 0.004, 0.06, 0.35, 0.15
"""Probability that a message violates a rule, by stage of the trajectory."""

LOCALES = ("en", "de", "es", "pt")
AGE_BANDS = ("13-17", "18-24", "25+")


class Population:
    """Arrays with one entry per user; times are milliseconds from the start of the simulation.

    A trajectory is casual until `occasional_at`, occasional until `chronic_at`, and chronic from then on. `calm` scales
    down the probability of a violation, as an effect of sanctions and notices. A user does not speak in a stretch that
    begins before `silent_until`, unless all users are silent.
    """

    def __init__(self, config: SimulationConfig, rng: np.random.Generator) -> None:
        size, span = config.users, config.span_ms
        self.size = size
        self.names = [f"sim-user-{number}" for number in range(size)]
        self.locales = _words(rng, LOCALES, (0.6, 0.2, 0.1, 0.1), size)
        self.age_bands = _words(rng, AGE_BANDS, (0.25, 0.4, 0.35), size)
        self.activity: Floats = rng.lognormal(0.0, 1.2, size)
        self.temper: Floats = rng.lognormal(0.0, 0.4, size)
        fate = rng.random(size)
        self.reforming: Bools = fate < config.reforming
        drifting = fate < config.reforming + config.drifting
        self.contacting: Bools = ~drifting & (fate < config.reforming + config.drifting + config.contacting)
        onset = rng.uniform(0.0, 0.8, size) * span
        self.occasional_at: Floats = np.where(drifting, onset, NEVER)
        self.chronic_at: Floats = np.where(drifting, onset + rng.exponential(0.15, size) * span, NEVER)
        self.contact_at: Floats = np.where(self.contacting, onset, NEVER)
        self.calm: Floats = np.ones(size)
        self.silent_until: Floats = np.zeros(size)
        self.strikes = [0] * size

    def speakers(self, rng: np.random.Generator, count: int, time: float) -> Ints:
        """Return the authors of the `count` messages of the stretch that begins at `time`.

        About 30 % of the users are online in a stretch, and active users write more.
        """
        online = rng.random(self.size) < 0.3
        haste = np.where(self.contact_at <= time, 4.0, 1.0)
        weights = self.activity * haste * (self.silent_until <= time)
        present = weights * online
        reach = np.cumsum(present if present.any() else weights if weights.any() else self.activity)
        users: Ints = np.searchsorted(reach, rng.random(count) * reach[-1], side="right")
        return users

    def violation_chance(self, users: Ints, times: Ints) -> Floats:
        """Return the probability that each message violates a rule."""
        stage = np.where(times >= self.occasional_at[users], OCCASIONAL, CASUAL)
        stage = np.where(times >= self.chronic_at[users], CHRONIC, stage)
        stage = np.where(times >= self.contact_at[users], CONTACTING, stage)
        return stage * np.minimum(self.temper[users] * self.calm[users], 2.0)

    def restrain(self, user: int, *, taught: bool) -> None:
        """Apply the effect of a sanction or a notice: strong on reforming users, slight on others."""
        usual = 0.8 if taught else 0.93
        self.calm[user] *= 0.3 if self.reforming[user] else usual

    def silence(self, user: int, until: float) -> None:
        """Silence a user until a time, unless the user is already silenced for longer."""
        self.silent_until[user] = max(float(self.silent_until[user]), until)


def _words(rng: np.random.Generator, words: tuple[str, ...], shares: tuple[float, ...], size: int) -> list[Any]:
    return [words[at] for at in rng.choice(len(words), size, p=shares).tolist()]
