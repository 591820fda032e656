"""Text that anybody may choose costs time in proportion to its length, whatever it is made of."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from detectors.features.signals import read_message, stable_hash
from detectors.text import normalise
from detectors.text.ngrams import BITS, excerpt, hashed
from detectors.text.normalise import meant, plain, skeleton, visible
from detectors.text.scorer import TextScorer
from schemas.records.base import LONGEST_TEXT
from schemas.records.events import ChatMessage

SHORT, LONG = 4_096, 32_768
GROWTH = 3.0
"""How much more a character may cost in a long text than in a short one; quadratic would be eight times."""
SCORER = TextScorer(np.ones(1 << BITS, dtype=np.float32), -1.0)

KINDS = {
    "words": "some words 4 you ",
    "digits": "7",
    "different digits": "0123456789",
    "Chinese": "\u4e2d\u6587\u5b57",
    "emoji with one digit": "\U0001f642" * 63 + "1",
    "spaces": " ",
    "tabs and breaks": "\t\n\r ",
    "combining marks": "\u0301",
    "marks of another script": "a\u0e34",
    "Thai": "\u0e01\u0e34\u0e19",
    "punctuation": "!?.,-",
    "low lines": "_",
    "dollars": "$@",
    "letters apart": "a ",
    "letters apart by dots": "a.",
    "Chinese letters apart": "\u4e2d ",
    "almost apart": "a  bb ",
    "bars": "a|",
    "exclamations": "a!",
    "controls": "\x00",
    "zero width": "a\u200b",
    "Cyrillic": "\u0441\u043e\u0440\u0430",
    "regional indicators": "\U0001f1f0",
    "Hangul": "\ud55c",
    "kana": "\u304c",
    "private use": "\ue000",
    "half surrogate pairs": "\ud83d",
    "all at once": "a1!\u00e9\u4e2d\U0001f642 \u0301",
}


def message(text: str) -> None:
    """Read the signals of a message that says this."""
    event = ChatMessage.model_construct(event_id="m", event_time=0, user_id="u", channel="c", text=text)
    read_message(event, [])


FUNCTIONS: dict[str, Callable[[str], Any]] = {
    "visible": visible,
    "meant": meant,
    "plain": plain,
    "skeleton": skeleton,
    "skeleton of plain": lambda text: skeleton(plain(text)),
    "excerpt": excerpt,
    "hashed": lambda text: hashed([text]),
    "score_many": lambda text: SCORER.score_many([text]),
    "read_message": message,
    "stable_hash": stable_hash,
}
PATTERNS = {name: found for name, found in vars(normalise).items() if isinstance(found, re.Pattern)}


def text_of(kind: str, length: int) -> str:
    """So many characters of a kind."""
    unit = KINDS[kind]
    return (unit * (length // len(unit) + 1))[:length]


def spent(function: Callable[[str], Any], text: str) -> float:
    """Seconds of this process's CPU, the least of three goes."""

    def once() -> float:
        begin = time.process_time()
        function(text)
        return time.process_time() - begin

    return min(once() for _ in range(3))


def per_character(function: Callable[[str], Any], kind: str) -> float:
    """How many times more a character costs in a long text than in a short one; short texts a few times over."""
    times = LONG // SHORT
    short = text_of(kind, SHORT)

    def often(text: str) -> None:
        for _ in range(times):
            function(text)

    tick = 0.001  # what the clock and the machine may add
    return (spent(function, text_of(kind, LONG)) + tick) / (spent(often, short) + tick)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_function_takes_time_in_proportion_to_length(kind: str) -> None:
    """On every kind of text, up to what a message may hold."""
    slow = {name: per_character(function, kind) for name, function in FUNCTIONS.items()}
    assert {name: ratio for name, ratio in slow.items() if ratio > GROWTH} == {}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_pattern_takes_time_in_proportion_to_length(kind: str) -> None:
    """Whatever stands around it: a pattern that is tried from every character of a run may not run on from there."""
    assert len(PATTERNS) > 10
    slow = {name: per_character(lambda text, p=p: p.sub("", text), kind) for name, p in PATTERNS.items()}  # type: ignore[misc]
    assert {name: ratio for name, ratio in slow.items() if ratio > GROWTH} == {}


def test_digits_cost_no_more_than_three_times_what_words_do() -> None:
    """At the length of the longest message there is."""
    words, digits = (text_of(kind, LONGEST_TEXT) for kind in ("words", "digits"))
    assert spent(FUNCTIONS["skeleton of plain"], digits) < 3 * spent(FUNCTIONS["skeleton of plain"], words)
    assert spent(FUNCTIONS["score_many"], digits) < 3 * spent(FUNCTIONS["score_many"], words)


def test_of_a_very_long_message_the_beginning_and_the_end_are_read() -> None:
    """What is padded in front or behind does not hide the rest, and the longest costs no more than the limit."""
    assert excerpt("x" * normalise.READ) == "x" * normalise.READ
    found = excerpt("begin" + "x" * LONGEST_TEXT + "end")
    assert len(found) == normalise.READ + 1
    assert (found[:5], found[-3:]) == ("begin", "end")
    weights = np.random.default_rng(1).normal(size=1 << BITS).astype(np.float32)
    head, tail = ("".join(f"{word}{number} " for number in range(1_500)) for word in ("first", "last"))
    middles = ("x" * 9_000, "other words " * 1_000, "7" * 40_000)
    scores = TextScorer(weights, -1.0).score_many([head + middle + tail for middle in middles])
    assert len(set(scores.tolist())) == 1
    assert TextScorer(weights, -1.0).score_many([head + middles[0]])[0] != scores[0]
