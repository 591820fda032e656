"""Counts of what happened, kept once and shown twice: as Prometheus metrics and in a replay's summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from threading import Lock

from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_client import Counter as Metric

from dataflows.clock import now_ms
from dataflows.silence import Watch
from detectors.lane import Publication
from detectors.served import ServedBatch
from schemas.records import ChatMessage, Event, Reject, Tombstone


class Telemetry:
    """Counters of one process; batches are counted in one go, so that counting costs nothing per event."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.watch = Watch()
        self._lock = Lock()
        self._counts: dict[str, Counter[str]] = {}
        self._metrics = {
            name: Metric(f"forewarn_{name}", text, [label], registry=self.registry)
            for name, label, text in (
                ("events", "kind", "Events decoded, by kind."),
                ("rejects", "reason", "Records that could not become an Event, by reason."),
                ("outcomes", "outcome", "What events came to: seen, late, duplicate, erased."),
                (
                    "decisions",
                    "kind",
                    "Decision points, those held back by the budget, escalations, overturned ones.",
                ),
                (
                    "dropped",
                    "why",
                    "Profiles dropped from memory: after a silence longer than profile_ttl, or an erasure.",
                ),
                ("unscored", "cause", "Decision points without a score, by cause."),
                ("silent", "cause", "Scored points at which no score could warn: no promise shown yet, or no budget."),
                ("clock_ahead", "topic", "Events dated more than a day ahead of what the log's users support."),
                (
                    "examples",
                    "fate",
                    "Examples put off because they were dated ahead, left out, and models begun anew.",
                ),
                ("text_failures", "scorer", "Messages that the text scorer failed on."),
                ("raised", "tier", "Warnings published that raised a user's tier, by tier."),
                ("published", "kind", "Risk events and tombstones published."),
                ("matured_points", "bin", "Sampled decision points with a mature label, by bin of their probability."),
                ("matured_positives", "bin", "Those among them whose users escalated within the horizon."),
                ("matured_probability_millionths", "bin", "The sum of their probabilities, in millionths."),
                ("matured_warnings", "tier", "Warnings with a mature label, by tier."),
                ("matured_right", "tier", "Those among them whose users escalated within the horizon."),
                ("drift_windows", "over", "Windows of decision points that were compared with their reference."),
                ("drifts", "what", "Windows in which a feature, or the score, had drifted."),
                ("scorer_versions", "scorer", "New versions of toxicity scorers that were compared with the last."),
                ("scorer_shifts", "scorer", "Those among them whose values are distributed otherwise."),
            )
        }
        self.profiles = Gauge("forewarn_profiles", "Users whose profiles are in memory.", registry=self.registry)
        self._stalls = Histogram(
            "forewarn_snapshot_seconds",
            "How long a source partition stood still for a snapshot: until its epoch was worked off and written.",
            buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
            registry=self.registry,
        )
        self._last_snapshot = Gauge(
            "forewarn_last_snapshot_timestamp_seconds",
            "When the last snapshot was written, in seconds since 1970.",
            registry=self.registry,
        )
        self.store = Gauge(
            "forewarn_recovery_store_bytes",
            "Bytes of the recovery store on disk; 0 without one.",
            registry=self.registry,
        )

    def snapped(self, stall_ms: int) -> None:
        """Note that a snapshot was written just now, for which a source partition stood still so long."""
        self._stalls.observe(stall_ms / 1_000)
        self._last_snapshot.set(now_ms() / 1_000)

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

    def measured(self, batches: Iterable[Mapping[str, Counter[str]]]) -> None:
        """Count what lanes measured of themselves."""
        for counts in batches:
            for name, labelled in counts.items():
                self.add(name, labelled)

    def fates(self, batches: Iterable[Mapping[str, int]]) -> None:
        """Count what became of examples that were not learnt at once."""
        fates: Counter[str] = Counter()
        for batch in batches:
            fates.update(batch)
        self.add("examples", fates)

    def served(self, batches: Sequence[ServedBatch]) -> None:
        """Count points that had no score, or no threshold to reach, and log when most have none."""
        unscored, silent = Counter[str](), Counter[str]()
        for batch in batches:
            unscored.update(batch.unscored)
            silent.update(batch.silent)
        self.add("unscored", unscored)
        self.add("silent", silent)
        self.watch.points(sum(map(len, batches)), unscored + silent)

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
