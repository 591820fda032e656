"""The naive target: who is at risk, who escalates and what is learnt, recomputed over whole lists without bounds."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

from detectors.contract import Vector
from detectors.features.signals import stable_hash
from detectors.policy import Clause, Policy
from detectors.target import HEAVIEST, OFFERED_TILES
from schemas.records import ChatMessage, Event

Taught = tuple[int, Vector, bool, float]
"""When known, vector, label, weight."""


class Fact(NamedTuple):
    """A sanction or a report (severity 0)."""

    event_id: str
    time: int
    severity: int


class Verdict(NamedTuple):
    """What an event came to."""

    at_risk: bool
    escalated: bool
    overturned: bool
    taught: list[Taught]


class Naive:
    """One user's labels by their definition. Ask `hear` about every seen event, then `serve` where a point was made."""

    def __init__(self, policy: Policy) -> None:
        self.target, self.learning = policy.target, policy.learning
        self.facts: list[Fact] = []
        self.overturned: set[str] = set()
        self.escalated_at: int | None = None
        self.reset_at = -1
        self.learnt: list[tuple[Vector, float]] = []
        self.waiting: list[tuple[int, int, Vector]] = []
        self.offered: list[int] = []

    def hear(self, event: Event, clock: int) -> Verdict:
        """A seen event at the user's clock."""
        taught: list[Taught] = []
        escalated = overturned = False
        self._forgive(clock)
        if not isinstance(event, ChatMessage):
            known = {fact.event_id for fact in self.facts} | self.overturned
            if event.reversal is not None:
                overturned = self._overturn(event.reversal.sanction_id)
                if overturned:
                    taught = [(event.event_time, vector, True, -weight) for vector, weight in self.learnt]
                    self.learnt = []
            elif event.kind in ("report", "sanction") and event.event_id not in known:
                fact = Fact(event.event_id, event.event_time, event.sanction.severity if event.sanction else 0)
                escalated = self._count(fact)
                if escalated:
                    taught = [(event.event_time, vector, True, weight) for vector, weight in self.learnt]
        self._forgive(clock)  # an escalation heard of late may lie further back than its reset
        return Verdict(self.escalated_at is None or self.target.recurring, escalated, overturned, taught)

    def serve(self, event_id: str, as_of: int, vector: Vector) -> list[Taught]:
        """A point served at risk: the negative it teaches at once, if it is in the sample."""
        key, oldest = stable_hash(event_id), as_of - self.target.horizon
        self.offered.append(as_of)
        kept = [waiting for waiting in self.waiting if waiting[1] >= oldest]
        lowest = sorted([*kept, (key, as_of, vector)], key=lambda waiting: waiting[0])[: self.learning.pending]
        self.waiting = [waiting for waiting in [*kept, (key, as_of, vector)] if waiting in lowest]
        return [(as_of, vector, False, 1.0)] if key % 2**20 < int(self.learning.sample * 2**20) else []

    def _forgive(self, clock: int) -> None:
        reset_after = self.target.reset_after
        if self.escalated_at is not None and reset_after is not None and clock >= self.escalated_at + reset_after:
            self.reset_at, self.escalated_at, self.learnt = self.escalated_at, None, []

    def _relevant(self, clause: Clause) -> list[Fact]:
        return [fact for fact in self.facts if _relates(fact, clause) and fact.time > self.reset_at]

    def _burst(self, clause: Clause, *, around: Fact | None) -> bool:
        """Whether `count` relevant facts (the given one among them) lie within the clause's time."""
        return any(
            (around is None or around in chosen)
            and (clause.within is None or max(f.time for f in chosen) - min(f.time for f in chosen) <= clause.within)
            for chosen in combinations(self._relevant(clause), clause.count)
        )

    def _count(self, fact: Fact) -> bool:
        if any(_relates(fact, clause) for clause in self.target.when):
            self.facts.append(fact)
        if self.escalated_at is not None and not self.target.recurring:
            return False
        if not any(self._burst(clause, around=fact) for clause in self.target.when):
            return False
        now, horizon = fact.time, self.target.horizon
        tile = max(1, horizon // OFFERED_TILES)
        due = [vector for _, as_of, vector in self.waiting if now - horizon <= as_of <= now]
        offered = sum(1 for as_of in self.offered if (now - horizon) // tile <= as_of // tile <= now // tile)
        weight = min(HEAVIEST, max(1.0, offered / len(due))) if due else 1.0
        self.escalated_at, self.learnt = now, [(vector, weight) for vector in due]
        self.waiting, self.offered = [], []
        return True

    def _overturn(self, sanction_id: str) -> bool:
        self.overturned.add(sanction_id)
        cause = next((fact for fact in self.facts if fact.event_id == sanction_id and fact.severity), None)
        if cause is None:
            return False
        self.facts.remove(cause)
        if self.escalated_at is None or cause.time <= self.reset_at:
            return False
        stands = any(self._burst(clause, around=None) for clause in self.target.when)
        if stands and not (self.target.recurring and cause.time == self.escalated_at):
            return False
        self.escalated_at = None
        return True


def _relates(fact: Fact, clause: Clause) -> bool:
    if fact.severity:
        return clause.event != "report" and fact.severity >= clause.min_severity
    return clause.event != "sanction"
