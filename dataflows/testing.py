"""Public test kit: the real dataflow and the real codecs, without a broker and with a manually advanced clock.

>>> from dataflows.testing import FlowDriver, hand_made_model, small_policy
>>> driver = FlowDriver(small_policy())
>>> driver.chat("casual", text="hello there")
>>> driver.advance("5m")
>>> driver.sanction("casual", severity=5)
>>> result = driver.run()
>>> [(outcome.user_id, outcome.kind) for outcome in result.outcomes]
[('casual', 'escalated')]

Where a score matters, a hand-made model replaces a learnt one. This model doubles the probability at the first report:

>>> driver = FlowDriver(small_policy())
>>> driver.chat("casual")
>>> driver.report("casual", "witness")
>>> result = driver.run(model=hand_made_model(0.35, {"report_count_24h": 1.0}))
>>> [round(served.probability, 6) for served in result.served]
[0.35, 0.7]
>>> result.tiers("casual")
['watch', 'high']
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

import orjson
from bytewax.testing import TestingSource

from dataflows.detect import FlowOptions, Sinks, build_flow
from dataflows.operators.profile import Late
from dataflows.recovery.users import FOLDER, UserStores, make_users
from dataflows.runtime.engine import NO_EPOCHS, open_recovery, run_flow
from dataflows.runtime.telemetry import Telemetry
from dataflows.sinks.memory import MemorySink
from detectors.base.elementary import log
from detectors.base.state import content_hash
from detectors.features.catalogue import NAMES
from detectors.features.declare import duration_ms
from detectors.learning.learner import Published
from detectors.models.catalogue import READS, freeze
from detectors.models.linear.logistic import FAMILY
from detectors.policy.parse import parse_policy
from detectors.policy.policy import Policy
from detectors.profiles.results import Outcome
from detectors.profiles.shards import LANES, lane_names
from detectors.rules.catalogue import RULES
from detectors.scoring.served import Served, ServedBatch
from detectors.scoring.shard import ModelUpdate, Publication
from schemas.codec.inputs import Codec
from schemas.records.base import CHAT, MODERATION, Position, Raw, Subject
from schemas.records.decisions import ModelVersion, RiskEvent, Tombstone
from schemas.records.rejects import Reject

START = 1_767_225_600_000
"""Start of a driver's clock (ms): 2026-01-01T00:00:00Z."""
RECOVERY_PARTITIONS = 2


def small_policy(**changes: Any) -> Policy:
    """Return a policy for tests; `changes` replace whole sections.

    One sanction of severity 5 or more within a day is an escalation.
    """
    document: dict[str, Any] = {
        "name": "small",
        "target": {"horizon": "24h", "when": [{"event": "sanction", "min_severity": 5}]},
        "channels": {"remembered": 100},
        "learning": {"publish_every": "1m", "min_positives": 2},
        "tiers": {"watch": {"enter": 0.3, "leave": 0.2}, "high": {"enter": 0.6, "leave": 0.5}},
    }
    return parse_policy({**document, **changes}, RULES, READS)


def hand_made_model(
    base: float,
    weights: Mapping[str, float] | None = None,
    *,
    learned_until: int | None = None,
) -> ModelVersion:
    """Return a model to pin: its probability is `base`, times `(1 + feature) ** weight` for each feature with a weight.

    The probability is at most 1; features must not be negative here. `learned_until` is the version's field of that
    name.
    """
    weighted = dict(sorted((weights or {}).items()))
    numbers = len(weighted)
    model = {
        "features": list(weighted),
        "counts": [1.0] * numbers,
        "means": [0.0] * numbers,
        "variances": [1.0] * numbers,
        "weights": list(weighted.values()),
        "gradients": [0.0] * numbers,
        "intercept": log(base),
        "steps": 0,
    }
    document = {"model": model, "sample": 1.0, "positive_weight": 1.0, "min_positives": 0}
    record: dict[str, Any] = {
        "name": "logistic",
        "family": FAMILY,
        "learned_until": learned_until,
        "examples": 0,
        "positives": 0,
        "features": NAMES,
        "state": orjson.dumps(document).decode(),
    }
    return ModelVersion(version=content_hash(record), **record)


@dataclass(frozen=True)
class DriverResult:
    """The output of the flow, in log order; versions partition by partition."""

    risk: list[RiskEvent | Tombstone]
    served: list[Served]
    published: list[Published]
    rejects: list[Reject]
    late: list[Late]
    outcomes: list[Outcome]
    telemetry: Telemetry

    @property
    def risk_events(self) -> list[RiskEvent]:
        """Return the risk events, without tombstones."""
        return [event for event in self.risk if isinstance(event, RiskEvent)]

    @property
    def versions(self) -> list[ModelVersion]:
        """Return the model versions that were published."""
        return [item.version for item in self.published]

    def tiers(self, user_id: str) -> list[str]:
        """Return the tiers that a user was moved to, one for each risk event."""
        return [event.tier.value for event in self.risk_events if event.user_id == user_id]

    def features(self, user_id: str) -> dict[str, float]:
        """Return the features of a user's last served point."""
        vector = next(served.point.vector for served in reversed(self.served) if served.point.user_id == user_id)
        return dict(zip(NAMES, vector, strict=True))


class FlowDriver:
    """Driver that feeds records to the dataflow and returns its output.

    Events are dated by the driver's clock, which only `advance` moves; any field of an event may be given by name.
    `send` takes bytes exactly as a topic would hold them. The same driver may be run many times: each run is a new flow
    over all records fed so far.

    With several `partitions`, users are distributed over them and the flow runs as in a live run: no lane waits for the
    learner, and the version that scores a point, among those old enough, depends on the batches.
    """

    def __init__(self, policy: Policy, *, codec: Codec | None = None, partitions: int = 1) -> None:
        self.policy = policy
        self.now = START
        self._codec = codec or Codec()
        self._reached = [0] * partitions
        self._records: list[Raw] = []
        self._stops: list[tuple[int, bool]] = []
        self._policies = {0: policy}

    def advance(self, duration: str) -> None:
        """Advance the clock by a duration, such as `5m`."""
        self.now += duration_ms(duration)

    def send(
        self,
        subject: Subject,
        value: bytes | Mapping[str, Any] | None,
        *,
        key: bytes | None = None,
        received: int | None = None,
    ) -> None:
        """Feed one record unchanged."""
        user = value.get("user_id") if isinstance(value, Mapping) else key
        partition = crc32(user.encode() if isinstance(user, str) else user or b"") % len(self._reached)
        at = Position("test", partition, len(self._records), self._reached[partition])
        self._reached[partition] += 1
        self._records.append(Raw(subject, value, key, at, received))

    def chat(self, user_id: str, **fields: Any) -> None:
        """Feed a message, dated now."""
        self.send(CHAT, {**self._identity(user_id), "channel": "lobby", **fields})

    def moderate(self, user_id: str, kind: str, detail: Mapping[str, Any] | None = None, **fields: Any) -> None:
        """Feed a moderation event, dated now."""
        body = {} if detail is None else {kind: dict(detail)}
        self.send(MODERATION, {**self._identity(user_id), "kind": kind, **body, **fields})

    def report(self, user_id: str, reporter_id: str | None = None, **fields: Any) -> None:
        """Feed a report, dated now."""
        self.moderate(user_id, "report", {"reporter_id": reporter_id}, **fields)

    def sanction(self, user_id: str, severity: int = 1, **fields: Any) -> None:
        """Feed a sanction, dated now."""
        self.moderate(user_id, "sanction", {"action": "warning", "severity": severity, "policy": "conduct"}, **fields)

    def reverse(self, user_id: str, sanction_id: str, **fields: Any) -> None:
        """Feed a reversal of the sanction with this event id, dated now."""
        self.moderate(user_id, "reversal", {"sanction_id": sanction_id}, **fields)

    def erase(self, user_id: str, **fields: Any) -> None:
        """Feed a request to erase the user, dated now."""
        self.moderate(user_id, "erasure", **fields)

    def restart(self, policy: Policy | None = None) -> None:
        """Drain and restart the process here, optionally with another policy; needs a `run` with `recovery`."""
        self._stops.append((len(self._records), False))
        if policy is not None:
            self._policies[len(self._stops)] = policy

    def crash(self) -> None:
        """Crash and restart the process here; needs a `run` with `recovery` and one worker."""
        self._stops.append((len(self._records), True))

    def _identity(self, user_id: str) -> dict[str, Any]:
        return {"event_id": f"event-{len(self._records)}", "event_time": self.now, "user_id": user_id}

    def run(
        self,
        *,
        batch_size: int = 1_000,
        workers: int = 1,
        lanes: int = LANES,
        model: ModelVersion | None = None,
        recovery: Path | None = None,
        snapshot_each_batch: bool = True,
    ) -> DriverResult:
        """Run the dataflow over all records fed so far; with a `model`, that model scores and nothing is learnt.

        `recovery` is an empty directory for snapshots. They are taken after each batch or, without
        `snapshot_each_batch`, at a `restart` only. Output between the last snapshot and a `crash` is in the result
        twice: output is at least once.

        Raises:
            ValueError: if there is a `restart` or `crash` but no recovery directory, or a `crash` and several workers.
        """
        if self._stops and recovery is None:
            raise ValueError("a flow that is stopped and started anew needs a recovery directory")
        if workers > 1 and any(crashing for _, crashing in self._stops):
            raise ValueError("the engine can crash on purpose with one worker only")
        risk, served, updates = (
            MemorySink[tuple[str, Publication]](),
            MemorySink[ServedBatch](),
            MemorySink[ModelUpdate](),
        )
        rejects, late, outcomes = MemorySink[Reject](), MemorySink[Late](), MemorySink[Outcome]()
        telemetry = Telemetry()
        epoch = timedelta(0) if recovery is not None and snapshot_each_batch else NO_EPOCHS
        for life in range(len(self._stops) + 1):
            policy = self._policies[max(since for since in self._policies if since <= life)]
            stores = None if recovery is None else _stores(recovery, lanes)
            flow = build_flow(
                TestingSource(self._input(life), batch_size=batch_size),
                Sinks(risk=risk, features=served, models=updates, rejects=rejects, late=late, outcomes=outcomes),
                policy,
                self._codec,
                FlowOptions(
                    telemetry=telemetry,
                    lanes=lanes,
                    pinned=None if model is None else freeze(model),
                    one_partition=len(self._reached) == 1,
                    stores=stores,
                ),
            )
            store = None if recovery is None else open_recovery(recovery, RECOVERY_PARTITIONS)
            with stores or nullcontext():
                run_flow(flow, workers, epoch=epoch, recovery=store)
        published = [item for update in updates.items for item in update.published]
        return DriverResult(
            risk=[item.event for item in sorted((item for _, item in risk.items), key=lambda item: item.at.offset)],
            served=sorted((row for batch in served.items for row in batch), key=lambda row: row.point.at.offset),
            published=sorted(published, key=lambda item: (item.partition, item.seq, item.version.name)),
            rejects=sorted(rejects.items, key=lambda item: item.offset),
            late=sorted(late.items, key=lambda item: item.at.offset),
            outcomes=sorted(outcomes.items, key=lambda item: item.at.offset),
            telemetry=telemetry,
        )

    def _input(self, life: int) -> list[Any]:
        """Return the input of one life of the process, which ends at the next stop.

        The engine counts a drain that it has passed as an item, and does not count a crash.
        """
        items: list[Any] = []
        stops = list(enumerate(self._stops))
        for index in range(len(self._records) + 1):
            while stops and stops[0][1][0] == index:
                number, (_, crashing) = stops.pop(0)
                if not crashing:
                    items.append(TestingSource.EOF())
                elif number >= life:
                    items.append(TestingSource.ABORT())
            items.extend(self._records[index : index + 1])
        return items


def _stores(recovery: Path, lanes: int) -> UserStores:
    """Return the user files of a recovery directory; make them if there are none yet."""
    if not (recovery / FOLDER).exists():
        make_users(recovery, lane_names(lanes))
    return UserStores(recovery)
