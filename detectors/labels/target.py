"""The target: when a user escalates, which users are at risk, and which decision points become positives.

Delayed feedback is handled by fake negatives: a decision point is learnt at once as a negative, and again as a positive
if the user escalates within the horizon. The points that wait for this are a bounded reservoir: those with the lowest
hash, a uniform sample that needs no random numbers and is the same in every replay.

An escalation stands as long as the sanction that completed it stands and is still part of a burst. A reversal is
checked against every stored escalation, however old. Those that no longer stand are overturned, and what was learnt
from them is taken back. If the user's remaining moderation events are enough for an escalation, the user escalated by
those, at their time.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from detectors.base.packed import pack_vector, unpack_vector
from detectors.base.points import DecisionPoint, Example, Origin
from detectors.features.signals import key_of, stable_hash
from detectors.labels.reservoir import NOBODY, OFFERED_TILES, Escalation, Fact, History, Taught, Turn
from detectors.policy.sections import Clause, LearningPolicy, TargetPolicy
from schemas.records.events import ModerationEvent

FACTS_CAP = 64
"""Maximum number of qualifying moderation events in a user's history."""
ESCALATIONS_CAP = 16
"""Number of a user's latest escalations that can still be overturned."""
TAUGHT_CAP = 64
"""Number of their positives that can still be taken back: all of the latest escalation, then those of older ones."""
_LOW: Final[i64] = 1048575
"""The mask of the 20 low bits of a hash."""
_NEVER: Final = 2**62
HEAVIEST = 4.0
"""The most points that one kept point may stand for, because a single example must not move a model far."""


@final
class Target:
    """The definition of *escalates*, compiled from the policy. It holds no user state."""

    def __init__(self, target: TargetPolicy, learning: LearningPolicy) -> None:
        self._target = target
        self._horizon: i64 = target.horizon
        self._reservoir: i64 = learning.pending
        self._sample: i64 = int(learning.sample * 2**20)
        self._tile: i64 = max(1, target.horizon // OFFERED_TILES)

    def at_risk(self, history: History, now: int) -> bool:
        """Reset a user whose reset time has come, and return whether the user may still escalate."""
        if history.escalated_at < 0:
            return True
        reset_after = self._target.reset_after
        if reset_after is not None and now >= history.escalated_at + reset_after:
            history.reset_at, history.escalated_at = history.escalated_at, -1
            return True
        return self._target.recurring

    def offer(self, history: History, point: DecisionPoint, key: i64) -> Example | None:
        """Offer a decision point to the reservoir; return the negative to learn at once, None if it is not sampled.

        `key` is the point's hash: see `point_key`.
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
        # the low bits select the sample and the high bits the reservoir, so that the two are independent
        if key & _LOW >= self._sample:
            return None
        origin = Origin(key, as_of, as_of + horizon)
        return Example(point.user_id, as_of, point.vector, label=False, weight=1.0, origin=origin)

    def count(
        self, history: History, event: ModerationEvent, seq: int, learnt: list[Example], turns: list[Turn]
    ) -> None:
        """Count an upheld sanction or a report at position `seq` of the log.

        If the user escalates by it, append the escalation to `turns` and the positives to learn to `learnt`.
        """
        severity = 0 if event.sanction is None else event.sanction.severity
        reporter = None if event.report is None else event.report.reporter_id
        fact = Fact(
            stable_hash(event.event_id), event.event_time, severity, NOBODY if reporter is None else key_of(reporter)
        )
        if not any(_qualifies(fact, clause) for clause in self._target.when):
            return
        if any(known.key == fact.key for known in history.facts):
            return  # a duplicate that came after its id was dropped from the profile
        history.facts.append(fact)
        if len(history.facts) > FACTS_CAP:
            del history.facts[0]
        if history.escalated_at >= 0 and not self._target.recurring:
            return
        if not any(_completes(history, clause, fact) for clause in self._target.when):
            return
        now, horizon = event.event_time, self._target.horizon
        due = [waiting for waiting in history.pending if now - horizon <= waiting.as_of <= now]
        offered = history.offers((now - horizon) // self._tile, now // self._tile)
        weight = min(HEAVIEST, max(1.0, offered / len(due))) if due else 1.0
        history.label()
        _escalate(history, fact, seq, [Taught(as_of, vector, weight) for _, as_of, vector in due], turns)
        user_id = event.user_id
        learnt.extend(
            [
                Example(user_id, now, unpack_vector(vector), True, weight, Origin(key, as_of, as_of + horizon))
                for key, as_of, vector in due
            ]
        )

    def overturn(
        self, history: History, event: ModerationEvent, seq: int, learnt: list[Example], turns: list[Turn]
    ) -> None:
        """Remove the sanction that a reversal at position `seq` of the log names.

        Append to `turns` each escalation that falls with it, and the one that the remaining facts make instead, if any.
        Append to `learnt` the examples that take positives back.
        """
        if event.reversal is None:
            return
        key, facts = stable_hash(event.reversal.sanction_id), history.facts
        left = [fact for fact in facts if fact.key != key or not fact.severity]
        stands, fallen = list[Escalation](), list[Escalation]()
        for one in history.escalations:
            falls = one.severity > 0 and one.cause == key
            if not falls and len(left) < len(facts):
                falls = self._stands(history, facts, one) and not self._stands(history, left, one)
            (fallen if falls else stands).append(one)
        history.facts, history.escalations = left, stands
        if not fallen:
            return
        turns.extend([Turn("overturned", one.cause, one.time, one.seq) for one in fallen])
        now = [one.time for one in stands if one.time > history.reset_at]
        history.escalated_at = now[-1] if now else -1
        untrue = [taught for one in fallen for taught in one.taught]
        if history.escalated_at < 0 and not self._target.recurring:
            cause = self._first(history)
            if cause is not None:
                since = cause.time - self._target.horizon
                still = [taught for taught in untrue if since <= taught.as_of <= cause.time]
                untrue = [taught for taught in untrue if not since <= taught.as_of <= cause.time]
                _escalate(history, cause, seq, still, turns)
        learnt.extend(
            [
                Example(event.user_id, event.event_time, unpack_vector(vector), label=True, weight=-weight)
                for _, vector, weight in untrue
            ]
        )

    def _first(self, history: History) -> Fact | None:
        """Return the fact that completes the earliest burst since the user's reset; None if there is no burst."""
        facts = sorted(history.facts, key=_time)
        for last, fact in enumerate(facts):
            known, since = facts[: last + 1], history.reset_at
            if fact.time > since and any(
                _burst(known, clause, since, fact.time, fact.time) for clause in self._target.when
            ):
                return fact
        return None

    def _stands(self, history: History, facts: list[Fact], one: Escalation) -> bool:
        """Return whether these facts support an escalation; facts after the reset that followed it do not count."""
        ends = [other.since for other in history.escalations if other.since >= one.time]
        if history.reset_at >= one.time:
            ends.append(history.reset_at)
        until = min(ends) if ends else _NEVER
        return any(_burst(facts, clause, one.since, until, one.time) for clause in self._target.when)


def _time(fact: Fact) -> int:
    return fact.time


def _escalate(history: History, cause: Fact, seq: int, taught: list[Taught], turns: list[Turn]) -> None:
    """Record an escalation of the user by this fact, with the data needed to undo it."""
    key, time, severity, _ = cause
    history.escalated_at = time
    history.escalations.append(Escalation(key, severity, time, seq, history.reset_at, tuple(taught)))
    if len(history.escalations) > ESCALATIONS_CAP:
        del history.escalations[0]
    room, kept = TAUGHT_CAP, list[Escalation]()
    for one in reversed(history.escalations):
        room -= len(one.taught)
        kept.insert(0, one if room >= 0 or not kept else one._replace(taught=()))
    history.escalations = kept
    turns.append(Turn("escalated", key, time, seq))


def _qualifies(fact: Fact, clause: Clause) -> bool:
    if clause.event == "report":
        return fact.severity == 0
    if clause.event == "sanction":
        return fact.severity >= clause.min_severity
    return fact.severity == 0 or fact.severity >= clause.min_severity


def _completes(history: History, clause: Clause, fact: Fact) -> bool:
    """Return whether a fact, the latest, completes a burst with others.

    A reporter who is already part of a burst does not complete another one by reporting again.
    """
    since = history.reset_at
    if not _qualifies(fact, clause) or not _burst(history.facts, clause, since, _NEVER, fact.time):
        return False
    if fact.reporter == NOBODY or clause.count == 1:
        return True
    others = [other for other in history.facts if other.key != fact.key]
    return not any(
        other.reporter == fact.reporter
        and since < other.time
        and (clause.within is None or abs(other.time - fact.time) <= clause.within)
        and _burst(others, clause, since, _NEVER, other.time)
        for other in others
    )


def _burst(facts: list[Fact], clause: Clause, since: int, until: int, around: int) -> bool:
    """Return whether `count` qualifying facts lie within the clause's time and enclose the moment `around` (ms).

    Facts at or before `since` (ms) or after `until` (ms) do not count. Several facts of one known reporter count once.
    """
    relevant = sorted([fact for fact in facts if since < fact.time <= until and _qualifies(fact, clause)], key=_time)
    within, count = clause.within, clause.count
    for start, first in enumerate(relevant):
        if first.time > around:
            return False
        if within is not None and around - first.time > within:
            continue
        by = set[int]()
        last = first.time
        for fact in relevant[start:]:
            if within is not None and fact.time - first.time > within:
                break
            by.add(-2 - fact.key if fact.reporter == NOBODY else fact.reporter)
            last = fact.time
        if last >= around and len(by) >= count:
            return True
        if within is None:
            return False
    return False
