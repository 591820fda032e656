"""Scorers: an alarm when a new version says something else than the last did, and only then."""

from __future__ import annotations

import random

from detectors.monitoring.scorers import SCORERS, VERSIONS, WINDOW, Scored, Scorers, looked_at


def said(version: str, number: int, seed: int, skew: float = 4.0, scorer: str = "toxic") -> list[Scored]:
    """Results of a version: most are low, and the lower the larger `skew` is."""
    rng = random.Random(seed)
    return [Scored(scorer, version, rng.random() ** skew) for _ in range(number)]


def test_a_version_that_says_the_same_is_compared_and_raises_no_alarm() -> None:
    """Forty times a new version with the same distribution."""
    scorers = Scorers()
    scorers.take(said("v0", 2 * WINDOW, seed=0))
    for number in range(1, 41):
        assert scorers.take(said(f"v{number}", WINDOW, seed=number)) == [("toxic", False)]


def test_a_version_with_another_distribution_raises_one_alarm() -> None:
    """At its full window, not before, and once however long it goes on; going back to a known one is none."""
    scorers = Scorers()
    scorers.take(said("v1", 3 * WINDOW, seed=1))
    assert scorers.take(said("v2", WINDOW - 1, seed=2, skew=1.5)) == []
    assert scorers.take(said("v2", 1, seed=3, skew=1.5)) == [("toxic", True)]
    assert scorers.take(said("v2", 5 * WINDOW, seed=4, skew=1.5)) == []
    assert scorers.take(said("v1", 5 * WINDOW, seed=5)) == []


def test_versions_that_run_side_by_side_are_compared_once() -> None:
    """While one is rolled out, both speak in turn."""
    scorers = Scorers()
    scorers.take(said("v1", WINDOW, seed=1))
    mixed = said("v1", 6 * WINDOW, seed=2) + said("v2", 6 * WINDOW, seed=3, skew=1.5)
    random.Random(4).shuffle(mixed)
    assert scorers.take(mixed) == [("toxic", True)]


def test_the_first_version_of_a_scorer_is_compared_with_nothing() -> None:
    """Neither with itself nor with another scorer."""
    scorers = Scorers()
    assert scorers.take(said("v1", 3 * WINDOW, seed=1)) == []
    assert scorers.take(said("v1", 3 * WINDOW, seed=2, skew=1.0, scorer="spam")) == []


def test_made_up_scorers_and_versions_take_no_room_and_drive_nobody_out() -> None:
    """Whatever names come, the state stays small, and a scorer that has filled a window is still known."""
    scorers = Scorers()
    scorers.take(said("v1", WINDOW, seed=1))
    for number in range(3_000):
        scorers.take([Scored(f"s{number}", "1", 0.5), Scored("toxic", f"w{number}", 0.5)])
    state = scorers.state()
    assert len(state) == SCORERS
    assert all(len(versions) <= VERSIONS for _, _, versions in state)
    assert scorers.take(said("v2", WINDOW, seed=2, skew=1.5)) == [("toxic", True)]


def test_where_all_places_are_taken_for_good_a_new_scorer_is_not_heard() -> None:
    """It is without effect, and those that are there go on."""
    scorers = Scorers()
    for number in range(SCORERS):
        scorers.take(said("v1", WINDOW, seed=number, scorer=f"s{number}"))
    before = scorers.state()
    assert scorers.take(said("v1", 3 * WINDOW, seed=1, scorer="late")) == []
    assert scorers.state() == before
    assert scorers.take(said("v2", WINDOW, seed=1, skew=1.5, scorer="s7")) == [("s7", True)]


def test_a_restart_between_two_versions_hides_nothing() -> None:
    """A new version of our own scorer comes with a restart, so what the last one said is in the state."""
    scorers = Scorers()
    scorers.take(said("v1", WINDOW + 9, seed=1))
    again = Scorers()
    again.restore(scorers.state())
    assert again.state() == scorers.state()
    assert again.take(said("v2", WINDOW, seed=2, skew=1.5)) == [("toxic", True)]


def test_one_message_in_eight_is_looked_at_on_any_stretch_of_the_log() -> None:
    """The sample is even, and the same in every run."""
    for start in (0, 10**6, 2**40):
        chosen = [seq for seq in range(start, start + 8_000) if looked_at(seq)]
        assert 990 <= len(chosen) <= 1_010
