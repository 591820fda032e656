"""Writes what the live tests expect, from a run that nobody disturbed: look at the difference before you keep it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.kit.deployment import Deployment
from tests.kit.kafka.broker import find_broker
from tests.recovery.chaos import Reference
from tests.recovery.test_live import EVENTS, EXPECTED, said

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, find_broker() as broker:
        reference = Reference(Path(folder) / "reference", EVENTS)
        deployment = Deployment(broker.address, Path(folder) / "live", reference.policy, reference.model)
        deployment.produce(reference.log)
        deployment.finish()
        EXPECTED.write_text("".join(f"{line}\n" for line in said(deployment)), encoding="utf-8")
