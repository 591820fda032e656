"""Which users of a lane are due to be dropped, by the days on which they were last heard of."""

from __future__ import annotations

from dataflows.testing import START
from detectors.idle import DAY, MARGIN, NEVER, Idle

KEEP = 40 * DAY
KEPT = KEEP + MARGIN
TODAY = START // DAY


def test_a_user_is_due_when_the_days_that_count_have_passed_and_not_before() -> None:
    """Whole days: nobody is due whose clock is less than the kept time behind."""
    idle = Idle(KEEP)
    idle.move("ann", 0, START, NEVER)
    for user in ("bob", "cid"):
        idle.move(user, 0, START + KEPT, NEVER)
    assert idle.due(99) == []
    for user in ("dan", "eve"):
        idle.move(user, 0, (TODAY + 1) * DAY + KEPT, NEVER)
    assert idle.due(99) == [("ann", (TODAY + 1) * DAY)]
    assert idle.due(99) == []


def test_a_user_who_moved_on_is_listed_once_and_due_by_the_last_day() -> None:
    """Being heard of takes a user off the day they were listed under."""
    idle = Idle(KEEP)
    idle.move("ann", 0, START, NEVER)
    idle.move("ann", 0, START + 40 * DAY, TODAY)
    for user in ("bob", "cid"):
        idle.move(user, 0, START + KEPT + 20 * DAY, NEVER)
    assert idle.due(99) == []
    idle.drop("ann", 0, TODAY + 40)
    for user in ("bob", "cid"):
        idle.move(user, 0, START + 2 * KEPT, TODAY + 20 + KEPT // DAY)
    assert idle.due(99) == []


def test_no_more_users_are_handed_out_than_may_be() -> None:
    """The rest comes with the calls that follow, each once."""
    idle = Idle(KEEP)
    for number in range(100):
        idle.move(f"u{number}", 0, START, NEVER)
    for user in ("bob", "cid"):
        idle.move(user, 0, START + 2 * KEPT, NEVER)
    due = [idle.due(30) for _ in range(5)]
    assert [len(users) for users in due] == [30, 30, 30, 10, 0]
    assert {user for users in due for user, _ in users} == {f"u{number}" for number in range(100)}
