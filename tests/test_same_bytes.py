"""Whatever instructions a processor has, forewarn writes the same bytes.

`python -m tools.studies.same_bytes` compares more: the demo, the public logs, and what is evaluated of them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from detectors.profiles.user import COMPILED
from tests.kit.thorough import THOROUGH
from tools.studies.same_bytes import (
    EMULATED,
    EMULATOR,
    OLD,
    PLAIN,
    ROOT,
    TOGETHER,
    UNCOMPILED,
    VARIANTS,
    hashes,
    run,
    uncompiled,
)

pytestmark = pytest.mark.slow

TASKS = ["golden", "reference", "demo:3000"]
EXPECTED = ROOT / "tests/recovery/live.expected.jsonl"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages without compiled modules."""
    return uncompiled(tmp_path_factory.mktemp("packages") / "plain")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, packages: Path) -> Path:
    """What forewarn writes with whatever this processor has."""
    out = tmp_path_factory.mktemp("same") / "plain"
    run(VARIANTS[PLAIN], TASKS, out, packages)
    return out


def test_what_is_compared_is_what_is_expected(plain: Path) -> None:
    """The goldens are the expected files, the model has the hash that live runs name, and every model has learnt."""
    golden = sorted((ROOT / "tests/golden").glob("*.expected.jsonl"))
    assert len(golden) >= 7
    for file in golden:
        name = file.name.removesuffix(".expected.jsonl")
        assert (plain / f"golden/{name}.jsonl").read_bytes() == file.read_bytes()
    model = orjson.loads((plain / "reference/run/models/logistic.json").read_bytes())
    named = {orjson.loads(line).get("model_version") for line in EXPECTED.read_text(encoding="utf-8").splitlines()}
    assert named - {None, ""} == {model["version"]}
    learnt = {file.stem for file in (plain / "demo/run/models").glob("*.json")}
    assert learnt == {"logistic", "bayes", "additive", "sequence", "lookalike", "stack"}


APART = [name for name in VARIANTS if name not in (PLAIN, EMULATED)]
"""Variants tried apart from each other in a thorough run only; otherwise all settings at once."""


@pytest.mark.parametrize("name", APART if THOROUGH else [TOGETHER, UNCOMPILED])
def test_every_byte_is_the_same_under_another_instruction_set(
    name: str, plain: Path, packages: Path, tmp_path: Path
) -> None:
    """Goldens, logs, risk events, features, models of every family, and reports."""
    if not VARIANTS[name].compiled and not COMPILED:
        pytest.skip("nothing is compiled here: there is no C compiler, or FOREWARN_COMPILE=0")
    run(VARIANTS[name], TASKS, tmp_path / "out", packages)
    found, wanted = hashes(tmp_path / "out"), hashes(plain)
    assert len(wanted) > 30
    assert {name for name in found | wanted if found.get(name) != wanted.get(name)} == set()


def test_every_byte_is_the_same_on_an_old_processor(plain: Path, packages: Path, tmp_path: Path) -> None:
    """The golden scenario that learns, on an emulated processor without AVX2 and FMA."""
    if shutil.which(EMULATOR) is None:
        pytest.skip(f"{EMULATOR} is not installed (Debian: qemu-user), so no other processor can be emulated")
    runs = subprocess.run(
        [EMULATOR, "-cpu", OLD, sys.executable, "-c", "import numpy"], capture_output=True, check=False, timeout=300
    )
    if runs.returncode:
        pytest.skip(f"{EMULATOR} cannot run this Python and numpy: it ended with {runs.returncode}")
    run(VARIANTS[EMULATED], ["golden"], tmp_path / "out", packages)
    wanted = hashes(plain / "golden")
    assert hashes(tmp_path / "out/golden") == wanted
    assert len(wanted) >= 7
