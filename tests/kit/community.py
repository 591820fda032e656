"""What tests of the detectors share: a small community with trouble in it, its lessons and its decision points."""

from __future__ import annotations

import random
from collections.abc import Iterable
from functools import partial
from math import nan
from typing import TypeVar

from detectors.base.points import DecisionPoint, Example, Origin
from detectors.base.vectors import Row, Vector, vector_from
from detectors.features.catalogue import NAMES, NUMBERS
from detectors.features.selection import QUANTITIES, FeatureSelection
from detectors.features.signals import stable_hash
from detectors.learning.learner import Learner
from detectors.models.catalogue import new_model
from detectors.models.inputs import Reader
from detectors.policy.policy import Policy
from detectors.policy.sections import LearningPolicy
from detectors.profiles import results as items
from detectors.profiles.results import Erasure, LaneItem, TrainingEvent
from detectors.profiles.user import CompiledPolicy, EventResult, User
from detectors.scoring.shard import ModelUpdate
from schemas.records.events import Event
from tests.kit.streams import (
    DAY,
    HOUR,
    MINUTE,
    START,
    erasure,
    message,
    place,
    policy,
    report,
    reversal,
    sanction,
)

Item = TypeVar("Item")
POINT = place(0)


def vector_of(absent: float = 0.0, **features: float) -> Vector:
    """A feature vector with the named values, and `absent` everywhere else."""
    unknown = set(features) - set(NAMES)
    assert not unknown, unknown
    return vector_from(float(features.get(name, absent)) for name in NAMES)


def point_of(vector: Vector, *, user: str = "ann", as_of: int = START, events: int = 9, seq: int = 0) -> DecisionPoint:
    """A decision point on a vector."""
    return DecisionPoint(user, as_of, f"{user}-{seq}", vector, events, place(seq))


def given(vector: Vector, reads: FeatureSelection = QUANTITIES) -> Row:
    """What a model is given of a vector."""
    [row] = Reader(reads).rows([vector])
    return row


def random_vector(rng: random.Random, gaps: float = 0.1) -> Vector:
    """A vector of what features are: counts, fractions, gaps in seconds, trails of a few tokens, and nothing at all."""
    kinds = (lambda: float(rng.randrange(9)), rng.random, lambda: rng.expovariate(1e-4), lambda: 0.0)
    trail = float(int.from_bytes(bytes(rng.choices((1, 2, 3, 169, 170, 171), k=rng.randint(1, 4)))))
    numbers = [nan if rng.random() < gaps else rng.choice(kinds)() for _ in NUMBERS]
    return vector_from((*numbers, nan if rng.random() < gaps else trail))


def separable(rng: random.Random, number: int) -> tuple[Vector, bool]:
    """A vector and its label: users with reports and repeats escalate more often."""
    label = rng.random() < 0.3
    vector = list(random_vector(rng))
    for name in ("report_count_24h", "repeat_count_1h"):
        vector[NAMES.index(name)] = float(rng.randrange(4) + (5 if label else 0))
    return vector_from(vector), label if number > 1 else bool(number)


def taught(name: str, examples: int = 120, seed: int = 1, **learning: object) -> Learner:
    """A learner that has learnt seeded examples."""
    rng = random.Random(seed)
    learner = Learner(name, LearningPolicy.model_validate({"min_positives": 5} | learning))
    learner.take([lesson_of(number, *separable(rng, number)) for number in range(examples)])
    return learner


def lesson_of(seq: int, vector: Vector, label: bool, weight: float = 1.0) -> TrainingEvent:
    """A lesson of one example."""
    time = START + seq * MINUTE
    user = f"{'bad' if label else 'ok'}{seq % 7}"
    origin = Origin(stable_hash(f"e{seq}"), time, time + 5 * MINUTE)
    example = Example(user, time, vector, label=label, weight=weight, origin=origin)
    return TrainingEvent(0, seq, user, time, (example,), erased=False)


def community(seed: int, length: int, users: int = 12) -> list[Event]:
    """A log of a few users in rough order of time: some are reported and sanctioned, some sanctions are overturned."""
    rng = random.Random(seed)
    now, events, punished = START, [], []
    for number in range(length):
        now += rng.choice((0, 1_000, 20_000, 4 * MINUTE, HOUR))
        user, name = f"u{rng.randrange(users)}", f"e{number}"
        at = now - rng.choice((0, 0, 0, 5_000, 2 * MINUTE))
        bad = int(user[1:]) % 3 == 0
        draw = rng.random()
        if bad and draw < 0.2:
            events.append(report(name, at, f"p{rng.randrange(9)}", user))
        elif bad and draw < 0.35:
            events.append(sanction(name, at, rng.randint(1, 5), user))
            punished.append((user, name))
        elif punished and draw < 0.4:
            culprit, cause = rng.choice(punished)
            events.append(reversal(name, at, cause, culprit))
        elif draw > 0.985:
            events.append(erasure(name, at, user))
        else:
            text = rng.choice(("hello everybody", "buy gold here", f"line {number} of many"))
            events.append(message(name, at, user=user, text=text, recipients=[f"r{rng.randrange(30)}"]))
    return events


COMMUNITY = policy(
    target={"horizon": "2d", "when": [{"event": "sanction", "count": 2}], "reset_after": "1d"},
    learning={"challengers": ["bayes"], "publish_every": "1h", "min_positives": 3, "keep_versions": 8},
    tiers={"watch": {"enter": 0.1, "leave": 0.05}, "high": {"enter": 0.4, "leave": 0.3}},
    warnings={"expiry": "1d", "cooldown": "1h"},
    rules={"repeated_text": {"limit": 3}, "report_burst": {"tier": "elevated", "limit": 3}},
)


def steps_of(events: list[Event], rules: Policy = COMMUNITY) -> list[EventResult]:
    """What every event of a log comes to, in its order."""
    rulebook = CompiledPolicy(rules)
    users: dict[str, User] = {}
    steps = []
    for seq, event in enumerate(events):
        step = users.setdefault(event.user_id, User(rulebook)).step(event, place(seq))
        if step.outcome == "erased":
            del users[event.user_id]
        steps.append(step)
    return steps


def lessons_of(steps: list[EventResult]) -> list[TrainingEvent]:
    """The lessons of a log, one for every event, with what a track record is made of."""
    return [items.training_event_of(step, 1) for step in steps]


def items_of(steps: list[EventResult]) -> list[LaneItem]:
    """What a lane is given of a log."""
    found: list[LaneItem] = []
    for step in steps:
        found.extend(items.outcomes_of(step))
        if step.point is not None:
            found.append(step.point)
        elif step.outcome == "erased":
            found.append(Erasure(step.user_id, step.time, step.at))
    return found


def news_of(batches: list[list[TrainingEvent]], rules: Policy = COMMUNITY) -> dict[str, list[ModelUpdate]]:
    """What the learner of each model tells, batch by batch."""
    told: dict[str, list[ModelUpdate]] = {}
    for name in (rules.learning.champion, *rules.learning.challengers):
        learner = Learner(name, rules.learning, model=partial(new_model, name, rules))
        told[name] = []
        for batch in batches:
            published, reached = learner.take(batch)
            told[name].append(ModelUpdate(name, published, dict(reached)))
    return told


def cut(items: Iterable[Item], rng: random.Random, most: int = 12) -> list[list[Item]]:
    """The items in batches of random sizes from none to `most`."""
    rest, batches = list(items), []
    while rest:
        size = rng.randint(0, most)
        batches.append(rest[:size])
        rest = rest[size:]
    return batches


__all__ = ["COMMUNITY", "DAY", "HOUR", "MINUTE", "START"]
