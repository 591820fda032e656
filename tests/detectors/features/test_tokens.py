"""Tokens: a closed alphabet of what happened and how long after, in codes that can be read back."""

from __future__ import annotations

from itertools import product
from math import inf, nan

import pytest

from detectors.features.catalogue import NAMES
from detectors.features.signals import read_message
from detectors.features.tokens import FIRST, GAPS, KINDS, LONGEST, TRAIL, message_token, tokens
from detectors.profiles.user import CompiledPolicy, User
from schemas.records.events import Event
from tests.kit.streams import DAY, HOUR, MINUTE, START, message, place, policy, report, reversal, sanction

POLICY = policy(target={"recurring": True})


def told(*events: Event) -> list[tuple[str, int]] | None:
    """What the trail says after these events of one user."""
    user = User(CompiledPolicy(POLICY))
    point = [user.step(event, place(number)) for number, event in enumerate(events)][-1].point
    assert point is not None
    return tokens(point.vector[NAMES.index("sequence_4")])


def scored(value: float) -> list[dict[str, object]]:
    """An external scorer's result."""
    return [{"scorer": "t", "version": "1", "value": value}]


def test_every_token_has_a_number_of_its_own_that_reads_back() -> None:
    """Kind and gap together fit a byte, from 1, so that a code says how many tokens it has and is exact as a double."""
    numbers = [1 + kind * 8 + gap for kind, gap in product(range(len(KINDS)), range(FIRST + 1))]
    assert len(set(KINDS)) == len(KINDS)
    assert len(set(numbers)) == len(numbers)
    assert 1 <= min(numbers) <= max(numbers) <= 255
    assert [tokens(number) for number in numbers] == [[(kind, gap)] for kind, gap in product(KINDS, range(FIRST + 1))]
    assert TRAIL < 2**53
    last = max(numbers)
    longest = sum(last << 8 * place for place in range(LONGEST))
    assert tokens(float(longest)) == [(KINDS[-1], FIRST)] * LONGEST


@pytest.mark.parametrize(
    "value", [nan, inf, -inf, 0.0, -3.0, 1.5, 193.0, 255.0, float(1 << 8), float(TRAIL + 2), 1e300]
)
def test_what_is_no_code_is_not_read_as_one(value: float) -> None:
    """Unknown kinds, an empty place, a fraction, and numbers beyond the longest trail."""
    assert tokens(value) is None


@pytest.mark.parametrize(
    ("gap", "band"),
    [(0, 0), (10_000, 0), (10_001, 1), (MINUTE, 1), (HOUR, 3), (DAY + 1, 5), (7 * DAY, 5), (7 * DAY + 1, 6)],
)
def test_a_gap_falls_in_the_first_band_that_it_does_not_pass(gap: int, band: int) -> None:
    """To the millisecond."""
    assert told(message("a", START), report("b", START + gap)) == [("message", FIRST), ("report", band)]
    assert len(GAPS) == FIRST - 1


def test_a_trail_says_what_happened_in_the_order_in_which_it_was_counted() -> None:
    """The latest last; shorter while there are fewer events; nothing of events that were late or came twice."""
    first, second = message("a", START), report("b", START + 30_000)
    assert told(first) == [("message", FIRST)]
    late, third = message("late", START - 9 * DAY), sanction("c", START + DAY, 4)
    whole = [("message", FIRST), ("report", 1), ("sanction of severity 4", 4)]
    assert told(first, second, late, first, third) == whole
    more = [message(f"m{number}", START + DAY) for number in range(3)]
    assert told(first, second, late, first, third, *more) == [*whole[2:], *[("message", 0)] * 3]


def test_an_out_of_order_event_comes_where_it_was_counted_and_has_no_gap() -> None:
    """A trail is never put in another order afterwards."""
    assert told(message("a", START), report("b", START - HOUR), message("c", START + MINUTE)) == [
        ("message", FIRST),
        ("report", 0),
        ("message", 1),
    ]


def test_an_overturned_sanction_keeps_its_token_and_its_reversal_follows() -> None:
    """That it was given, and taken back, has both happened."""
    assert told(sanction("s", START, 5), reversal("r", START + 1, "s")) == [
        ("sanction of severity 5", FIRST),
        ("reversal", 0),
    ]


def test_messages_are_told_apart_by_repeats_channels_and_toxicity() -> None:
    """The first message is nowhere else; a band's edge belongs to the lower band; the highest scorer counts."""
    said = told(
        message("a", START, text="buy my gold"),
        message("b", START, text="BUY my  gold", channel="other"),
        message("c", START, text="x", channel="other", scores=scored(0.3)),
        message("d", START, text="buy my gold", channel="lobby", scores=[*scored(0.1), *scored(0.71)]),
    )
    assert said is not None
    assert [kind for kind, _ in said] == [
        "message",
        "repeated message elsewhere",
        "message of low toxicity",
        "repeated message elsewhere of high toxicity",
    ]


def test_a_messages_kind_is_read_off_the_signals_that_are_counted() -> None:
    """Whether it repeats another, and whether it was sent elsewhere."""
    event, texts = message("a", START, text="hello there", channel="here"), list[int]()
    signals, keys = read_message(event, texts)
    assert keys[0][0] == "channel"
    assert message_token(signals, moved=False) == 1
    assert message_token(signals, moved=True) == 1 + KINDS.index("message elsewhere") * 8
    again, _ = read_message(event, texts)
    assert message_token(again, moved=False) == 1 + KINDS.index("repeated message") * 8
