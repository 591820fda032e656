"""Labels against a naive recomputation: who is at risk, who escalates, and what exactly is learnt and taken back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.base.packed import unpack_vector
from detectors.profiles.user import CompiledPolicy, User
from schemas.records.events import Event
from tests.kit import feature_oracle as oracle
from tests.kit.label_oracle import Naive
from tests.kit.streams import LATENESS, LAWFUL, TTL, crowded, place, policy, streams
from tests.kit.thorough import examples

TARGETS: dict[str, dict[str, Any]] = {
    "three strikes for ever": {"when": [{"event": "sanction", "count": 3}], "horizon": "8d"},
    "one severe sanction": {"when": [{"event": "sanction", "min_severity": 4}], "horizon": "25h", "reset_after": "9d"},
    "two within a day, forgiven": {
        "when": [{"event": "sanction", "count": 2, "within": "1d"}],
        "horizon": "7d",
        "reset_after": "2h",
    },
    "reports or a severe sanction": {
        "when": [{"event": "report", "count": 3, "within": "8h"}, {"event": "sanction", "min_severity": 3}],
        "horizon": "1h",
        "reset_after": "30d",
    },
    "every further one": {
        "when": [{"event": "any", "min_severity": 3, "count": 2}],
        "horizon": "7d",
        "recurring": True,
    },
    "every further burst": {
        "when": [{"event": "report", "count": 3, "within": "2h"}, {"event": "sanction", "min_severity": 5}],
        "horizon": "7d",
        "recurring": True,
        "reset_after": "20d",
    },
}


def walk(events: list[Event], target: dict[str, Any], learning: dict[str, Any]) -> tuple[int, int, int]:
    """Compare every step with the naive target; how many escalations, reversals of them, and kept-out points."""
    rules = policy(target=target, learning=learning, profile_ttl=TTL)
    user, naive = User(CompiledPolicy(rules)), Naive(rules)
    clock, counts = -1, [0, 0, 0]
    for number, (event, (outcome, anew)) in enumerate(zip(events, oracle.outcomes(events, LATENESS, TTL), strict=True)):
        if anew:
            naive, clock = Naive(rules), -1
        before = user.dump()
        user = User.load(before, user.rules)
        step = user.step(event, place(number))
        assert step.outcome == outcome
        if outcome != "seen":
            assert (step.point, step.examples, step.turns) == (None, (), ())
            assert user.dump() == before
            continue
        clock = max(clock, event.event_time)
        wanted = naive.hear(event, clock)
        taught = wanted.taught
        assert [(turn.kind, turn.time) for turn in step.turns] == wanted.turns, f"event {number}"
        assert (step.point is not None) == wanted.at_risk, f"event {number}"
        if step.point is not None:
            taught = taught + naive.serve(event.user_id, step.point.events, clock, step.point.vector)
        assert repr([(e.known_at, e.vector, e.label, e.weight) for e in step.examples]) == repr(taught), (
            f"event {number}"
        )
        assert {e.user_id for e in step.examples} <= {event.user_id}
        pending = [(waiting.priority, waiting.as_of, unpack_vector(waiting.vector)) for waiting in user.history.pending]
        assert repr(pending) == repr(naive.waiting), f"event {number}"
        for index, happened in enumerate((step.escalated, step.overturned, step.point is None)):
            counts[index] += happened
    return counts[0], counts[1], counts[2]


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@settings(LAWFUL, max_examples=examples(40))
@given(events=streams, pending=st.sampled_from((1, 3, 8, 64)), sample=st.sampled_from((1.0, 0.5, 0.1)))
def test_labels_are_what_a_naive_recomputation_says(
    target: dict[str, Any],
    events: list[Event],
    pending: int,
    sample: float,
) -> None:
    """Risk, escalations, positives, their weights and what reversals take back follow from the whole list of facts."""
    walk(events, target, {"pending": pending, "sample": sample})


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_long_streams_of_labels_agree_too(target: dict[str, Any]) -> None:
    """Long enough that every kind of escalation and of reversal occurs: a comparison that nothing happened is none."""
    found = [walk(crowded(seed, 90), target, {"pending": 4}) for seed in range(16)]
    escalated, overturned, kept_out = (sum(column) for column in zip(*found, strict=True))
    assert escalated > 0
    assert overturned > 0
    assert (kept_out > 0) != target.get("recurring", False)
