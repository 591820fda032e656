"""The public test kit: the real dataflow and the real codecs, without a broker and with a clock moved by hand.

>>> from dataflows.testing import FlowDriver, small_policy
>>> driver = FlowDriver(small_policy())
>>> driver.chat("casual", text="hello there")
>>> driver.advance("5m")
>>> driver.sanction("casual", severity=5)
>>> result = driver.run()
>>> [(outcome.user_id, outcome.kind) for outcome in result.outcomes]
[('casual', 'escalated')]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bytewax.testing import TestingSource

from dataflows.detect import Sinks, build_flow
from dataflows.engine import run_flow
from dataflows.operators.profile import Late, Outcome
from dataflows.sinks.memory import MemorySink
from dataflows.telemetry import Telemetry
from detectors.features.catalogue import NAMES
from detectors.features.declare import duration_ms
from detectors.lane import News, Publication, Served
from detectors.models.catalogue import MODELS, freeze
from detectors.policy import Policy, parse_policy
from detectors.rules.catalogue import RULES
from schemas.codec import Codec
from schemas.records import CHAT, MODERATION, ModelVersion, Position, Raw, Reject, RiskEvent, Subject, Tombstone

START = 1_767_225_600_000
"""Where a driver's clock begins: 2026-01-01T00:00:00Z."""


def small_policy(**changes: Any) -> Policy:
    """A policy for tests: one grave sanction within a day is an escalation. `changes` replace whole sections."""
    document: dict[str, Any] = {
        "name": "small",
        "target": {"horizon": "24h", "when": [{"event": "sanction", "min_severity": 5}]},
        "learning": {"publish_every": "1m", "min_positives": 2},
        "tiers": {"watch": {"enter": 0.3, "leave": 0.2}, "high": {"enter": 0.6, "leave": 0.5}},
    }
    return parse_policy({**document, **changes}, set(RULES), set(MODELS))


@dataclass(frozen=True)
class DriverResult:
    """Everything that left the flow, in the order of the log."""

    risk: list[RiskEvent | Tombstone]
    served: list[Served]
    versions: list[ModelVersion]
    rejects: list[Reject]
    late: list[Late]
    outcomes: list[Outcome]
    telemetry: Telemetry

    @property
    def risk_events(self) -> list[RiskEvent]:
        """The risk events, without tombstones."""
        return [event for event in self.risk if isinstance(event, RiskEvent)]

    def features(self, user_id: str) -> dict[str, float]:
        """The features a user was last served with."""
        vector = next(served.point.vector for served in reversed(self.served) if served.point.user_id == user_id)
        return dict(zip(NAMES, vector, strict=True))


class FlowDriver:
    """Feeds records to the dataflow and gives back what left it.

    Events are dated by the driver's clock, which only `advance` moves. `send` takes bytes exactly as a topic would
    hold them. The same driver may be run many times: each run is a new flow over everything fed so far.
    """

    def __init__(self, policy: Policy, *, codec: Codec | None = None) -> None:
        self.policy = policy
        self.now = START
        self._codec = codec or Codec()
        self._records: list[Raw] = []

    def advance(self, duration: str) -> None:
        """Move the clock."""
        self.now += duration_ms(duration)

    def send(
        self,
        subject: Subject,
        value: bytes | Mapping[str, Any] | None,
        *,
        key: bytes | None = None,
        received: int | None = None,
    ) -> None:
        """Feed one record as it stands."""
        seq = len(self._records)
        self._records.append(Raw(subject, value, key, Position("test", 0, seq, seq), received))

    def chat(self, user_id: str, **fields: Any) -> None:
        """A message now."""
        self.send(CHAT, {**self._identity(user_id), "channel": "lobby", **fields})

    def moderate(self, user_id: str, kind: str, detail: Mapping[str, Any] | None = None, **fields: Any) -> None:
        """A moderation event now."""
        body = {} if detail is None else {kind: dict(detail)}
        self.send(MODERATION, {**self._identity(user_id), "kind": kind, **body, **fields})

    def report(self, user_id: str, reporter_id: str | None = None, **fields: Any) -> None:
        """A report now."""
        self.moderate(user_id, "report", {"reporter_id": reporter_id}, **fields)

    def sanction(self, user_id: str, severity: int = 1, **fields: Any) -> None:
        """A sanction now."""
        self.moderate(user_id, "sanction", {"action": "warning", "severity": severity, "policy": "conduct"}, **fields)

    def _identity(self, user_id: str) -> dict[str, Any]:
        return {"event_id": f"event-{len(self._records)}", "event_time": self.now, "user_id": user_id}

    def run(
        self,
        *,
        batch_size: int = 1_000,
        workers: int = 1,
        lanes: int = 4,
        model: ModelVersion | None = None,
    ) -> DriverResult:
        """Run the dataflow over everything fed so far."""
        risk, served, news = MemorySink[Publication](), MemorySink[list[Served]](), MemorySink[News]()
        rejects, late, outcomes = MemorySink[Reject](), MemorySink[Late](), MemorySink[Outcome]()
        telemetry = Telemetry()
        flow = build_flow(
            TestingSource(list(self._records), batch_size=batch_size),
            Sinks(risk=risk, features=served, models=news, rejects=rejects, late=late, outcomes=outcomes),
            self.policy,
            self._codec,
            telemetry=telemetry,
            lanes=lanes,
            pinned=None if model is None else freeze(model),
            one_partition=True,
        )
        run_flow(flow, workers)
        published = [item for heard in news.items for item in heard.published]
        return DriverResult(
            risk=[item.event for item in sorted(risk.items, key=lambda item: item.at.seq)],
            served=sorted((row for batch in served.items for row in batch), key=lambda row: row.point.at.seq),
            versions=[item.version for item in sorted(published, key=lambda item: (item.seq, item.version.name))],
            rejects=sorted(rejects.items, key=lambda item: item.seq),
            late=sorted(late.items, key=lambda item: item.at.seq),
            outcomes=sorted(outcomes.items, key=lambda item: item.at.seq),
            telemetry=telemetry,
        )
