"""Compiled modules: the same results to the last byte, and no harm where nothing can be compiled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from detectors.profiles.user import COMPILED
from hatch_build import MODULES, compile_modules, libraries, stale
from tests.kit.paths import ROOT
from tests.kit.simulated import Simulated

pytestmark = pytest.mark.slow

REPLAY = ["-m", "dataflows.cli.main", "replay", "--top", "0", "--no-report"]
VERSION = ["-m", "dataflows.cli.main", "--version"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages without a compiled module."""
    folder = tmp_path_factory.mktemp("plain")
    for package in ("schemas", "detectors", "evaluation", "dataflows", "forewarn", "typings"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for file in ("pyproject.toml", "hatch_build.py"):
        shutil.copy(ROOT / file, folder)
    return folder


def said(command: list[str], at: Path) -> str:
    """What Python prints, run where the packages of `at` come first."""
    environment = {**os.environ, "PYTHONPATH": str(at)}
    return subprocess.run(
        [sys.executable, *command], cwd=at, env=environment, check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.skipif(not COMPILED, reason="no C compiler, or FOREWARN_COMPILE=0: nothing is compiled here")
def test_compiled_and_plain_give_the_same_bytes(simulated: Simulated, plain: Path, tmp_path: Path) -> None:
    """Risk events, features as served, models and all else, from a log with reversals, erasures and late events."""
    assert " compiled" in said(VERSION, ROOT)
    assert " not compiled" in said(VERSION, plain)
    outs = {at: tmp_path / at.name for at in (ROOT, plain)}
    for at, out in outs.items():
        said([*REPLAY, str(simulated.log), "--policy", str(simulated.policy), "--out", str(out)], at)
    names = {file.relative_to(outs[ROOT]) for file in outs[ROOT].rglob("*") if file.is_file()}
    assert len(names) > 8
    for name in names - {Path("report.html")}:
        assert (outs[ROOT] / name).read_bytes() == (outs[plain] / name).read_bytes(), name


def test_without_a_compiler_everything_stays_python(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said, nothing is left half done, and the command works."""
    for tool in ("CC", "LDSHARED"):
        monkeypatch.setenv(tool, "false")
    assert compile_modules(plain) is False
    assert not list(plain.rglob("*.so")) + list(plain.rglob("*.new"))
    assert " not compiled" in said(VERSION, plain)


def test_what_is_compiled_is_known_to_be_old(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a source has changed since; asked not to compile, what is compiled goes."""
    assert not stale(plain)
    for library in libraries(plain):
        library.touch()
    assert not stale(plain)
    newer = max(library.stat().st_mtime for library in libraries(plain)) + 1
    os.utime(plain / MODULES[0], (newer, newer))
    assert stale(plain)
    monkeypatch.setenv("FOREWARN_COMPILE", "0")
    assert compile_modules(plain) is False
    assert not any(library.exists() for library in libraries(plain))
