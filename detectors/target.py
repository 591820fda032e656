"""The target: when a user escalates, who is at risk, and which decision points that makes positives.

Delayed feedback is fake-negative: a decision point is learnt at once as a negative, and again as a positive if the
user escalates within the horizon. Which points wait for that is a bounded reservoir: those with the lowest hash of
their event id, which is a uniform sample that needs no random numbers and is the same in every replay.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from detectors.contract import DecisionPoint, Example, Origin
from detectors.features.packed import pack_vector, unpack_vector
from detectors.features.signals import stable_hash
from detectors.history import OFFERED_TILES, Fact, History
from detectors.policy import Clause, Policy
from schemas.records import ModerationEvent

FACTS_CAP = 64
"""How many qualifying moderation events a user's history remembers."""
_LOW: Final[i64] = 1048575
"""The low bits of a hash."""
HEAVIEST = 4.0
"""The most points one kept point may stand for: a single example must not move a model far."""


@final
class Target:
    """What *escalates* means, compiled from the policy. Holds no user's state."""

    def __init__(self, policy: Policy) -> None:
        self._target = policy.target
        self._horizon: i64 = policy.target.horizon
        self._reservoir: i64 = policy.learning.pending
        self._sample: i64 = int(policy.learning.sample * 2**20)
        self._tile: i64 = max(1, policy.target.horizon // OFFERED_TILES)

    def at_risk(self, history: History, now: int) -> bool:
        """Whether the user may still escalate; brings a user back whose reset time has come."""
        if history.escalated_at < 0:
            return True
        reset_after = self._target.reset_after
        if reset_after is not None and now >= history.escalated_at + reset_after:
            history.reset_at, history.escalated_at, history.learnt = history.escalated_at, -1, []
            history.facts = [fact for fact in history.facts if fact.time > history.reset_at]
            return True
        return self._target.recurring

    def offer(self, history: History, point: DecisionPoint, key: i64) -> Example | None:
        """Let a decision point wait for its label; gives the negative to learn at once, if it is in the sample.

        `key` is the hash of the point's event id.
        """
        as_of: i64 = point.as_of
        horizon = self._horizon
        history.count_offer(as_of // self._tile, (as_of - horizon) // self._tile)
        waiting = history.waiting
        if len(waiting) and waiting[1] < as_of - horizon:
            history.expire(as_of - horizon)
        if i64(len(history.waiting)) < 2 * self._reservoir:
            history.wait(key, as_of, pack_vector(point.vector))
        elif key < history.worst():
            history.drop_worst()
            history.wait(key, as_of, pack_vector(point.vector))
        # the low bits decide the sample and the high bits the reservoir, so that the two are independent
        if key & _LOW >= self._sample:
            return None
        origin = Origin(key, as_of, as_of + horizon)
        return Example(point.user_id, as_of, point.vector, label=False, weight=1.0, origin=origin)

    def count(self, history: History, event: ModerationEvent, severity: int) -> list[Example] | None:
        """Count an upheld sanction, or a report (severity 0): the positives to learn if the user escalates by it.

        None if the user does not.
        """
        fact = Fact(stable_hash(event.event_id), event.event_time, severity)
        if not any(_qualifies(fact, clause) for clause in self._target.when):
            return None
        if any(known.key == fact.key for known in history.facts):
            return None  # a duplicate that came after its id was forgotten
        history.facts.append(fact)
        if len(history.facts) > FACTS_CAP:
            del history.facts[0]
        if history.escalated_at >= 0 and not self._target.recurring:
            return None
        if not any(_qualifies(fact, clause) and _burst(history, clause, fact.time) for clause in self._target.when):
            return None
        now, horizon = event.event_time, self._target.horizon
        history.escalated_at = now
        due = [waiting for waiting in history.pending if now - horizon <= waiting.as_of <= now]
        offered = history.offers((now - horizon) // self._tile, now // self._tile)
        weight = min(HEAVIEST, max(1.0, offered / len(due))) if due else 1.0
        history.learnt = [(waiting.vector, weight) for waiting in due]
        history.label()
        user_id = event.user_id
        return [
            Example(user_id, now, unpack_vector(vector), True, weight, Origin(key, as_of, as_of + horizon))
            for key, as_of, vector in due
        ]

    def overturn(self, history: History, event: ModerationEvent, sanction_id: str) -> list[Example] | None:
        """Forget an overturned sanction: what was learnt from it, to be taken back, if it had made the user escalate.

        None if it had not.
        """
        key = stable_hash(sanction_id)
        cause = next((fact for fact in history.facts if fact.key == key), None)
        if cause is None:
            return None
        history.facts.remove(cause)
        if history.escalated_at < 0:
            return None
        stands = any(_burst(history, clause) for clause in self._target.when)
        if stands and not (self._target.recurring and cause.time == history.escalated_at):
            return None
        taken_back = [
            Example(event.user_id, event.event_time, unpack_vector(vector), label=True, weight=-weight)
            for vector, weight in history.learnt
        ]
        history.escalated_at, history.learnt = -1, []
        return taken_back


def _qualifies(fact: Fact, clause: Clause) -> bool:
    if clause.event == "report":
        return fact.severity == 0
    if clause.event == "sanction":
        return fact.severity >= clause.min_severity
    return fact.severity == 0 or fact.severity >= clause.min_severity


def _burst(history: History, clause: Clause, around: int | None = None) -> bool:
    """Whether `count` qualifying facts lie within the clause's time, a fact at `around` among them if that is given."""
    times = sorted(fact.time for fact in history.facts if _qualifies(fact, clause) and fact.time > history.reset_at)
    return any(
        (clause.within is None or last - first <= clause.within) and (around is None or first <= around <= last)
        for first, last in zip(times, times[clause.count - 1 :], strict=False)
    )
