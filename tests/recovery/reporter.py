"""Decides what a chaos run proved, from counts alone: no Kafka, no files, no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple


class Scenario(NamedTuple):
    """How a deployment is treated: processes, whether it learns, kills, broker restarts, and poison between records."""

    processes: int
    learning: bool
    kills: int
    broker_restarts: int = 0
    poison_every: int | None = None


class Found(NamedTuple):
    """What came of it.

    `ids` counts each risk event id on the topic; `expected` are those of an uninterrupted run with the same model, None
    where learning makes them depend on timing; `points` counts the decision points served, of which `events_due` are
    due; `poison` and `rejects` are the poison sent and the distinct dead letters.
    """

    ids: Counter[str]
    expected: frozenset[str] | None
    points: frozenset[str]
    points_due: frozenset[str]
    poison: int
    rejects: int
    seconds: float


class Row(NamedTuple):
    """One line of the table."""

    scenario: Scenario
    risk_events: int
    lost: int
    doubled: int
    strangers: int
    unserved: int
    poison_lost: int
    seconds: float

    @property
    def kept(self) -> bool:
        """Whether the promise was kept: nothing lost, nothing doubled, nothing that should not be there."""
        return not (self.lost or self.doubled or self.strangers or self.unserved or self.poison_lost)


def judge(scenario: Scenario, found: Found) -> Row:
    """Count what is missing, what is there twice, and what an uninterrupted run would not have said."""
    expected = found.expected
    return Row(
        scenario,
        found.ids.total(),
        0 if expected is None else len(expected - found.ids.keys()),
        sum(count - 1 for count in found.ids.values()),
        0 if expected is None else len(found.ids.keys() - expected),
        len(found.points_due - found.points),
        abs(found.poison - found.rejects),
        found.seconds,
    )


def table(rows: Iterable[Row]) -> str:
    """The rows as text, with a line that sums up."""
    rows = list(rows)
    heads = (
        "processes",
        "model",
        "kills",
        "restarts",
        "poison",
        "risk events",
        "lost",
        "doubled",
        "strange",
        "unserved",
    )
    lines = ["  ".join(f"{head:>11}" for head in heads) + "      seconds"]
    for row in rows:
        of = row.scenario
        model = "learning" if of.learning else "pinned"
        poison = "none" if of.poison_every is None else f"1 in {of.poison_every}"
        cells = (of.processes, model, of.kills, of.broker_restarts, poison)
        counts = (row.risk_events, row.lost, row.doubled, row.strangers, row.unserved)
        lines.append("  ".join(f"{cell:>11}" for cell in (*cells, *counts)) + f"  {row.seconds:>11.0f}")
        if row.poison_lost:
            lines.append(f"{row.poison_lost} poisoned records did not end as dead letters")
    kills, kept = sum(row.scenario.kills for row in rows), all(row.kept for row in rows)
    lost, doubled = sum(row.lost + row.unserved for row in rows), sum(row.doubled for row in rows)
    lines.append(f"{kills} kills: {lost} lost, {doubled} doubled: the promise was {'kept' if kept else 'BROKEN'}")
    return "\n".join(lines)
