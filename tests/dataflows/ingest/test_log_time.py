"""The time a log had reached: what several users show, whatever clock one of them has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.ingest.log_time import LogTime
from schemas.records.events import ChatMessage

SKEW = 300_000
HOUR = 3_600_000
YEAR = 365 * 24 * HOUR


def _event(user: str, time: int) -> ChatMessage:
    return ChatMessage(event_id=f"{user}:{time}", event_time=time, user_id=user, channel="c")


def _stamps(*said: tuple[str, int]) -> list[int | None]:
    events = ((_event(user, time), number) for number, (user, time) in enumerate(said))
    found = list(LogTime(SKEW).stamped(events))
    assert [number for _, number, _ in found] == list(range(len(said)))
    return [stamp for _, _, stamp in found]


def test_a_log_in_order_arrives_when_it_happened() -> None:
    """Gaps of any length, ties and small disorder included; no two arrive at once."""
    said = [("a", 10), ("b", 20), ("a", 20), ("c", 15), ("a", YEAR), ("b", YEAR + 5), ("c", 2 * YEAR)]
    assert _stamps(*said) == [10, 20, 21, 22, YEAR, YEAR + 5, 2 * YEAR]


@pytest.mark.parametrize("at", [0, 1, 5, 19])
def test_a_row_ahead_of_everybody_behind_it_does_not_date_them(at: int) -> None:
    """The others arrive as if it were not there."""
    said = [(f"u{number % 6}", number * 1_000) for number in range(20)]
    stray = [*said[:at], ("x", 2 * YEAR), *said[at:]]
    stamps = _stamps(*stray)
    assert stamps[at] is None
    assert [*stamps[:at], *stamps[at + 1 :]] == _stamps(*said)


def test_many_rows_of_one_user_ahead_do_not_date_the_others() -> None:
    """However many in a row, and however small each of their steps."""
    said = [(f"u{number % 6}", number * 1_000) for number in range(20)]
    creeping = [("x", 8_000 + step * SKEW) for step in range(1, 500)]
    stamps = _stamps(*said[:8], *creeping, *said[8:])
    assert all(stamp is None for stamp in stamps[9:507])
    assert max(stamp or 0 for stamp in stamps[507:]) <= 19_000 + SKEW + 20


def test_a_log_of_one_user_has_nobody_to_ask() -> None:
    """Nor has the end of a log: what nobody contradicts is taken at its word."""
    assert _stamps(("a", 0), ("a", YEAR), ("a", 2 * YEAR)) == [0, YEAR, 2 * YEAR]
    assert _stamps(("a", 0), ("b", 1_000), ("a", YEAR)) == [0, 1_000, YEAR]


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 10**7)), max_size=60))
def test_arrivals_rise_strictly_and_are_never_before_the_event(said: list[tuple[str, int]]) -> None:
    """Whatever the disorder; nothing is skipped or swapped."""
    stamps = _stamps(*said)
    sent = [(stamp, time) for stamp, (_, time) in zip(stamps, said, strict=True) if stamp is not None]
    assert all(stamp >= time for stamp, time in sent)
    assert [stamp for stamp, _ in sent] == sorted({stamp for stamp, _ in sent})
