"""A diagram of the dataflow, drawn from the flow that runs."""

from __future__ import annotations

from typing import Any

from bytewax.testing import TestingSource
from bytewax.visualize import to_mermaid

from dataflows.detect import FlowOptions, Sinks, build_flow
from dataflows.sinks.memory import NullSink
from detectors.policy.policy import Policy
from schemas.codec.inputs import Codec


def topology() -> str:
    """Return the top-level steps and the streams between them, in Mermaid notation."""
    policy = Policy.model_validate(
        {
            "name": "topology",
            "target": {"horizon": "1d", "when": [{"event": "sanction"}]},
            "channels": {"remembered": 1},
            "tiers": {"watch": {"enter": 0.5, "leave": 0.5}},
        },
    )
    nothing: Any = NullSink()
    sinks = Sinks(risk=nothing, features=nothing, models=nothing, rejects=nothing, late=nothing, outcomes=nothing)
    return to_mermaid(build_flow(TestingSource([]), sinks, policy, Codec(), FlowOptions()))
