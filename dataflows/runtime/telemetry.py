"""Counters of a process, shown as Prometheus metrics and in a replay's summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Lock
from typing import NamedTuple, get_args

from prometheus_client import CollectorRegistry, Gauge, Histogram, disable_created_metrics
from prometheus_client import Counter as Metric

from dataflows.runtime.clock import now_ms
from dataflows.runtime.silence import CAUSES, SILENT, Watch
from detectors.features.catalogue import NUMBERS
from detectors.monitoring.bins import BINS
from detectors.scoring.served import ServedBatch
from detectors.scoring.shard import Publication
from schemas.records.decisions import Tier, Tombstone
from schemas.records.events import ChatMessage, Event, ModerationEvent
from schemas.records.mending import PARTS
from schemas.records.rejects import Reject, RejectReason


class Family(NamedTuple):
    """Counters that share a name and differ in the value of one label."""

    label: str
    values: tuple[str, ...] | None
    """All values of the label, each exported from the start; None if the values depend on the traffic."""
    text: str


_disable_created: Callable[[], None] = disable_created_metrics  # the library has no type for it

KINDS: tuple[str, ...] = get_args(ModerationEvent.model_fields["kind"].annotation)
WARNINGS = tuple(tier.value for tier in Tier if tier.rank)

FAMILIES = {
    "events": Family("kind", ("chat_message", *KINDS), "Events decoded, by kind."),
    "rejects": Family(
        "reason",
        tuple(reason.value for reason in RejectReason),
        "Records that could not become an Event, by reason.",
    ),
    "outcomes": Family(
        "outcome",
        ("seen", "late", "duplicate", "erased"),
        "What events came to: seen, late, duplicate, erased.",
    ),
    "decisions": Family(
        "kind",
        ("decision_points", "held_back", "escalations", "overturned"),
        "Decision points, those held back by the budget, escalations, overturned ones.",
    ),
    "dropped": Family(
        "why",
        ("silence", "erasure"),
        "Profiles dropped from memory: after a silence longer than profile_ttl, or an erasure.",
    ),
    "unscored": Family("cause", tuple(CAUSES), "Decision points without a score, by cause."),
    "silent": Family(
        "cause", tuple(SILENT), "Scored points at which no score could warn: no promise shown yet, or no budget."
    ),
    "clock_ahead": Family("topic", None, "Events dated more than a day ahead of what the log's users support."),
    "examples": Family(
        "fate",
        ("put_off", "left_out", "begun_anew"),
        "Examples put off because they were dated ahead, left out, and models begun anew.",
    ),
    "text_failures": Family("scorer", None, "Messages that the text scorer failed on."),
    "raised": Family("tier", WARNINGS, "Warnings published that raised a user's tier, by tier."),
    "published": Family("kind", ("risk_event", "tombstone"), "Risk events and tombstones published."),
    "left_out": Family(
        "why", ("repeated", "older"), "Risk events not written: repeated, or older than the user's latest on the topic."
    ),
    "misplaced": Family(
        "topic", None, "Events whose record has another key than the user, or is in another partition."
    ),
    "matured_points": Family("bin", BINS, "Sampled decision points with a mature label, by bin of their probability."),
    "matured_positives": Family("bin", BINS, "Those among them whose users escalated within the horizon."),
    "matured_probability_millionths": Family("bin", BINS, "The sum of their probabilities, in millionths."),
    "matured_warnings": Family("tier", WARNINGS, "Warnings with a mature label, by tier."),
    "matured_right": Family("tier", WARNINGS, "Those among them whose users escalated within the horizon."),
    "drift_windows": Family("over", ("all",), "Windows of decision points that were compared with their reference."),
    "drifts": Family("what", (*NUMBERS, "score"), "Windows in which a feature, or the score, had drifted."),
    "scorer_versions": Family("scorer", None, "New versions of toxicity scorers that were compared with the last."),
    "scorer_shifts": Family("scorer", None, "Those among them whose values are distributed otherwise."),
}
"""All counters with one label. A label value that is not exported before its first count hides its first increase."""


class Telemetry:
    """Counters of one process, incremented once per batch. A `live` run also logs when scoring degrades."""

    def __init__(self, *, live: bool = False) -> None:
        _disable_created()  # a second series per counter, which only repeats the time of the restart
        self.registry = CollectorRegistry()
        self.watch = Watch(shares=live)
        self._lock = Lock()
        self._counts: dict[str, Counter[str]] = {}
        self._metrics = {
            name: Metric(f"forewarn_{name}", family.text, [family.label], registry=self.registry)
            for name, family in FAMILIES.items()
        }
        for name, family in FAMILIES.items():
            for value in family.values or ():
                self._metrics[name].labels(value)
        self._metrics["mended_parts"] = Metric(
            "forewarn_mended_parts",
            "Records of which an optional part was left out, clipped or replaced, by the part.",
            ["subject", "field"],
            registry=self.registry,
        )
        for subject, parts in PARTS.items():  # Prometheus sees a first increase only if a 0 was exported before
            for part in sorted(parts):
                self._metrics["mended_parts"].labels(subject, part)
        self.build = Gauge(
            "forewarn_build_info",
            "1, with what is running as labels.",
            ["version", "compiled", "policy", "champion"],
            registry=self.registry,
        )
        self.connected = Gauge(
            "forewarn_kafka_connected",
            "1 while Kafka answers this process, 0 while it does not.",
            registry=self.registry,
        )
        self.outages = Metric(
            "forewarn_kafka_outages", "How often Kafka stopped answering this process.", registry=self.registry
        )
        self.restarts = Metric(
            "forewarn_restarts",
            "How often the cluster was started again by its supervisor; counted by its first process.",
            registry=self.registry,
        )
        self.input_partitions = Gauge(
            "forewarn_input_partitions", "Partitions of an input topic.", ["topic"], registry=self.registry
        )
        self.unread_partitions = Gauge(
            "forewarn_unread_partitions",
            "Partitions of an input topic that nobody reads.",
            ["topic"],
            registry=self.registry,
        )
        self.record_lead = Gauge(
            "forewarn_record_lead_seconds",
            "How far the latest record of an input topic is ahead of this machine's clock; negative if behind.",
            ["topic"],
            registry=self.registry,
        )
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
        """Record a snapshot that was written just now, and how long (ms) it stalled a source partition."""
        self._stalls.observe(stall_ms / 1_000)
        self._last_snapshot.set(now_ms() / 1_000)

    def expect(self, name: str, labels: Iterable[str]) -> None:
        """Export label values of a counter at zero from now on, if they depend on the deployment."""
        for label in labels:
            self._metrics[name].labels(label)

    def add(self, name: str, counts: Counter[str]) -> None:
        """Add the counts of a batch, by label; two labels are joined by a dot."""
        counts = +counts  # drop zeros
        metric = self._metrics[name]
        with self._lock:
            self._counts.setdefault(name, Counter()).update(counts)
        several = len(metric._labelnames) > 1  # noqa: SLF001 - there is no public attribute
        for label, amount in counts.items():
            metric.labels(*label.split(".", 1) if several else (label,)).inc(amount)

    def counts(self, name: str) -> dict[str, int]:
        """Return the counts so far by label, sorted by label."""
        with self._lock:
            return dict(sorted(self._counts.get(name, Counter()).items()))

    def decoded(self, events: Iterable[Event], rejects: list[Reject], mended: Counter[str]) -> None:
        """Count the events, rejects and mended optional parts of a decoded batch."""
        self.add("events", Counter(["chat_message" if isinstance(e, ChatMessage) else e.kind for e in events]))
        self.add("rejects", Counter([reject.reason.value for reject in rejects]))
        self.add("mended_parts", mended)

    def measured(self, batches: Iterable[Mapping[str, Counter[str]]]) -> None:
        """Add the counts that lanes reported, by counter name."""
        for counts in batches:
            for name, labelled in counts.items():
                self.add(name, labelled)

    def fates(self, batches: Iterable[Mapping[str, int]]) -> None:
        """Count the fates of examples that were not learnt at once."""
        fates: Counter[str] = Counter()
        for batch in batches:
            fates.update(batch)
        self.add("examples", fates)

    def served(self, batches: Sequence[ServedBatch]) -> None:
        """Count points without a score or without a threshold to reach, and log when they are the majority."""
        unscored, silent = Counter[str](), Counter[str]()
        for batch in batches:
            unscored.update(batch.unscored)
            silent.update(batch.silent)
        self.add("unscored", unscored)
        self.add("silent", silent)
        self.watch.points(sum(map(len, batches)), unscored + silent)

    def judged(self, publications: Sequence[Publication]) -> None:
        """Count published risk events and tombstones, and the tiers that were raised."""
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
