"""Whose clock is wrong: this machine's, or a record's."""

from __future__ import annotations

import logging

import pytest

from dataflows.sources.kafka.slow_clock import PATIENCE_MS, USERS, SlowClock
from dataflows.sources.kafka.watch import InputError

SKEW = 300_000
NOW = 1_000_000_000_000
TEN = 600_000


def judge(
    times: dict[str, int], *, after: int = 0, last: bool = False, full: bool = False, now: int = NOW
) -> tuple[bool, SlowClock]:
    """What is said of records, by user, some time (ms) after they were read."""
    clock = SlowClock("Topic chat partition 0", SKEW)
    for user, time in times.items():
        clock.see(user.encode(), time, NOW, 0)
    return clock.doubts(now, after, last=last, full=full), clock


def crowd(users: int, lead: int = TEN) -> dict[str, int]:
    """So many users who are ahead, each by a little more or less."""
    return {f"u{number}": NOW + lead - 500 * number for number in range(users)}


def test_a_record_in_the_near_future_is_of_no_interest() -> None:
    """As much as an event may be ahead of its record, a record may be ahead of this clock."""
    clock = SlowClock("Topic chat partition 0", SKEW)
    assert not clock.is_ahead(NOW + SKEW, NOW)
    assert clock.is_ahead(NOW + SKEW + 1, NOW)


def test_when_all_users_are_ahead_by_the_same_for_a_minute_the_clock_is_slow() -> None:
    """Not before, so that a clock may be set right; and the sentence says by how much it is slow."""
    assert judge(crowd(USERS), after=PATIENCE_MS - 1)[0]
    with pytest.raises(InputError, match=r"of 20 users are 596 s ahead of this machine's clock, .* set it right"):
        judge(crowd(USERS), after=PATIENCE_MS)
    with pytest.raises(InputError, match="so this clock is slow"):
        judge(crowd(USERS), last=True)


def test_a_clock_that_is_set_right_in_time_ends_the_doubt() -> None:
    """Nothing is ahead of it any more."""
    assert not judge(crowd(50), after=PATIENCE_MS, now=NOW + TEN)[0]


@pytest.mark.parametrize("others", [3, 30])
def test_one_user_in_ten_who_is_not_ahead_says_that_the_others_are_wrong(others: int) -> None:
    """Whenever they speak up: a flood of wrong clocks cannot stop a flow that anybody else is in."""
    honest = {f"honest{number}": NOW - 1_000 for number in range(others)}
    assert not judge({**crowd(9 * others - 1), **honest}, after=PATIENCE_MS)[0]
    with pytest.raises(InputError):
        judge({**crowd(9 * others), **honest}, after=PATIENCE_MS)


def test_clocks_that_disagree_with_each_other_are_their_owners() -> None:
    """Ours could be slow by one amount only."""
    assert not judge({f"u{n}": NOW + TEN * (n + 1) for n in range(50)}, after=PATIENCE_MS)[0]


def test_users_who_disagree_with_themselves_count_as_they_said_last() -> None:
    """One record ahead and the next one not: it was the record."""
    clock = SlowClock("Topic chat partition 0", SKEW)
    clock.see(b"ann", NOW + TEN, NOW, 0)
    assert clock.doubts(NOW, 0, last=False, full=False)
    clock.see(b"ann", NOW, NOW, 0)
    assert not clock.doubts(NOW, 0, last=False, full=False)


def test_however_many_records_of_few_users_never_stop_a_flow(caplog: pytest.LogCaptureFixture) -> None:
    """They wait for others, with one line; at the end of a log, and where no more can be held, they are let go."""
    few = crowd(USERS - 1)
    clock = SlowClock("Topic chat partition 0", SKEW)
    for user, time in few.items():
        clock.see(user.encode(), time, NOW, 0)
    with caplog.at_level(logging.WARNING):
        for after in range(0, 10 * PATIENCE_MS, PATIENCE_MS // 2):
            assert clock.doubts(NOW, after, last=False, full=False)
    assert len(caplog.messages) == 1
    assert "596 s ahead" in caplog.messages[0]
    assert not judge(few, full=True)[0]
    assert not judge(few, last=True)[0]


def test_a_doubt_that_ended_leaves_nothing_for_the_next() -> None:
    """Wrong records that come again and again, each followed by somebody else's, add up to nothing."""
    clock = SlowClock("Topic chat partition 0", SKEW)
    for number in range(10 * USERS):
        clock.see(b"u%d" % number, NOW + TEN, NOW, number * PATIENCE_MS)
        assert clock.doubts(NOW, number * PATIENCE_MS, last=False, full=False)
        clock.see(b"honest", NOW, NOW, number * PATIENCE_MS)
        assert not clock.doubts(NOW, number * PATIENCE_MS, last=False, full=False)
