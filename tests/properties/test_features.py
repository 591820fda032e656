"""Profiles against the oracle that recomputes every feature from the list of events."""

from __future__ import annotations

from itertools import product
from math import isclose, isnan
from typing import get_args

import pytest
from hypothesis import given, settings

from detectors.base.elementary import FADED
from detectors.features.catalogue import CATALOGUE
from detectors.features.declare import (
    HOPS,
    Aggregate,
    ChannelFeature,
    Decay,
    Feature,
    Happening,
    Ratio,
    Session,
    Shift,
    Since,
    StrikeCount,
    Surrounding,
    TokenNgram,
    Trend,
    Window,
)
from detectors.features.plan import compile_plan
from detectors.features.signals import SIGNALS
from detectors.features.tokens import LONGEST
from detectors.profiles.user import CompiledPolicy, User
from schemas.records.events import Event
from tests.kit import feature_oracle as oracle
from tests.kit.streams import (
    HOUR,
    LATENESS,
    LAWFUL,
    TTL,
    crowded,
    found_by,
    message,
    place,
    policy,
    report,
    streams,
)
from tests.kit.thorough import THOROUGH

pytestmark = pytest.mark.slow

POLICY = policy(target={"recurring": True}, profile_ttl=TTL)  # everybody stays at risk, so every event is served


def declarable() -> list[Feature]:
    """Everything that can be declared: every aggregate of every signal over every span that goes together."""
    wanted: list[Feature] = [StrikeCount(), Since("first"), *map(TokenNgram, range(1, LONGEST + 1))]
    wanted += [*map(Session, get_args(Happening)), *map(ChannelFeature, get_args(Surrounding))]
    for signal in SIGNALS:
        wanted += [Since(signal), Decay(signal, "90s"), Decay(signal, "30d")]
        wanted += [Window(signal, aggregate, span) for aggregate, span in product(_AGGREGATES, HOPS)]
        wanted += [
            Trend(signal, "5m", "1h"),
            Trend(signal, "24h", "30d"),
            Shift(signal, "5m", "1h"),
            Shift(signal, "24h", "30d"),
            Ratio(signal, "7d"),
            Ratio(signal, "1h", "report"),
        ]
    return [feature for feature in wanted if _goes_together(feature)]


_AGGREGATES = get_args(Aggregate)


def _goes_together(feature: Feature) -> bool:
    try:
        compile_plan([feature], 1)
    except ValueError:
        return False
    return True


def exact(feature: Feature) -> bool:
    """Whether a feature is a whole number or a plain difference of times, and so agrees to the last bit."""
    return isinstance(feature, Since | StrikeCount | TokenNgram | Session | ChannelFeature) or (
        isinstance(feature, Window) and feature.aggregate in ("count", "distinct", "max")
    )


def agree(feature: Feature, got: float, wanted: float) -> bool:
    """Whether a served value is the oracle's."""
    if isnan(wanted) or isnan(got):
        return isnan(wanted) and isnan(got)
    if isinstance(feature, Shift) or (isinstance(feature, Window) and feature.aggregate == "spread"):
        return isclose(got, wanted, rel_tol=1e-9, abs_tol=1e-6)  # differences of like numbers
    return got == wanted if exact(feature) else isclose(got, wanted, rel_tol=1e-9, abs_tol=1e3 * FADED)


def check(events: list[Event], features: tuple[Feature, ...] = CATALOGUE, every: int = 1) -> None:
    """Walk the events through a user, and compare each served vector with the oracle's."""
    rules = CompiledPolicy(POLICY)
    rules.plan = compile_plan(features, POLICY.strike_expiry)
    user, seen = User(rules), []
    for number, (event, (outcome, anew)) in enumerate(zip(events, oracle.outcomes(events, LATENESS, TTL), strict=True)):
        step = user.step(event, place(number), found_by(event))
        seen = [] if anew else seen
        assert step.outcome == outcome
        if outcome != "seen":
            assert step.point is None
            continue
        seen.append(event)
        assert step.point is not None
        assert step.point.events == len(seen)
        assert step.point.as_of == max(event.event_time for event in seen)
        if number % every:
            continue
        for feature, got in zip(features, step.point.vector, strict=True):
            wanted = oracle.feature(feature, seen, POLICY.strike_expiry)
            assert agree(feature, got, wanted), f"{feature.name} after event {number} is {got}, not {wanted}"


@settings(LAWFUL)
@given(streams)
def test_every_served_vector_is_what_the_oracle_recomputes(events: list[Event]) -> None:
    """Disorder, ties, duplicates, reversals and long gaps change nothing about any feature's definition.

    After a silence longer than a profile is kept, it is recomputed from what came since.
    """
    check(events)


@pytest.mark.parametrize(("silence", "anew"), [(TTL, False), (TTL + 1, True)])
def test_a_silence_as_long_as_the_ttl_is_outlived_and_a_longer_one_is_not(silence: int, anew: bool) -> None:
    """To the millisecond, and whatever came before."""
    events = crowded(1, 60)
    events.append(message("back", max(event.event_time for event in events) + silence))
    events.append(report("more", events[-1].event_time - HOUR))
    assert oracle.outcomes(events, LATENESS, TTL)[-2:] == [("seen", anew), ("seen", False)]
    check(events)


@pytest.mark.parametrize("seed", range(3 if THOROUGH else 1))
def test_crowds_over_the_distinct_cap_agree_with_the_oracle(seed: int) -> None:
    """A long stream with more recipients, reporters and channels than a distinct count can hold."""
    check(crowded(seed, 400), every=9)


@pytest.mark.parametrize("seed", range(3 if THOROUGH else 1))
def test_every_feature_that_can_be_declared_agrees_with_the_oracle(seed: int) -> None:
    """Not only the catalogue and its candidates: whatever `compile_plan` accepts means what its declaration says."""
    check(crowded(seed, 70), tuple(declarable()), every=9)
