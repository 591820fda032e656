"""Text of simulated messages: neutral words, and invented marker words in messages that are meant to be toxic."""

from __future__ import annotations

import numpy as np

_TALK = """
anyone around for another round i think the blue team had it who wants to trade maps later today that was close
nice save we should try the long way first is the update out yet my lag is gone good game see you tomorrow
does this build work let me check the notes meet at the gate ready when you are thanks for the help just got
back what did i miss the new level looks great hold on one minute lead the way not sure about that plan
"""

NEUTRAL = tuple(_TALK.split())
MARKERS = ("grubbex", "snorvle", "blathmop", "zindrap", "quorfle", "mirkwad", "trasnip", "fulgrom")
"""Words without meaning in any language we know, so that no simulated log contains a slur."""

POOL = 2_048


class Phrases:
    """Pools of openings and endings; two indices below `POOL` and a flag select a message, cheaply and reproducibly."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.openings = [_phrase(rng, NEUTRAL, 2, 6) for _ in range(POOL)]
        self.endings = [_phrase(rng, NEUTRAL, 1, 6) for _ in range(POOL)]
        self.marked = [f"{_phrase(rng, MARKERS, 1, 2)} {_phrase(rng, NEUTRAL, 1, 3)}" for _ in range(POOL)]


def _phrase(rng: np.random.Generator, words: tuple[str, ...], least: int, most: int) -> str:
    return " ".join(words[at] for at in rng.integers(0, len(words), int(rng.integers(least, most + 1))).tolist())
