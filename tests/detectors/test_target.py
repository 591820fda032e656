"""The target in golden scenarios: what escalates, who is at risk, and what that teaches."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from detectors.features.signals import stable_hash
from detectors.target import FACTS_CAP
from detectors.user import Rulebook, User
from schemas.records import Event
from tests.properties.streams import DAY, HOUR, START, message, place, policy, report, reversal, sanction

THREE = {"when": [{"event": "sanction", "count": 3}], "horizon": "30d"}


class Row(NamedTuple):
    """An event, and what it is to come to."""

    event: Event
    escalated: bool = False
    overturned: bool = False
    served: bool = True
    positives: int = 0
    weight: float = 1.0


def at(days: float) -> int:
    """Days after the start, in milliseconds."""
    return START + int(days * DAY)


SCENARIOS: dict[str, tuple[dict[str, Any], list[Row]]] = {
    "the third strike escalates for ever": (
        THREE,
        [
            Row(message("m", at(0))),
            Row(sanction("s1", at(1))),
            Row(sanction("s2", at(300))),
            Row(sanction("s3", at(301)), escalated=True, served=False, positives=1),
            Row(message("n", at(650)), served=False),
        ],
    ),
    "only what lies within the horizon is a positive": (
        {"when": [{"event": "sanction"}], "horizon": "2d"},
        [
            Row(message("too early", at(0))),
            Row(message("just within", at(1))),
            Row(message("b", at(2))),
            Row(sanction("s", at(3)), escalated=True, served=False, positives=2),
        ],
    ),
    "a mild sanction does not count": (
        {"when": [{"event": "sanction", "min_severity": 3}], "horizon": "7d"},
        [
            Row(sanction("s1", at(0), severity=2)),
            Row(sanction("s2", at(1), severity=3), escalated=True, served=False, positives=1),
        ],
    ),
    "strikes too far apart do not count together": (
        {"when": [{"event": "sanction", "count": 2, "within": "1d"}], "horizon": "7d"},
        [
            Row(sanction("s1", at(0))),
            Row(sanction("s2", at(1.5))),
            Row(sanction("s3", at(2.5)), escalated=True, served=False, positives=2),
        ],
    ),
    "a strike heard of late completes the burst it belongs to": (
        {"when": [{"event": "sanction", "count": 2, "within": "1h"}], "horizon": "7d"},
        [
            Row(sanction("s1", at(0))),
            Row(sanction("s3", at(0.9))),
            Row(sanction("s2", at(0) + HOUR // 2), escalated=True, served=False, positives=1),
        ],
    ),
    "a report does not complete what only sanctions make": (
        {
            "when": [{"event": "sanction"}, {"event": "report", "count": 3}],
            "horizon": "7d",
            "recurring": True,
        },
        [
            Row(sanction("s", at(0)), escalated=True),
            Row(report("r1", at(0))),
            Row(report("r2", at(2))),
            Row(report("r3", at(3)), escalated=True, positives=3),
        ],
    ),
    "any counts reports and severe sanctions together": (
        {"when": [{"event": "any", "min_severity": 4, "count": 2}], "horizon": "7d"},
        [
            Row(sanction("s1", at(0), severity=3)),
            Row(report("r", at(0.1))),
            Row(sanction("s2", at(0.2), severity=4), escalated=True, served=False, positives=2),
        ],
    ),
    "a user is forgiven after a while, and starts anew": (
        {"when": [{"event": "sanction", "count": 2}], "horizon": "7d", "reset_after": "10d"},
        [
            Row(sanction("s1", at(0))),
            Row(sanction("s2", at(1)), escalated=True, served=False, positives=1),
            Row(message("out", at(10.9)), served=False),
            Row(message("back", at(11))),
            Row(sanction("s3", at(12))),
            Row(sanction("s4", at(13)), escalated=True, served=False, positives=2),
        ],
    ),
    "a recurring target keeps the user at risk": (
        {"when": [{"event": "sanction", "count": 2}], "horizon": "7d", "recurring": True},
        [
            Row(sanction("s1", at(0))),
            Row(sanction("s2", at(1)), escalated=True, positives=1),
            Row(message("m", at(2))),
            Row(sanction("s3", at(3)), escalated=True, positives=2),
        ],
    ),
    "an overturned strike puts the user back at risk and takes its positives back": (
        THREE,
        [
            Row(message("m", at(0))),
            Row(sanction("s1", at(1))),
            Row(sanction("s2", at(2))),
            Row(sanction("s3", at(3)), escalated=True, served=False, positives=3),
            Row(reversal("r", at(4), "s1"), overturned=True, positives=3, weight=-1.0),
            Row(sanction("s4", at(5)), escalated=True, served=False, positives=1),
        ],
    ),
    "a reversal that leaves enough strikes changes nothing": (
        THREE,
        [
            Row(sanction("s1", at(1))),
            Row(sanction("s2", at(2))),
            Row(sanction("s3", at(3)), escalated=True, served=False, positives=2),
            Row(sanction("s4", at(4)), served=False),
            Row(reversal("r", at(5), "s2"), served=False),
            Row(reversal("q", at(6), "s3"), overturned=True, positives=2, weight=-1.0),
        ],
    ),
    "a burst still stands when something after it is overturned": (
        {"when": [{"event": "sanction", "count": 2, "within": "1h"}], "horizon": "7d"},
        [
            Row(sanction("s1", at(0))),
            Row(sanction("s2", at(0) + HOUR), escalated=True, served=False, positives=1),
            Row(sanction("s3", at(2)), served=False),
            Row(sanction("s4", at(4)), served=False),
            Row(reversal("r", at(5), "s4"), served=False),
        ],
    ),
    "a reversal heard before its sanction keeps it from counting": (
        {"when": [{"event": "sanction"}], "horizon": "7d"},
        [Row(reversal("r", at(0), "s")), Row(sanction("s", at(0))), Row(reversal("again", at(1), "s"))],
    ),
    "a reversal of something unknown, or of the same twice, changes nothing": (
        {"when": [{"event": "sanction"}], "horizon": "7d"},
        [
            Row(message("m", at(0))),
            Row(reversal("r", at(0), "nothing")),
            Row(sanction("s", at(1)), escalated=True, served=False, positives=2),
            Row(reversal("q", at(2), "s"), overturned=True, positives=2, weight=-1.0),
            Row(reversal("p", at(3), "s")),
        ],
    ),
}


@pytest.mark.parametrize(("target", "rows"), SCENARIOS.values(), ids=SCENARIOS)
def test_a_golden_scenario_of_labels(target: dict[str, Any], rows: list[Row]) -> None:
    """Each row: an event, whether it escalates or takes back, whether it is served, and how many positives it gives."""
    user = User(Rulebook(policy(target=target)))
    for number, row in enumerate(rows):
        step = user.step(row.event, place(number))
        positives = [example for example in step.examples if example.label]
        got = (step.escalated, step.overturned, step.point is not None, len(positives))
        assert got == (row.escalated, row.overturned, row.served, row.positives), row.event.event_id
        assert {example.weight for example in positives} <= {row.weight}
        assert {example.known_at for example in step.examples} <= {row.event.event_time}
        assert len(step.examples) == len(positives) + (step.point is not None)


def test_positives_carry_the_vectors_as_they_were_served() -> None:
    """The very vector of the point, not one recomputed at the time of the sanction; and so does what is taken back."""
    user = User(Rulebook(policy(target={"when": [{"event": "sanction"}], "horizon": "7d"})))
    events = [
        message("a", at(0)),
        message("b", at(0.5)),
        report("c", at(1)),
        sanction("s", at(2)),
        reversal("r", at(3), "s"),
    ]
    steps = [user.step(event, place(number)) for number, event in enumerate(events)]
    served = [repr(step.point.vector) for step in steps[:3] if step.point is not None]
    assert [repr(example.vector) for example in steps[3].examples] == served
    taken_back = [example for example in steps[4].examples if example.label]
    assert [repr(example.vector) for example in taken_back] == served
    assert [example.weight for example in taken_back] == [-example.weight for example in steps[3].examples]


def test_the_reservoir_keeps_the_points_with_the_lowest_hashes() -> None:
    """A uniform sample without random numbers, and each kept point stands for the ones that were not kept."""
    user = User(Rulebook(policy(target={"when": [{"event": "sanction"}], "horizon": "7d"}, learning={"pending": 8})))
    names = [f"m{number}" for number in range(24)]
    for number, name in enumerate(names):
        user.step(message(name, START + number), place(number))
        lowest = sorted(stable_hash(seen) for seen in names[: number + 1])[:8]
        assert sorted(waiting.priority for waiting in user.history.pending) == lowest
    step = user.step(sanction("s", START + 30), place(30))
    assert [example.weight for example in step.examples] == [3.0] * 8


def test_a_kept_point_stands_for_four_at_most() -> None:
    """One example must not move a model far, however many points it stands for."""
    user = User(Rulebook(policy(target={"when": [{"event": "sanction"}], "horizon": "7d"}, learning={"pending": 1})))
    for number in range(40):
        user.step(message(f"m{number}", START + number), place(number))
    step = user.step(sanction("s", START + 50), place(50))
    assert [example.weight for example in step.examples] == [4.0]


@pytest.mark.parametrize("sample", [0.1, 0.5])
def test_only_the_sampled_share_of_points_is_learnt_as_negative(sample: float) -> None:
    """Chosen by hash, so that every replay learns the same ones; positives are not thinned out."""
    user = User(Rulebook(policy(target={"when": [{"event": "sanction"}]}, learning={"sample": sample})))
    events = [message(f"m{number}", START + number) for number in range(2_000)]
    learnt = sum(len(user.step(event, place(number)).examples) for number, event in enumerate(events))
    assert learnt / 2_000 == pytest.approx(sample, abs=0.04)
    assert len(user.step(sanction("s", START + 3_000), place(0)).examples) == 8


def test_a_sanction_delivered_again_after_its_id_was_forgotten_is_no_second_strike() -> None:
    """Beyond the ids a profile remembers, the target and the ledger still know their own sanctions."""
    user = User(Rulebook(policy(target=THREE)))
    events = [
        sanction("s", at(0)),
        *(message(f"m{n}", at(0) + n) for n in range(99)),
        sanction("s", at(0)),
        sanction("s", at(0)),
    ]
    steps = [user.step(event, place(number)) for number, event in enumerate(events)]
    assert [step.outcome for step in steps[-2:]] == ["seen", "duplicate"]
    assert steps[-2].point is not None
    assert steps[-2].point.vector[User(Rulebook(policy())).rules.plan.names.index("strike_count")] == 1
    more = [user.step(sanction(f"t{n}", at(1)), place(n)).escalated for n in range(2)]
    assert more == [False, True]


def test_facts_are_bounded_and_the_latest_are_kept() -> None:
    """Of very many reports only the last few can still make a burst."""
    user = User(Rulebook(policy(target={"when": [{"event": "report", "count": 32, "within": "31s"}]})))
    for number in range(200):
        user.step(report(f"r{number}", START + number * 1_001), place(number))
    assert len(user.history.facts) == FACTS_CAP
    burst = [
        user.step(report(f"b{number}", START + 201 * 1_001 + number), place(number)).escalated for number in range(32)
    ]
    assert burst.index(True) > 0
