"""Ten kills on a real broker: the small sister of `make chaos`, one scenario of each kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.kafka.broker import Broker
from tests.recovery.chaos import Reference, torment
from tests.recovery.reporter import Scenario, table

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """A log, a model, and what an uninterrupted run says of it."""
    return Reference(tmp_path_factory.mktemp("chaos") / "reference", 15_000)


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario(1, learning=False, kills=3, poison_every=40),
        Scenario(2, learning=False, kills=3),
        Scenario(1, learning=True, kills=2),
        Scenario(2, learning=True, kills=2),
    ],
    ids=["pinned with poison", "two processes pinned", "learning", "two processes learning"],
)
def test_nothing_is_lost_and_nothing_doubled(
    broker: Broker, reference: Reference, scenario: Scenario, tmp_path: Path
) -> None:
    """SIGKILL at random moments; pinned, the ids are exactly those of an uninterrupted run."""
    row = torment(broker, reference, scenario, tmp_path / "deployment", seed=scenario.kills + scenario.processes)
    assert row.risk_events > 0
    assert row.kept, table([row])
