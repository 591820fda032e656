"""Arbitrary event lists of one user: disorder, ties, duplicates, reversals, long gaps, crowds of strangers."""

from __future__ import annotations

import random
from math import nan
from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st

from detectors.features.context import Context
from detectors.models.catalogue import READS
from detectors.policy.parse import parse_policy
from detectors.policy.policy import Policy
from detectors.rules.catalogue import RULES
from detectors.scoring.tiers import Decider
from schemas.records.base import Position
from schemas.records.events import ChatMessage, Event, Exposure, ModerationEvent, Report, Reversal, Sanction
from tests.kit.thorough import examples

LAWFUL = settings(
    derandomize=True, deadline=None, database=None, max_examples=examples(60), phases=(Phase.explicit, Phase.generate)
)
"""Every property is tried on the same examples in every run; a failure names the event, so nothing is shrunk."""

USER = "ann"
START = 1_700_006_400_000
"""Midnight of a day, so that events fall on the very edges of tiles."""
SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
STEPS = (
    0,
    0,
    1,
    900,
    15 * SECOND,
    5 * MINUTE,
    50 * MINUTE,
    HOUR,
    7 * HOUR,
    25 * HOUR,
    8 * DAY,
    31 * DAY,
    45 * DAY,
    46 * DAY,
)
BACK = (0,) * 9 + (1, 1, 20 * SECOND, 6 * MINUTE, 2 * HOUR, 23 * HOUR, 30 * HOUR)
TEXTS = (
    None,
    "",
    "ok",
    "hello there",
    "Hello   THERE",
    "buy my gold now",
    "a line of its own",
    "\U0001f600 face, \u0130stanbul",
)
LATENESS = DAY
TTL = 45 * DAY
"""Of the last two steps, one is as long a silence as a profile outlives, and the other is longer."""


def policy(target: dict[str, Any] | None = None, learning: dict[str, Any] | None = None, **over: Any) -> Policy:
    """A policy with a day of allowed lateness and strikes that expire after 40 days, except as asked."""
    document: dict[str, Any] = {
        "name": "test",
        "allowed_lateness": LATENESS,
        "strike_expiry": "40d",
        "target": {"horizon": "7d", "when": [{"event": "sanction", "count": 3}]} | (target or {}),
        "learning": {"challengers": []} | (learning or {}),
        "tiers": {"watch": {"enter": 0.2, "leave": 0.1}},
    } | over
    return parse_policy(document, RULES, READS)


def decider_of(rules: Policy) -> Decider:
    """Return the decider of a policy."""
    return Decider(rules.tiers, rules.warnings, rules.promises)


def record_settings(rules: Policy) -> dict[str, Any]:
    """Return the arguments of a policy's `TrackRecord`."""
    return {
        "horizon": rules.target.horizon,
        "expiry": rules.warnings.expiry,
        "memory": rules.promises.memory,
        "lowest": rules.lowest_threshold,
    }


def place(seq: int) -> Position:
    """The position of the `seq`-th record of a single partition."""
    return Position("events", 0, seq, seq)


def message(event_id: str, time: int, *, user: str = USER, **fields: Any) -> ChatMessage:
    """A chat message."""
    return ChatMessage.model_validate(
        {"event_id": event_id, "event_time": time, "user_id": user, "channel": "lobby"} | fields,
    )


def moderation(event_id: str, time: int, detail: Report | Sanction | Reversal | Exposure, user: str = USER) -> Event:
    """A moderation event of the kind its detail is of."""
    kind = type(detail).__name__.lower()
    fields: dict[str, Any] = {"event_id": event_id, "event_time": time, "user_id": user, "kind": kind, kind: detail}
    return ModerationEvent(**fields)


def sanction(event_id: str, time: int, severity: int = 1, user: str = USER) -> Event:
    """A sanction."""
    return moderation(event_id, time, Sanction(action="mute", severity=severity, policy="spam"), user)


def report(event_id: str, time: int, reporter: str | None = "bob", user: str = USER) -> Event:
    """A report."""
    return moderation(event_id, time, Report(reporter_id=reporter), user)


def reversal(event_id: str, time: int, sanction_id: str, user: str = USER) -> Event:
    """A reversal of a sanction."""
    return moderation(event_id, time, Reversal(sanction_id=sanction_id), user)


def exposure(event_id: str, time: int) -> Event:
    """An intervention the user was shown."""
    return moderation(event_id, time, Exposure(intervention="hint", arm="shown", probability=0.5))


def erasure(event_id: str, time: int, user: str = USER) -> Event:
    """A request to be forgotten."""
    return ModerationEvent(event_id=event_id, event_time=time, user_id=user, kind="erasure")


def found_by(event: Event) -> Context | None:
    """What a message found in its channel, drawn by its id; some found nothing out, and some only a part."""
    rng = random.Random(event.event_id)
    if not isinstance(event, ChatMessage) or rng.random() < 0.3:
        return None
    known = [rng.choice((nan, 0.0, 1.0, 100 * rng.random())) for _ in Context._fields[:-2]]
    answered, lag = rng.choice(((nan, nan), (5.0, 1800.0), (2.5, 1800.5), (0.0, 0.0)))
    return Context(*known, answered, lag)


KINDS = ("message",) * 4 + ("report",) * 2 + ("sanction",) * 2 + ("reversal", "exposure")


def any_event(kind: str, rng: random.Random, event_id: str, time: int, earlier: list[str]) -> Event:
    """An event with details drawn by `rng`. Reversals name an earlier event, or a sanction that may yet come."""
    if kind == "message":
        crowd = rng.choice((0, 0, 1, 3, 30, 90))
        return message(
            event_id,
            time,
            channel=f"c{rng.randrange(90)}",
            text=rng.choice(TEXTS + tuple(f"line number {rng.randrange(12)}" for _ in range(4))),
            recipients=[f"r{rng.randrange(160)}" for _ in range(crowd)],
            scores=[
                {"scorer": "t", "version": "1", "value": rng.choice((0.0, 0.1, 0.5, rng.random()))}
                for _ in range(rng.choice((0, 1, 2)))
            ],
        )
    if kind == "report":
        return report(event_id, time, rng.choice((None, f"p{rng.randrange(3)}", f"p{rng.randrange(120)}")))
    if kind == "sanction":
        return sanction(rng.choice((event_id, event_id, f"s{rng.randrange(4)}")), time, rng.randint(1, 5))
    if kind == "reversal":
        return reversal(event_id, time, rng.choice((*earlier[-4:], f"s{rng.randrange(4)}")))
    return exposure(event_id, time)


def stream(moves: list[tuple[str, int, int, int, int]]) -> list[Event]:
    """The events a list of drawn (kind, seed, step, back, repeat) stands for."""
    now, events = START, []
    for number, (kind, seed, step, back, repeat) in enumerate(moves):
        now += step
        if repeat and events:
            events.append(events[-1 - repeat % min(len(events), 80)])
            continue
        earlier = [event.event_id for event in events if isinstance(event, ModerationEvent) and event.sanction]
        events.append(any_event(kind, random.Random(seed), f"e{number}", now - back, earlier))
    return events


MOVE = st.tuples(
    st.sampled_from(KINDS),
    st.integers(0, 10**6),
    st.sampled_from(STEPS),
    st.sampled_from(BACK),
    st.sampled_from((0,) * 9 + (1, 3, 70)),
)
streams = st.lists(MOVE, min_size=12, max_size=60).map(stream)


def crowded(seed: int, length: int) -> list[Event]:
    """A long seeded stream in which recipients, reporters and channels go over the cap within one window."""
    rng = random.Random(seed)
    moves = [
        (
            rng.choice(KINDS),
            rng.randrange(10**6),
            rng.choice(STEPS[:6]),
            rng.choice((0, 0, *BACK[10:15])),
            rng.choice((0,) * 12 + (2,)),
        )
        for _ in range(length)
    ]
    return stream(moves)
