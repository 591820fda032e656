"""A run whose wall clock is set back or forward by hours, with the real engine and real clients."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kit.deployment import Deployment
from tests.recovery.chaos import Reference

pytestmark = pytest.mark.kafka

SECONDS = 60.0
STEP = 7_200
BATCH_SIZE = 5
"""Small batches: a run that has served some of the log is far from its end."""


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """A log, and a model learnt from it."""
    return Reference(tmp_path_factory.mktemp("clock") / "reference", 4_000)


@pytest.fixture
def deployment(kafka: str, reference: Reference, tmp_path: Path) -> Iterator[Deployment]:
    """A deployment whose topics hold nothing yet."""
    made = Deployment(kafka, tmp_path / "deployment", reference.policy, reference.model, batch_size=BATCH_SIZE)
    yield made
    made.close()


@pytest.fixture
def wall_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that says by how many seconds the wall clock of what is started now is shifted."""
    compiler = shutil.which((sysconfig.get_config_var("CC") or "cc").split()[0]) or shutil.which("cc")
    if compiler is None or os.uname().sysname != "Linux":
        pytest.skip("the clock of a process can be shifted on Linux, with a C compiler")
    library, shift = tmp_path / "shift.so", tmp_path / "shift"
    source = Path(__file__).with_name("shift.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    shift.write_text("0")
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("SHIFT_FILE", str(shift))
    return shift


@pytest.mark.parametrize("step", [-STEP, STEP], ids=["back", "forward"])
def test_a_run_goes_on_when_its_clock_is_set(
    deployment: Deployment, reference: Reference, wall_clock: Path, step: int
) -> None:
    """It reads what comes, drains when asked, and has published what an undisturbed run does."""
    deployment.produce(reference.log)
    life = deployment.start()

    def until(done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SECONDS
        while not done():
            assert life.process.poll() is None, life.said()
            assert time.monotonic() < deadline, life.said()

    until(lambda: deployment.served() >= 100)
    wall_clock.write_text(str(step))
    assert deployment.served() < len(reference.points) / 2  # or there was little left to read
    until(lambda: deployment.served() >= len(reference.points))
    if step < 0:
        until(lambda: "was set back by 7200 s" in life.said())
    status, seconds = life.drain()
    assert status == 0, life.said()
    assert seconds < 30
    assert deployment.risk_ids().keys() == reference.ids
    assert set(deployment.risk_ids().values()) == {1}
