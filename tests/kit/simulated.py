"""Fixtures: a simulated log with poison at both ends, and replays of it, each made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from dataflows.config.policy import load_policy
from dataflows.replay.replay import load_model, replay
from dataflows.simulate.platform import SimulationConfig, write_log
from dataflows.sources.files.log import LogSource

POISON = b'{"subject": "chat_message", "event_id": "no more than that"}\n'

POLICY = """
name = "simulated"
[target]
horizon = "1d"
when = [{ event = "sanction", count = 2 }, { event = "sanction", min_severity = 3 }]
reset_after = "1d"
[learning]
publish_every = "30m"
[tiers]
watch = { enter = 0.05, leave = 0.03 }
elevated = { enter = 0.1, leave = 0.07 }
high = { enter = 0.3, leave = 0.2 }
[rules]
velocity = {}
report_burst = { tier = "elevated", limit = 4 }
"""


class Simulated(NamedTuple):
    """A simulated log and the policy it is replayed with."""

    log: Path
    policy: Path


Replays = Callable[..., Path]
"""`replays(batch=100, workers=1, pinned=False)`: the directory of a replay of the simulated log, which is made once."""


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    """Some 15,000 events, more of them late, disordered, doubled and erasures than anywhere; a reject at each end."""
    folder = tmp_path_factory.mktemp("simulated")
    log, policy = folder / "log.jsonl", folder / "policy.toml"
    config = SimulationConfig(
        events=15_000,
        users=300,
        days=14,
        seed=7,
        drifting=0.2,
        erased=0.05,
        late=0.01,
        disordered=0.03,
        duplicated=0.01,
    )
    write_log(config, log)
    log.write_bytes(POISON + log.read_bytes() + POISON)
    policy.write_text(POLICY)
    return Simulated(log, policy)


@pytest.fixture(scope="session")
def replays(simulated: Simulated, tmp_path_factory: pytest.TempPathFactory) -> Replays:
    """Replays of the simulated log, each made when it is first asked for."""
    made: dict[tuple[int, int, bool], Path] = {}

    def replayed(*, batch: int = 100, workers: int = 1, pinned: bool = False) -> Path:
        asked = batch, workers, pinned
        if asked not in made:
            policy = load_policy(simulated.policy)
            model = load_model(replayed() / "models" / "logistic.json", policy) if pinned else None
            made[asked] = tmp_path_factory.mktemp("replay")
            source = LogSource(simulated.log, batch_size=batch)
            replay(source, policy, made[asked], log_name="log.jsonl", model=model, workers=workers)
        return made[asked]

    return replayed
