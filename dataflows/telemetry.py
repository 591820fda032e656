"""Counts of what happened, kept once and shown twice: as Prometheus metrics and in a replay's summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from threading import Lock

from prometheus_client import CollectorRegistry
from prometheus_client import Counter as Metric

from detectors.lane import Publication
from detectors.user import Step
from schemas.records import ChatMessage, Reject, Tombstone


class Telemetry:
    """Counters of one process; batches are counted in one go, so that counting costs nothing per event."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._lock = Lock()
        self._counts: dict[str, Counter[str]] = {}
        self._metrics = {
            name: Metric(f"forewarn_{name}", text, [label], registry=self.registry)
            for name, label, text in (
                ("events", "kind", "Events decoded, by kind."),
                ("rejects", "reason", "Records that could not become an Event, by reason."),
                ("outcomes", "outcome", "What events came to: seen, late, duplicate, erased."),
                ("decisions", "kind", "Decision points, escalations and overturned escalations."),
                ("raised", "tier", "Warnings published that raised a user's tier, by tier."),
                ("published", "kind", "Risk events and tombstones published."),
            )
        }

    def add(self, name: str, counts: Counter[str]) -> None:
        """Count a batch."""
        metric = self._metrics[name]
        with self._lock:
            self._counts.setdefault(name, Counter()).update(counts)
        for label, amount in counts.items():
            metric.labels(label).inc(amount)

    def counts(self, name: str) -> dict[str, int]:
        """What was counted so far, by label, in a stable order."""
        with self._lock:
            return dict(sorted(self._counts.get(name, Counter()).items()))

    def decoded(self, items: Sequence[object]) -> None:
        """Count a decoded batch: pairs of user and event, and Rejects."""
        kinds: Counter[str] = Counter()
        rejects: Counter[str] = Counter()
        for item in items:
            if isinstance(item, Reject):
                rejects[item.reason.value] += 1
            elif isinstance(item, tuple):
                event = item[1].event
                kinds["chat_message" if isinstance(event, ChatMessage) else event.kind] += 1
        self.add("events", kinds)
        self.add("rejects", rejects)

    def stepped(self, items: Sequence[tuple[str, object]]) -> None:
        """Count what a batch of events came to."""
        outcomes: Counter[str] = Counter()
        decisions: Counter[str] = Counter()
        for _, step in items:
            if isinstance(step, Step):
                outcomes[step.outcome] += 1
                if step.point is not None:
                    decisions["decision_points"] += 1
                if step.escalated:
                    decisions["escalations"] += 1
                if step.overturned:
                    decisions["overturned"] += 1
            elif isinstance(step, Reject):
                self.add("rejects", Counter({step.reason.value: 1}))
        self.add("outcomes", outcomes)
        self.add("decisions", decisions)

    def judged(self, publications: Sequence[Publication]) -> None:
        """Count what is published."""
        raised: Counter[str] = Counter()
        published: Counter[str] = Counter()
        for _, event in publications:
            if isinstance(event, Tombstone):
                published["tombstone"] += 1
                continue
            published["risk_event"] += 1
            if event.tier.rank > event.previous_tier.rank:
                raised[event.tier.value] += 1
        self.add("raised", raised)
        self.add("published", published)
