"""Guards against getting slower by counting work, which is the same on every machine, instead of time.

A figure may only fall. Whoever makes something cheaper writes the new one here; whoever has a reason to make it dearer
writes that into the commit that raises it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import orjson
import pytest
from bytewax.testing import TestingSource

from dataflows.config.policy import load_policy
from dataflows.detect import FlowOptions, Sinks, build_flow
from dataflows.runtime.engine import run_flow
from dataflows.sinks.memory import NullSink
from detectors.profiles.user import COMPILED, CompiledPolicy, User
from schemas.codec.inputs import Codec
from schemas.records.base import Position, Raw
from schemas.records.rejects import Reject
from tests.bench.workload import Workload, events

POLICY = Path(__file__).parent / "ubuntu_irc.toml"
WORKLOAD = Workload(400, 6_000)
CALLS = 91.0
"""Of functions, Python's and C's, for an event, two models learning."""
BYTES = 1_588.0
"""Of a user's state, after 15 events."""
MARGIN = 1.02
"""Two Pythons, and a patch of a library, do not call quite the same."""


def records() -> list[Raw]:
    found = []
    for seq, event in enumerate(events(WORKLOAD)):
        at = Position(event["subject"], 0, seq, seq)
        found.append(Raw(event["subject"], orjson.dumps(event), event["user_id"].encode(), at, None))
    return found


@pytest.mark.skipif(not COMPILED, reason="the figure is that of compiled modules")
def test_an_event_takes_no_more_calls_than_it_did() -> None:
    """Calls of functions, Python's and C's, from decode to decision, learning on."""
    null: Any = NullSink()
    source = TestingSource(records(), 1_000)
    flow = build_flow(source, Sinks(*[null] * 6), load_policy(POLICY), Codec(), FlowOptions())
    calls = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        run_flow(flow)
    finally:
        sys.setprofile(None)
    found = calls / WORKLOAD.events
    assert found <= CALLS * MARGIN, f"{found:.1f} calls an event"


def test_a_users_state_takes_no_more_bytes_than_it_did() -> None:
    """As it is stored, and as most users are kept in memory; after 15 events each."""
    rules, codec = CompiledPolicy(load_policy(POLICY)), Codec()
    users: dict[str, User] = {}
    for record in records():
        event = codec.decode(record)
        assert not isinstance(event, Reject)
        users.setdefault(event.user_id, User(rules)).step(event, record.at)
    size = sum(len(user.dump()) for user in users.values()) / len(users)
    assert size <= BYTES * MARGIN, f"{size:.0f} bytes a user"
