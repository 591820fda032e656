"""A user's events of a batch, one after the other, and what they come to, dealt out by where it goes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

from detectors.channels import Context
from detectors.features.signals import stable_hash
from detectors.items import Erasure, LaneItem, Lesson, Outcome, lesson_of
from detectors.user import User
from schemas.records import Event, Position


@final
class Taken:
    """What events came to: items for the user's lane, lessons, outcomes, and the events that did not count.

    `lates` are events too far behind their user's clock, `broken` those that broke a step, with what was raised.
    """

    __slots__ = ("broken", "duplicates", "erased", "items", "lates", "lessons", "outcomes")

    def __init__(self) -> None:
        self.items: list[LaneItem] = []
        self.lessons: list[Lesson] = []
        self.outcomes: list[Outcome] = []
        self.lates: list[tuple[Event, Position]] = []
        self.broken: list[tuple[Event, Position, Exception]] = []
        self.duplicates = 0
        self.erased = 0

    def __repr__(self) -> str:
        lists = (self.items, self.lessons, self.outcomes, self.lates, self.broken)
        return f"Taken({', '.join(map(repr, lists))}, duplicates={self.duplicates}, erased={self.erased})"


def take(
    user: User, events: Iterable[tuple[Event, Position, Context | None]], tracked_from: int | None, taken: Taken
) -> User:
    """Count a user's events; the user as they are then, which is another one after an erasure.

    Every event gives one lesson, or is broken: the learner must hear of every place in the order. `tracked_from` is
    that of the user's rulebook.
    """
    for event, at, context in events:
        try:
            step = user.step(event, at, context)
        except Exception as error:
            user.profile.unsee(stable_hash(event.event_id))
            taken.broken.append((event, at, error))
            continue
        taken.lessons.append(lesson_of(step, tracked_from))
        _, user_id, time, outcome, point, _, escalated, overturned = step
        if escalated or overturned:
            # lanes hear of it too, before the point of the same event, which has not foretold it
            changed = Outcome(user_id, time, "escalated" if escalated else "overturned", at)
            taken.outcomes.append(changed)
            taken.items.append(changed)
        if point is not None:
            taken.items.append(point)
        if outcome == "seen":
            continue
        if outcome == "late":
            taken.lates.append((event, at))
        elif outcome == "duplicate":
            taken.duplicates += 1
        else:
            taken.erased += 1
            taken.items.append(Erasure(user_id, time, at))
            user = User(user.rules, user.home)
    return user
