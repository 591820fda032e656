"""Every golden scenario is told in several ways, and forewarn says the same of it each time.

To write the expected files anew after a change that was meant:
`FOREWARN_TEST_GOLDEN=write make test ARGS=tests/golden`; then read the difference line by line before it is committed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.golden.scenario import FOLDER, Scenario, rendered

NAMES = sorted(path.stem for path in FOLDER.glob("*.toml"))
WAYS: dict[str, dict[str, Any]] = {
    "all at once": {"batch_size": 1_000},
    "one at a time": {"batch_size": 1},
    "two workers": {"workers": 2, "batch_size": 3},
    "killed and resumed": {"batch_size": 2},
}


def expected(name: str) -> Path:
    return FOLDER / f"{name}.expected.jsonl"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NAMES)
def test_a_scenario_comes_to_what_is_expected_however_it_is_run(name: str, way: str, tmp_path: Path) -> None:
    """Batches, workers, and a death every third event change no line of the expected file."""
    scenario, killed = Scenario.named(name), way == "killed and resumed"
    driver = scenario.driver(crash_every=3 if killed else 0)
    result = driver.run(model=scenario.model, recovery=tmp_path if killed else None, **WAYS[way])
    found = rendered(result)
    if os.environ.get("FOREWARN_TEST_GOLDEN") == "write" and way == "all at once":
        expected(name).write_bytes(found)
    assert found.decode().splitlines() == expected(name).read_text(encoding="utf-8").splitlines()


def test_every_expected_file_has_its_scenario() -> None:
    """Nothing is left lying about that no test reads, and there is something to read."""
    assert sorted(path.name.removesuffix(".expected.jsonl") for path in FOLDER.glob("*.jsonl")) == NAMES
    assert len(NAMES) >= 7
