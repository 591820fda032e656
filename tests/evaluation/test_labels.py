"""Labels as evaluation sees them, point by point, against logs that can be counted by hand."""

from __future__ import annotations

import numpy as np

from evaluation.labels import Labels, Question, label, upheld

Outcome = tuple[int, str, int, int]
CODES = {"ann": 0, "bob": 1, "mallory": 2, "one": 3, "two": 4}


def outcome(user_id: str, at: int, seq: int, *, overturned: bool = False) -> Outcome:
    return CODES[user_id], "overturned" if overturned else "escalated", at, seq


def of(
    points: list[tuple[str, int]],
    *outcomes: Outcome,
    horizon: int = 10,
    question: Question = "horizon",
    ahead: int = 0,
) -> Labels:
    """Labels of points at every other place of the log; two users of their own end it at time 100."""
    points = [*points, ("one", 100), ("two", 100)]
    user = np.array([CODES[user] for user, _ in points], dtype=np.int64)
    times = np.array([time for _, time in points], dtype=np.int64)
    places = np.arange(len(points), dtype=np.int64) * 2
    return label(question, user, times, places, upheld(outcomes), horizon, ahead)


def labelled(points: list[tuple[str, int]], *outcomes: Outcome) -> tuple[list[bool], list[bool]]:
    """Labels and maturity, without the two users at the end."""
    labels = of(points, *outcomes)
    return labels.positive[:-2].tolist(), labels.mature[:-2].tolist()


def test_a_point_is_positive_if_its_user_escalates_within_the_horizon() -> None:
    """From the point's own time to the horizon's end, both included; of that user only."""
    points = [("ann", 4), ("ann", 5), ("bob", 9), ("ann", 15), ("ann", 15)]
    labels, _ = labelled(points, outcome("ann", 15, 9))
    assert labels == [False, True, False, True, True]


def test_the_point_of_the_escalating_event_itself_is_not_a_prediction() -> None:
    """Where users stay at risk, what escalates makes a point too, and its features know already."""
    labels, _ = labelled([("ann", 5), ("ann", 5), ("ann", 5)], outcome("ann", 5, 2))
    assert labels == [True, False, False]


def test_an_overturned_escalation_counts_for_nothing() -> None:
    """The one before it still does."""
    points = [("ann", 5), ("ann", 30)]
    assert labelled(points, outcome("ann", 30, 3), outcome("ann", 31, 5, overturned=True))[0] == [False, False]
    both = labelled(points, outcome("ann", 6, 1), outcome("ann", 31, 3), outcome("ann", 32, 5, overturned=True))
    assert both[0] == [True, False]


def test_a_label_is_not_counted_before_its_time() -> None:
    """A point is mature when the log goes on for its whole horizon."""
    assert labelled([("ann", 89), ("ann", 90), ("ann", 91)])[1] == [True, True, False]


def test_one_poisoned_clock_does_not_make_the_log_longer() -> None:
    """A user a year ahead of all others lets nobody's label mature early."""
    assert labelled([("ann", 91), ("mallory", 10**9)])[1] == [False, False]


def test_no_points_have_no_labels() -> None:
    """An empty log is no error."""
    none = np.empty(0, np.int64)
    for question in ("horizon", "next"):
        labels = label(question, none, none, none, upheld([outcome("ann", 1, 1)]), 10)
        assert [len(column) for column in labels] == [0, 0, 0, 0]


def test_asked_for_the_next_step_only_the_last_point_before_an_escalation_is_positive() -> None:
    """As papers on ban prediction ask it: every row answers, also the last ones of the log."""
    labels = of([("ann", 5), ("bob", 6), ("ann", 7), ("ann", 20)], outcome("ann", 7, 5), question="next")
    assert labels.positive.tolist() == [False, False, True, False, False, False]
    assert labels.mature.all()


def test_a_label_is_known_when_its_horizon_has_passed_or_the_next_step_is_taken() -> None:
    """What a floor that is refitted every day may learn from: never a label of tomorrow."""
    points, escalated = [("ann", 5), ("bob", 6)], outcome("ann", 12, 3)
    assert of(points, escalated).known_at[:2].tolist() == [15, 16]
    assert of(points, escalated, question="next").known_at[:2].tolist() == [12, 6]


def test_what_comes_too_soon_to_be_told_of_is_neither_a_yes_nor_a_no() -> None:
    """Asked for three ahead: three are enough, two are not, unless another comes later within the horizon."""
    points = [("ann", 2), ("ann", 3), ("bob", 3), ("ann", 5), ("ann", 7)]
    labels = of(points, outcome("ann", 5, 6), ahead=3)
    assert labels.positive[:5].tolist() == [True, False, False, False, False]
    assert labels.late[:5].tolist() == [False, True, False, False, False]
    assert labels.answered[:5].tolist() == [True, False, True, True, True]
    again = of(points, outcome("ann", 5, 6), outcome("ann", 12, 9), ahead=3)
    assert again.positive[:5].tolist() == [True, True, False, True, True]
    assert not again.late.any()


def test_the_escalation_that_was_overturned_is_taken_away_and_not_the_latest() -> None:
    """Two bans, the first of which was a mistake: what came before the second alone was foretold."""
    points = [("ann", 5), ("ann", 30)]
    first, second = (0, "escalated", 6, 1, "first"), (0, "escalated", 31, 3, "second")
    assert labelled(points, first, second, (0, "overturned", 32, 5, "first"))[0] == [False, True]  # type: ignore[arg-type]
    assert labelled(points, first, second, (0, "overturned", 32, 5, "second"))[0] == [True, False]  # type: ignore[arg-type]
    assert labelled(points, first, second, (0, "overturned", 32, 5, "third"))[0] == [True, True]  # type: ignore[arg-type]


def test_events_of_one_row_do_not_foretell_each_other() -> None:
    """The points a row makes before its ban say neither yes nor no; the one before the row does."""
    points = [("ann", 4), ("ann", 5), ("ann", 5)]
    of_row = (0, "escalated", 5, 5, "ban", 2)
    labels = of(points, of_row)  # type: ignore[arg-type]
    assert labels.positive[:3].tolist() == [True, False, False]
    assert labels.answered[:3].tolist() == [True, False, False]
    following = of(points, of_row, question="next")  # type: ignore[arg-type]
    assert following.positive[:3].tolist() == [True, False, False]
    assert following.answered[:3].tolist() == [True, False, False]
    again = of(points, of_row, (0, "escalated", 9, 7, "another"))  # type: ignore[arg-type]
    assert again.positive[:3].tolist() == again.answered[:3].tolist() == [True, True, True]
