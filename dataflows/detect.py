"""The dataflow: from records to risk events, in the order in which data flows."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from dataflows.kafka.placement import Placement
from dataflows.operators import context, decode, deliver, learn, profile, score
from dataflows.operators.learn import learner_of
from dataflows.operators.profile import Late
from dataflows.recovery.users import UserStores
from dataflows.runtime.telemetry import Telemetry
from detectors.models.version import FrozenModel
from detectors.policy.policy import Policy
from detectors.profiles.results import Outcome
from detectors.profiles.shards import LANES
from detectors.profiles.user import CompiledPolicy
from detectors.scoring.served import ServedBatch
from detectors.scoring.shard import Lane, ModelUpdate, Publication
from detectors.text.scorer import TextScorer
from schemas.codec.inputs import Codec
from schemas.records.base import Raw
from schemas.records.rejects import Reject

FLOW_ID = "forewarn"


@dataclass(frozen=True)
class Sinks:
    """The sinks of the flow. All output of the flow goes to one of them."""

    risk: Sink[tuple[str, Publication]]
    features: Sink[ServedBatch]
    models: Sink[ModelUpdate]
    rejects: Sink[Reject]
    late: Sink[Late]
    outcomes: Sink[Outcome]


@dataclass(frozen=True)
class FlowOptions:
    """Options of a flow beside its policy, codec, source and sinks.

    With a `pinned` model nothing is learnt. `one_partition` states that the source is a single partition, such as a
    file: lanes then wait for the version that was in force at a point's position, and scores do not depend on batching.
    Channel state is kept for each partition of the source or, with `as_partitions`, as if the source had that many.
    `text` scores messages that have no scores of their own. A flow that is recovered keeps its users in `stores`.
    `placement` checks that the records of a live run are in the partitions of their users.
    """

    telemetry: Telemetry = field(default_factory=Telemetry)
    lanes: int = LANES
    pinned: FrozenModel | None = None
    one_partition: bool = False
    as_partitions: int | None = None
    text: TextScorer | None = None
    stores: UserStores | None = None
    placement: Placement | None = None


def build_flow(
    source: Source[Raw | Reject] | Source[Raw],
    sinks: Sinks,
    policy: Policy,
    codec: Codec,
    options: FlowOptions,
) -> Dataflow:
    """Return the dataflow that `run`, `replay` and the tests share; only source, sinks and options differ."""
    telemetry, pinned, lanes = options.telemetry, options.pinned, options.lanes
    one_partition = options.one_partition

    def new_lane() -> Lane:
        return Lane(policy, pinned=pinned, wait=one_partition)

    flow = Dataflow(FLOW_ID)
    records: Any = op.input("source", flow, source)
    decoded = decode("decode", records, codec, telemetry, options.text, options.placement)
    events = decoded.events
    if policy.channels.remembered is not None:
        events = context(
            "context", events, policy.channels, policy.allowed_lateness, policy.profile_ttl, options.as_partitions
        )
    profiled = profile("profile", events, CompiledPolicy(policy), lanes, telemetry, options.stores)
    rejects = op.merge("rejects", decoded.rejects, profiled.rejects)
    models = () if pinned is not None else (policy.learning.champion, *policy.learning.challengers)
    champion = policy.learning.champion
    updates = learn("learn", profiled.training_events, rejects, partial(learner_of, policy), models)
    judged = score(
        "judge", profiled.items, decoded.scored, updates, new_lane, lanes, telemetry, champion, wait=one_partition
    )
    op.output("risk_events", judged.events, sinks.risk)
    deliver("risk_features", judged.served, sinks.features)
    op.output("risk_models", updates, sinks.models)
    op.output("dead_letters", rejects, sinks.rejects)
    op.output("late_events", profiled.lates, sinks.late)
    op.output("outcomes", profiled.outcomes, sinks.outcomes)
    return flow
