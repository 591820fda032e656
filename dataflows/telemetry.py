"""Counts of what happened, kept once and shown twice: as Prometheus metrics and in a replay's summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from threading import Lock

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client import Counter as Metric

from detectors.lane import Publication
from schemas.records import ChatMessage, Event, Reject, Tombstone


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
                (
                    "dropped",
                    "why",
                    "Profiles dropped from memory: after a silence longer than profile_ttl, or an erasure.",
                ),
                ("raised", "tier", "Warnings published that raised a user's tier, by tier."),
                ("published", "kind", "Risk events and tombstones published."),
            )
        }
        self.profiles = Gauge("forewarn_profiles", "Users whose profiles are in memory.", registry=self.registry)

    def add(self, name: str, counts: Counter[str]) -> None:
        """Count a batch."""
        counts = +counts  # without zeros
        metric = self._metrics[name]
        with self._lock:
            self._counts.setdefault(name, Counter()).update(counts)
        for label, amount in counts.items():
            metric.labels(label).inc(amount)

    def counts(self, name: str) -> dict[str, int]:
        """What was counted so far, by label, in a stable order."""
        with self._lock:
            return dict(sorted(self._counts.get(name, Counter()).items()))

    def decoded(self, events: Iterable[Event], rejects: list[Reject]) -> None:
        """Count a decoded batch."""
        self.add("events", Counter(["chat_message" if isinstance(e, ChatMessage) else e.kind for e in events]))
        self.add("rejects", Counter([reject.reason.value for reject in rejects]))

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
