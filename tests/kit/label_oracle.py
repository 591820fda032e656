"""The naive target: who is at risk, who escalates and what is learnt, recomputed over whole lists without bounds."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

from detectors.base.vectors import Vector
from detectors.features.signals import stable_hash
from detectors.labels.target import HEAVIEST, OFFERED_TILES
from detectors.policy.policy import Policy
from detectors.policy.sections import Clause
from schemas.records.events import ChatMessage, Event

Taught = tuple[int, Vector, bool, float]
"""When known, vector, label, weight."""


class Fact(NamedTuple):
    """A sanction or a report (severity 0) by somebody, or by nobody known."""

    event_id: str
    time: int
    severity: int
    reporter: str | None = None

    @property
    def who(self) -> str:
        """Whose word it is: of two reports by one reporter, one counts."""
        return f"reporter {self.reporter}" if self.reporter is not None else f"event {self.event_id}"


class Escalated(NamedTuple):
    """An escalation: what completed it, when, in which era it was, and what it taught."""

    cause: Fact
    since: int
    taught: list[tuple[int, Vector, float]]


class Verdict(NamedTuple):
    """What an event came to; `turns` are kinds of turn, each with the time of the escalation."""

    at_risk: bool
    turns: list[tuple[str, int]]
    taught: list[Taught]


class Naive:
    """One user's labels by their definition. Ask `hear` about every seen event, then `serve` where a point was made."""

    def __init__(self, policy: Policy) -> None:
        self.target, self.learning = policy.target, policy.learning
        self.facts: list[Fact] = []
        self.overturned: set[str] = set()
        self.escalations: list[Escalated] = []
        self.escalated_at: int | None = None
        self.resets: list[int] = []
        self.waiting: list[tuple[int, int, Vector]] = []
        self.offered: list[int] = []

    @property
    def reset_at(self) -> int:
        """When the escalation was that the user was reset from last."""
        return self.resets[-1] if self.resets else -1

    def hear(self, event: Event, clock: int) -> Verdict:
        """A seen event at the user's clock."""
        taught: list[Taught] = []
        turns: list[tuple[str, int]] = []
        self._forgive(clock)
        if not isinstance(event, ChatMessage):
            known = {fact.event_id for fact in self.facts} | self.overturned
            if event.reversal is not None:
                untrue = self._overturn(event.reversal.sanction_id, turns)
                taught = [(event.event_time, vector, True, -weight) for _, vector, weight in untrue]
            elif event.kind in ("report", "sanction") and event.event_id not in known:
                reporter = event.report.reporter_id if event.report else None
                severity = event.sanction.severity if event.sanction else 0
                if self._count(Fact(event.event_id, event.event_time, severity, reporter), turns):
                    positives = self.escalations[-1].taught
                    taught = [(event.event_time, vector, True, weight) for _, vector, weight in positives]
        self._forgive(clock)  # an escalation heard of late may lie further back than its reset
        return Verdict(self.escalated_at is None or self.target.recurring, turns, taught)

    def serve(self, user: str, number: int, as_of: int, vector: Vector) -> list[Taught]:
        """A point served at risk, at the user's `number`-th event: the negative it teaches, if it is in the sample."""
        key, oldest = stable_hash(f"{user}\0{number}"), as_of - self.target.horizon
        self.offered.append(as_of)
        kept = [waiting for waiting in self.waiting if waiting[1] >= oldest]
        lowest = sorted([*kept, (key, as_of, vector)], key=lambda waiting: waiting[0])[: self.learning.pending]
        self.waiting = [waiting for waiting in [*kept, (key, as_of, vector)] if waiting in lowest]
        return [(as_of, vector, False, 1.0)] if key % 2**20 < int(self.learning.sample * 2**20) else []

    def _forgive(self, clock: int) -> None:
        reset_after = self.target.reset_after
        if self.escalated_at is not None and reset_after is not None and clock >= self.escalated_at + reset_after:
            self.resets.append(self.escalated_at)
            self.escalated_at = None

    def _era(self, time: int, since: int) -> list[Fact]:
        """The facts that count with one at `time`: after the reset before it, and before the one after it."""
        until = min((reset for reset in self.resets if reset >= time), default=None)
        return [fact for fact in self.facts if since < fact.time and (until is None or fact.time <= until)]

    def _burst(self, clause: Clause, facts: list[Fact], time: int) -> bool:
        """Whether `count` relevant facts of different people, one at `time` among them, lie close enough."""
        relevant = [fact for fact in facts if _relates(fact, clause)]
        return any(
            any(fact.time == time for fact in chosen)
            and len({fact.who for fact in chosen}) == clause.count
            and (clause.within is None or max(f.time for f in chosen) - min(f.time for f in chosen) <= clause.within)
            for chosen in combinations(relevant, clause.count)
        )

    def _completes(self, clause: Clause, fact: Fact) -> bool:
        facts = self._era(fact.time, self.reset_at)
        if not _relates(fact, clause) or not self._burst(clause, facts, fact.time):
            return False
        others = [other for other in facts if other != fact]
        repeated = [
            other
            for other in others
            if other.who == fact.who and (clause.within is None or abs(other.time - fact.time) <= clause.within)
        ]
        return clause.count == 1 or not any(self._burst(clause, others, other.time) for other in repeated)

    def _count(self, fact: Fact, turns: list[tuple[str, int]]) -> bool:
        if any(_relates(fact, clause) for clause in self.target.when):
            self.facts.append(fact)
        if self.escalated_at is not None and not self.target.recurring:
            return False
        if not any(self._completes(clause, fact) for clause in self.target.when):
            return False
        now, horizon = fact.time, self.target.horizon
        tile = max(1, horizon // OFFERED_TILES)
        due = [(as_of, vector) for _, as_of, vector in self.waiting if now - horizon <= as_of <= now]
        offered = sum(1 for as_of in self.offered if (now - horizon) // tile <= as_of // tile <= now // tile)
        weight = min(HEAVIEST, max(1.0, offered / len(due))) if due else 1.0
        self._escalate(fact, [(as_of, vector, weight) for as_of, vector in due], turns)
        self.waiting, self.offered = [], []
        return True

    def _escalate(self, fact: Fact, taught: list[tuple[int, Vector, float]], turns: list[tuple[str, int]]) -> None:
        self.escalated_at = fact.time
        self.escalations.append(Escalated(fact, self.reset_at, taught))
        turns.append(("escalated", fact.time))

    def _made(self, one: Escalated) -> bool:
        """Whether what counts now makes this escalation."""
        facts = self._era(one.cause.time, one.since)
        return any(self._burst(clause, facts, one.cause.time) for clause in self.target.when)

    def _overturn(self, sanction_id: str, turns: list[tuple[str, int]]) -> list[tuple[int, Vector, float]]:
        """What was taught and is no longer true."""
        self.overturned.add(sanction_id)
        cause = next((fact for fact in self.facts if fact.event_id == sanction_id and fact.severity), None)
        if cause is None:
            return []
        made = [one for one in self.escalations if self._made(one)]
        self.facts.remove(cause)
        fallen = [one for one in self.escalations if one.cause is cause or (one in made and not self._made(one))]
        if not fallen:
            return []
        self.escalations = [one for one in self.escalations if one not in fallen]
        turns.extend(("overturned", one.cause.time) for one in fallen)
        untrue = [taught for one in fallen for taught in one.taught]
        now = [one.cause.time for one in self.escalations if one.cause.time > self.reset_at]
        self.escalated_at = now[-1] if now else None
        if now or self.target.recurring:
            return untrue
        for fact in sorted(self.facts, key=lambda fact: fact.time):
            known = [other for other in self.facts if self.reset_at < other.time <= fact.time]
            if fact in known and any(self._burst(clause, known, fact.time) for clause in self.target.when):
                still = [taught for taught in untrue if fact.time - self.target.horizon <= taught[0] <= fact.time]
                self._escalate(fact, still, turns)
                return [taught for taught in untrue if not fact.time - self.target.horizon <= taught[0] <= fact.time]
        return untrue


def _relates(fact: Fact, clause: Clause) -> bool:
    if fact.severity:
        return clause.event != "report" and fact.severity >= clause.min_severity
    return clause.event != "sanction"
