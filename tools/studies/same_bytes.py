"""Comparison of every byte that forewarn writes under different instruction sets.

Each variant is a process of its own: without numpy's AVX-512 or AVX2 paths, with another BLAS kernel, without the C
library's AVX2 and FMA functions, or with modules that are not compiled. It replays the demo, slices of the public logs
and the golden scenarios, and evaluates them. The hashes of all files are then compared.
"""

from __future__ import annotations

import argparse
import gzip
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import click

from dataflows.cli.common import Failure
from dataflows.cli.main import main as command

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path("tests/golden")
PUBLIC = ("conda", "ubuntu_irc", "wikipedia_bans")
SLICE = 20_000
"""Rows of each public log, and events of the demo, unless all are requested."""
DEMO = 200_000
NO_FMA = "glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4,-AVX512F,-AVX512VL,-AVX512DQ,-AVX512BW,-AVX512CD,-AVX512ER,-BMI2"
EMULATOR = "qemu-x86_64"
OLD = "SandyBridge"
"""A processor of 2011, with neither AVX2 nor FMA."""


class Variant(NamedTuple):
    """Differences of a process from the plain one."""

    environment: dict[str, str]
    compiled: bool = True
    emulated: bool = False


PLAIN = "as it is"
TOGETHER = "all of these"
UNCOMPILED = "not compiled"
EMULATED = "emulated without AVX2"
VARIANTS: dict[str, Variant] = {
    PLAIN: Variant({}),
    "numpy without AVX-512": Variant({"NPY_DISABLE_CPU_FEATURES": "X86_V4"}),
    "numpy without AVX2": Variant({"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4"}),
    "BLAS for Haswell": Variant({"OPENBLAS_CORETYPE": "Haswell"}),
    "BLAS for Prescott": Variant({"OPENBLAS_CORETYPE": "Prescott"}),
    "libm without FMA": Variant({"GLIBC_TUNABLES": NO_FMA}),
    TOGETHER: Variant(
        {
            "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4",
            "OPENBLAS_CORETYPE": "Prescott",
            "GLIBC_TUNABLES": NO_FMA,
            "OMP_NUM_THREADS": "1",
        }
    ),
    UNCOMPILED: Variant({}, compiled=False),
    EMULATED: Variant({}, emulated=True),
}


def uncompiled(folder: Path) -> Path:
    """Copy the packages without compiled modules; return their folder."""
    for package in ("schemas", "detectors", "evaluation", "dataflows", "forewarn", "tools", "tests/golden"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    shutil.copytree(ROOT / "deploy", folder / "deploy")
    return folder


def run(variant: Variant, tasks: list[str], out: Path, packages: Path) -> None:
    """Run the tasks in a process of this variant; its files go to `out`.

    Raises:
        subprocess.CalledProcessError: if it ends with an error, which it has printed.
    """
    command = [sys.executable, "-m", "tools.studies.same_bytes", "--work", str(out), *tasks]
    if variant.emulated:
        command = [EMULATOR, "-cpu", OLD, *command]
    place = ROOT if variant.compiled else packages
    environment = {**os.environ, "PYTHONPATH": str(place), "PYTHONHASHSEED": "random", **variant.environment}
    subprocess.run(command, cwd=place, env=environment, check=True, stdout=subprocess.DEVNULL)


def hashes(folder: Path) -> dict[str, str]:
    """Return the hash of every file below a folder, by relative path."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): blake2b(file.read_bytes(), digest_size=8).hexdigest() for file in files}


def work(out: Path, tasks: list[str]) -> None:
    """Run the tasks in this process: `golden`, `reference`, `demo:EVENTS:evaluate` or `FOLDER/NAME:ROWS`."""
    for task in tasks:
        name, _, rest = task.partition(":")
        if name == "golden":
            golden(out / "golden")
        elif name == "reference":
            reference(out / "reference")
        elif name == "demo":
            events, _, evaluated = rest.partition(":")
            demo(out / "demo", events, evaluated=bool(evaluated))
        else:
            public(out, Path(name), int(rest))


def golden(out: Path) -> None:
    """Run every golden scenario, and write its output."""
    scenario = importlib.import_module("tests.golden.scenario")
    out.mkdir(parents=True)
    for story in sorted(GOLDEN.glob("*.toml")):
        story_of = scenario.Scenario.named(story.stem)
        (out / f"{story.stem}.jsonl").write_bytes(scenario.rendered(story_of.driver().run(model=story_of.model)))


def reference(out: Path) -> None:
    """Train the model that the live tests pin (tests/recovery/chaos.py)."""
    out.mkdir(parents=True)
    log, policy = out / "log.jsonl", out / "policy.toml"
    example = Path("deploy/policies/example.toml").read_text(encoding="utf-8")
    policy.write_text(example.replace("min_positives = 100", "min_positives = 10"))
    forewarn("simulate", "--events", 3_000, "--users", 200, "--seed", 5, "--out", log)
    forewarn("replay", log, "--policy", policy, "--partitions", 4, "--top", 0, "--out", out / "run")


def demo(out: Path, events: str, *, evaluated: bool) -> None:
    """Simulate a log, replay it with a policy under which all models learn, and evaluate it if `evaluated`."""
    out.mkdir(parents=True)
    log, policy = out / "log.jsonl.gz", out / "policy.toml"
    example = Path("deploy/policies/example.toml").read_text(encoding="utf-8")
    challengers = '["bayes", "additive", "sequence", "lookalike", "stack"]'
    policy.write_text(example.replace('["bayes"]', challengers).replace("min_positives = 100", "min_positives = 10"))
    forewarn("simulate", "--events", events, "--users", max(200, int(events) // 100), "--seed", 7, "--out", log)
    forewarn("replay", log, "--policy", policy, "--top", 0, "--out", out / "run")
    if evaluated:
        evaluated_in(out / "run", "--log", log)


def public(out: Path, folder: Path, rows: int) -> None:
    """Replay and evaluate the first rows of a public log, or all for 0."""
    out = out / folder.name
    out.mkdir(parents=True)
    log, mapping = out / "events.csv.gz", Path(f"deploy/mappings/{folder.name}.toml")
    with gzip.open(folder / "events.csv.gz", "rb") as whole, gzip.GzipFile("", "wb", 1, log.open("wb"), 0) as part:
        part.writelines(islice(whole, rows + 1 if rows else None))
    policy = Path(f"deploy/policies/{folder.name}.toml")
    forewarn("replay", log, "--mapping", mapping, "--policy", policy, "--top", 0, "--out", out / "run")
    evaluated_in(out / "run", "--log", log, "--mapping", mapping)


def evaluated_in(run_dir: Path, *options: object) -> None:
    """Evaluate a run; if it is too short, write the error message, which is compared instead."""
    try:
        forewarn("evaluate", run_dir, *options)
    except Failure as refused:
        (run_dir / "evaluation.txt").write_text(str(refused), encoding="utf-8")


def forewarn(*arguments: object) -> None:
    """Run a command of forewarn in this process."""
    try:
        command.main([str(argument) for argument in arguments], prog_name="forewarn", standalone_mode=False)
    except SystemExit as end:
        if end.code:
            raise


def compared(found: dict[str, dict[str, str]]) -> Iterator[str]:
    """Yield a table of hashes, a line per file, and the number of equal files under each variant."""
    names = sorted({name for by_file in found.values() for name in by_file})
    width = max(map(len, names))
    first = found[PLAIN]
    yield f"{'file':{width}}  {PLAIN:16}  " + "  ".join(name for name in found if name != PLAIN)
    for name in names:
        others = [by_file.get(name, "missing") for variant, by_file in found.items() if variant != PLAIN]
        compared = ["equal" if other == first.get(name) else other for other in others]
        yield f"{name:{width}}  {first.get(name, 'missing'):16}  " + "  ".join(compared)
    for variant, by_file in found.items():
        equal = sum(by_file.get(name) == first.get(name) for name in names)
        yield f"{variant}: {equal} of {len(names)} files equal"


def main() -> int:
    """Compare all variants that this machine can run; return 1 if a file differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=Path, default=Path("../shared/datasets"), help="the folder of the public logs")
    parser.add_argument("--whole", action="store_true", help="whole logs instead of their first rows")
    parser.add_argument("--rows", type=int, default=SLICE, help="rows of each log, events of the demo")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="these variants alone")
    parser.add_argument("--emulate", action="store_true", help="emulate an old processor too, for the goldens alone")
    parser.add_argument("--work", type=Path, metavar="OUT", help=argparse.SUPPRESS)
    parser.add_argument("tasks", nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work, arguments.tasks)
        return 0
    rows = 0 if arguments.whole else arguments.rows
    logs = [folder for folder in (arguments.logs.resolve() / name for name in PUBLIC) if folder.exists()]
    tasks = ["golden", f"demo:{rows or DEMO}:evaluate", *(f"{folder}:{rows}" for folder in logs)]
    found: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        packages = uncompiled(Path(scratch) / "packages")
        for number, (name, variant) in enumerate(VARIANTS.items()):
            if not variant.emulated and name in {PLAIN, *arguments.only}:
                run(variant, tasks, Path(scratch) / str(number), packages)
                found[name] = hashes(Path(scratch) / str(number))
                click.echo(f"{name}: {len(found[name])} files", err=True)
        equal = print_comparison(found)
        if arguments.emulate:
            small: dict[str, dict[str, str]] = {}
            for name in (PLAIN, EMULATED):
                run(VARIANTS[name], ["golden"], Path(scratch) / f"golden {name}", packages)
                small[name] = hashes(Path(scratch) / f"golden {name}")
            equal &= print_comparison(small)
    return 0 if equal else 1


def print_comparison(found: dict[str, dict[str, str]]) -> bool:
    """Print the table; return whether all files are equal."""
    for line in compared(found):
        click.echo(line)
    return all(by_file == found[PLAIN] for by_file in found.values())


if __name__ == "__main__":
    sys.exit(main())
