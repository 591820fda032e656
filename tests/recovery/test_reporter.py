"""The verdict of a chaos run: what it counts as lost, doubled and strange."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.recovery.reporter import Found, Scenario, judge, table

SCENARIO = Scenario(2, learning=False, kills=20)
WHOLE = Found(Counter("abc"), frozenset("abc"), frozenset("123"), frozenset("12"), 4, 4, 9.0)


def test_a_run_that_kept_everything_is_kept() -> None:
    """Each id once, every point served, every poisoned record a dead letter; points may be served twice."""
    row = judge(SCENARIO, WHOLE)
    assert row.kept
    assert table([row]).splitlines()[-1] == "20 kills: 0 lost, 0 doubled: the promise was kept"


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"ids": Counter("ab")}, "lost"),
        ({"ids": Counter("aabc")}, "doubled"),
        ({"ids": Counter("abcd")}, "strangers"),
        ({"points": frozenset("1")}, "unserved"),
        ({"rejects": 3}, "poison_lost"),
    ],
)
def test_whatever_is_wrong_breaks_the_promise(change: dict[str, object], column: str) -> None:
    """One of anything is enough, and it stands in its own column."""
    row = judge(SCENARIO, WHOLE._replace(**change))
    assert getattr(row, column) == 1
    assert not row.kept
    assert table([judge(SCENARIO, WHOLE), row]).splitlines()[-1].endswith("the promise was BROKEN")


def test_where_ids_depend_on_timing_only_repeats_and_gaps_count() -> None:
    """Learning live has no uninterrupted twin: ids are looked at for repeats, points for gaps."""
    learning = SCENARIO._replace(learning=True)
    assert judge(learning, WHOLE._replace(expected=None, ids=Counter("xyz"))).kept
    assert judge(learning, WHOLE._replace(expected=None, ids=Counter("xxy"))).doubled == 1
