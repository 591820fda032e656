"""Which users of a lane are due to be dropped, by the days on which they were last heard of."""

from __future__ import annotations

from dataflows.testing import START
from detectors.profiles.idle import DAY, LEAST, MARGIN, NEVER, Idle

KEEP = 40 * DAY
KEPT = KEEP + MARGIN
TODAY = START // DAY
OTHERS = [f"other-{number}" for number in range(LEAST)]
"""So many users that their clocks are taken to be right."""


def test_a_user_is_due_when_the_days_that_count_have_passed_and_not_before() -> None:
    """Whole days: nobody is due whose clock is less than the kept time behind."""
    idle = Idle(KEEP)
    idle.move("ann", 0, START, NEVER)
    for user in OTHERS:
        idle.move(user, 0, START + KEPT, NEVER)
    assert idle.due(99) == []
    for user in OTHERS:
        idle.move(user, 0, (TODAY + 1) * DAY + KEPT, (START + KEPT) // DAY)
    assert idle.due(99) == [("ann", (TODAY + 1) * DAY)]
    assert idle.due(99) == []


def test_a_user_who_moved_on_is_listed_once_and_due_by_the_last_day() -> None:
    """Being heard of takes a user off the day they were listed under."""
    idle = Idle(KEEP)
    idle.move("ann", 0, START, NEVER)
    idle.move("ann", 0, START + 40 * DAY, TODAY)
    for user in OTHERS:
        idle.move(user, 0, START + KEPT + 20 * DAY, NEVER)
    assert idle.due(99) == []
    idle.drop("ann", 0, TODAY + 40)
    for user in OTHERS:
        idle.move(user, 0, START + 2 * KEPT, TODAY + 20 + KEPT // DAY)
    assert idle.due(99) == []


def test_no_more_users_are_handed_out_than_may_be() -> None:
    """The rest comes with the calls that follow, each once."""
    idle = Idle(KEEP)
    for number in range(100):
        idle.move(f"u{number}", 0, START, NEVER)
    for user in [*OTHERS, *(f"more-{number}" for number in range(100))]:
        idle.move(user, 0, START + 2 * KEPT, NEVER)
    due = [idle.due(30) for _ in range(5)]
    assert [len(users) for users in due] == [30, 30, 30, 10, 0]
    assert {user for users in due for user, _ in users} == {f"u{number}" for number in range(100)}


def test_few_users_with_wrong_clocks_make_nobody_due() -> None:
    """One in twenty, years ahead, whenever they come; and nobody is due while too few users are known."""
    idle = Idle(KEEP)
    idle.move("ann", 0, START, NEVER)
    for number in range(3):
        idle.move(f"wrong-{number}", 0, START + 900 * DAY, NEVER)
    assert idle.due(99) == []
    for number in range(57):
        idle.move(f"right-{number}", 0, START + DAY, NEVER)
        assert idle.due(99) == []
    for number in range(57):
        idle.move(f"right-{number}", 0, START + 2 * KEPT, TODAY + 1)
    assert "ann" in dict(idle.due(99))
