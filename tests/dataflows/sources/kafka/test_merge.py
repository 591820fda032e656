"""Merging two feeds by time: what passes, what waits, and what never happens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.sources.kafka.merge import Feed, take

Feeds = tuple[Feed[str], Feed[str]]


def _feeds(first: list[int], second: list[int], *, first_ended: bool = False, second_ended: bool = False) -> Feeds:
    feeds = Feed[str](), Feed[str]()
    for feed, name, times in zip(feeds, "ab", (first, second), strict=True):
        for time in times:
            feed.push(time, 10, f"{name}{time}")
    feeds[0].at_end, feeds[1].at_end = first_ended, second_ended
    return feeds


def _items(feeds: Feeds, limit: int = 100) -> list[str]:
    return [item for _, _, item in take(*feeds, limit)]


def test_the_lowest_time_goes_first() -> None:
    """Items of both feeds leave in the order of their times."""
    assert _items(_feeds([1, 4, 6], [2, 3, 5], first_ended=True, second_ended=True)) == [
        "a1",
        "b2",
        "b3",
        "a4",
        "b5",
        "a6",
    ]


def test_at_equal_times_the_first_feed_goes_first() -> None:
    """A message and the report on it in the same millisecond keep cause before effect."""
    assert _items(_feeds([7], [7])) == ["a7"]
    assert _items(_feeds([7], [7], first_ended=True)) == ["a7", "b7"]


def test_a_slow_feed_is_waited_for() -> None:
    """While a feed that is not at its end holds nothing, nothing passes it, on either side."""
    assert _items(_feeds([1, 2], [])) == []
    assert _items(_feeds([], [1, 2])) == []
    assert _items(_feeds([1, 5], [3])) == ["a1", "b3"]


def test_a_feed_at_its_end_is_not_waited_for() -> None:
    """Idle means at the end of the log: then the other feed flows alone."""
    assert _items(_feeds([1, 2], [], second_ended=True)) == ["a1", "a2"]
    assert _items(_feeds([], [1, 2], first_ended=True)) == ["b1", "b2"]


def test_what_is_pushed_takes_the_end_back() -> None:
    """A feed that got a record is no longer known to be at its end."""
    first, second = _feeds([5], [], second_ended=True)
    second.push(1, 1, "late")
    assert not second.at_end
    assert _items((first, second)) == ["late"]


def test_the_limit_holds_and_the_rest_stays() -> None:
    """No more than the limit leaves, and the bytes held back are those of what stayed."""
    feeds = _feeds([1, 2, 3], [], second_ended=True)
    assert _items(feeds, 2) == ["a1", "a2"]
    assert feeds[0].bytes == 10
    assert _items(feeds, 2) == ["a3"]
    assert feeds[0].bytes == 0


@given(
    first=st.lists(st.integers(0, 50)),
    second=st.lists(st.integers(0, 50)),
    chunks=st.lists(st.tuples(st.booleans(), st.integers(1, 5), st.integers(1, 5)), max_size=60),
)
def test_however_records_arrive_each_feed_keeps_its_order_and_sorted_feeds_come_out_sorted(
    first: list[int], second: list[int], chunks: list[tuple[bool, int, int]]
) -> None:
    """Arrival in any pieces gives every item once, each feed in its own order; sorted inputs give a sorted output."""
    first, second = sorted(first), sorted(second)
    feeds, rest, out = _feeds([], []), (list(first), list(second)), []
    for which, count, limit in [*chunks, (False, 100, 100), (True, 100, 100), (False, 1, 200), (True, 1, 200)]:
        feed, waiting = feeds[which], rest[which]
        for time in waiting[:count]:
            feed.push(time, 1, f"{'ab'[which]}{time}")
        del waiting[:count]
        feed.at_end = not waiting
        out += take(*feeds, limit)
    assert [time for _, time, _ in out] == sorted(first + second)
    assert [item for feed, _, item in out if feed is feeds[0]] == [f"a{time}" for time in first]
    assert [item for feed, _, item in out if feed is feeds[1]] == [f"b{time}" for time in second]


def test_one_wrong_time_holds_up_nothing_that_follows_it() -> None:
    """A record dated years ahead takes its turn with its successors, and keeps the time it was stamped with."""
    chat, moderation = Feed[str](), Feed[str]()
    day = 86_400_000
    for time, item in ((1, "first"), (700 * day, "wrong"), (3, "third"), (5 * day, "last")):
        chat.push(time, 1, item)
    for time in (2, 4, 3 * day):
        moderation.push(time, 1, f"at {time}")
    chat.at_end = moderation.at_end = True
    taken = take(chat, moderation, 99)
    assert [item for _, _, item in taken] == ["first", "at 2", "wrong", "third", "at 4", f"at {3 * day}", "last"]
    assert [time for _, time, item in taken if item == "wrong"] == [700 * day]


@pytest.mark.parametrize("place", [0, 5, 30, 59])
@pytest.mark.parametrize("wrong", [1, 9_000 * 86_400_000])
def test_a_wrong_time_moves_no_other_item(place: int, wrong: int) -> None:
    """Dated back or ahead, first or last, it leaves all others in the order of their times."""
    start, chat, moderation = 8_000 * 86_400_000, Feed[int](), Feed[int]()
    times = [start + number * 7_200_000 for number in range(120)]
    for number, time in enumerate(times[::2]):
        if number == place:
            chat.push(wrong, 1, -1)
        chat.push(time, 1, time)
    for time in times[1::2]:
        moderation.push(time, 1, time)
    chat.at_end = moderation.at_end = True
    assert [item for _, _, item in take(chat, moderation, 999) if item >= 0] == times
