"""The wheel contains all packages, their data and the command."""

from __future__ import annotations

import os
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.kit.paths import ROOT

pytestmark = pytest.mark.slow

PACKAGES = ("schemas", "detectors", "evaluation", "dataflows", "forewarn")

LOOK_AROUND = """
import sys
import schemas, detectors, evaluation, dataflows, dataflows.cli.main, forewarn
from schemas.released.catalogue import released

for package in (schemas, detectors, evaluation, dataflows, forewarn):
    print(package.__file__)
for subject in released().subjects():
    print(subject, released().schema(subject)["name"])
"""


def run(*command: str, at: Path, path: Path | None = None) -> str:
    """Run a command with nothing of this checkout on its import path before `path`; its output, or a failed test."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(command, cwd=at, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pip(*arguments: str, at: Path) -> None:
    run(sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments, "--no-index", at=at)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one wheel built from this checkout, by the locked build backend."""
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", str(ROOT), "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), at=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the wheel was installed into, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    pip("install", str(wheel), "--no-deps", "--target", str(folder), at=folder)
    return folder


def sources(pattern: str) -> set[str]:
    """Files of the packages in this checkout."""
    return {
        file.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for file in (ROOT / package).rglob(pattern)
        if file.is_file() and "__pycache__" not in file.parts
    }


@pytest.mark.parametrize(
    "pattern", ["*.py", "schemas/avro/*.avsc", "dataflows/reports/templates/*.j2", "schemas/lock.json"]
)
def test_the_wheel_has_every_file_of_a_kind(wheel: Path, pattern: str) -> None:
    """Modules, released schemas and their lock, and templates are all inside."""
    wanted = {name for name in sources(Path(pattern).name) if pattern == "*.py" or Path(name).match(pattern)}
    assert wanted
    assert wanted - set(ZipFile(wheel).namelist()) == set()


def test_the_wheel_brings_nothing_but_its_packages(wheel: Path) -> None:
    """Tests and tools stay at home: they would land beside everybody's packages."""
    tops = {name.split("/")[0] for name in ZipFile(wheel).namelist()}
    (metadata,) = (top for top in tops if top.endswith(".dist-info"))
    assert tops == {*PACKAGES, metadata}


def test_the_wheel_says_that_it_is_typed(wheel: Path) -> None:
    """Each package carries the marker without which type checkers ignore its annotations."""
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(ZipFile(wheel).namelist())


def test_the_wheel_carries_its_licence(wheel: Path) -> None:
    """The licence travels with the code."""
    (name,) = (name for name in ZipFile(wheel).namelist() if name.endswith("licenses/LICENSE"))
    assert ZipFile(wheel).read(name) == (ROOT / "LICENSE").read_bytes()


def test_the_wheel_declares_the_command(wheel: Path) -> None:
    """Installing gives a command named forewarn."""
    (name,) = (name for name in ZipFile(wheel).namelist() if name.endswith(".dist-info/entry_points.txt"))
    points = ConfigParser()
    points.read_string(ZipFile(wheel).read(name).decode())
    assert dict(points["console_scripts"]) == {"forewarn": "dataflows.cli.main:main"}


def test_installed_packages_are_imported_and_read_their_schemas(installed: Path, tmp_path: Path) -> None:
    """Away from the checkout everything is still found: modules, and every subject's latest schema."""
    lines = run(sys.executable, "-c", LOOK_AROUND, at=tmp_path, path=installed).splitlines()
    assert lines[: len(PACKAGES)] == [str(installed / package / "__init__.py") for package in PACKAGES]
    subjects = {Path(name).name.split(".")[0] for name in sources("*.avsc")}
    assert {line.split()[0] for line in lines[len(PACKAGES) :]} == subjects


def test_the_installed_command_answers(installed: Path, tmp_path: Path) -> None:
    """The command starts and names its subcommands."""
    said = run(str(installed / "bin" / "forewarn"), "--help", at=tmp_path, path=installed)
    assert "replay" in said


def test_the_installed_command_checks_the_schemas_it_came_with(installed: Path, tmp_path: Path) -> None:
    """The released schemas, their lock and the corpus are complete in the installed copy."""
    run(str(installed / "bin" / "forewarn"), "schemas", "check", at=tmp_path, path=installed)
