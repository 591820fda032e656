"""Lays the replay by stage of another revision beside that of this tree, by turns, and says what got slower.

    python -m tests.bench.versus main~3

Each runs its own benchmark from its own files, with its own modules compiled, in the environment of this tree. Turns
alternate, so that a machine that slows down slows both; of each stage the least of the turns counts.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.kit.paths import ROOT

BASE = ROOT / "out/bench/base"
BENCH = [sys.executable, "tests/bench/bench.py", "--repeats", "1"]
COMPILE = """
import pathlib, sys
sys.path.insert(0, "")
import hatch_build
hatch_build.compile_modules(pathlib.Path.cwd())
"""
SLOWER = 1.05
"""Machines like these repeat themselves within some 5 %."""


def checked_out(revision: str, folder: Path) -> Path:
    """The files of a revision, compiled where it compiles."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", revision], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x"], cwd=folder, check=True, input=archive)
    logs = folder.parent / "shared"  # beside a checkout, where its benchmark looks for them
    if not logs.exists() and (ROOT.parent / "shared").exists():
        logs.symlink_to(ROOT.parent / "shared")
    if (folder / "hatch_build.py").exists():
        subprocess.run([sys.executable, "-c", COMPILE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return folder


def stages(printed: str) -> dict[str, float]:
    """CPU microseconds an event by stage, as the benchmark printed them; earlier revisions drew no lines."""
    found = re.findall(r"^(?:\| )?([a-z][a-z: ]*?)[ |]+([\d.]+)[ |]+[\d,]+(?: \|)?$", printed, re.MULTILINE)
    return {stage: float(cost) for stage, cost in found}


def least(turns: list[dict[str, float]]) -> dict[str, float]:
    """The least that each stage cost in any turn."""
    return {stage: min(turn[stage] for turn in turns if stage in turn) for stage in turns[0]}


def compared(base: dict[str, float], now: dict[str, float]) -> list[str]:
    """A Markdown table, with a word where a stage got slower."""
    lines = ["| stage | base, CPU us/event | now | ratio | |", "|---|---|---|---|---|"]
    for stage, cost in now.items():
        if stage not in base:
            lines.append(f"| {stage} | | {cost:.2f} | | new |")
            continue
        ratio = cost / base[stage] if base[stage] else 1.0
        lines.append(
            f"| {stage} | {base[stage]:.2f} | {cost:.2f} | {ratio:.2f} | {'SLOWER' if ratio > SLOWER else ''} |"
        )
    return lines + [f"| {stage} | {base[stage]:.2f} | | | gone |" for stage in base if stage not in now]


def main() -> int:
    """Run both by turns and print the table; 1 if the whole replay got slower."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", help="a revision of this repository")
    parser.add_argument("--turns", type=int, default=2)
    arguments = parser.parse_args()
    trees = {"base": checked_out(arguments.base, BASE), "now": ROOT}
    turns: dict[str, list[dict[str, float]]] = {"base": [], "now": []}
    for _ in range(arguments.turns):
        for which, tree in trees.items():
            environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1"}
            done = subprocess.run(BENCH, cwd=tree, env=environment, check=True, capture_output=True, text=True)
            turns[which].append(stages(done.stdout))
    base, now = least(turns["base"]), least(turns["now"])
    print("\n".join(compared(base, now)))
    return int(now["replay: all"] > SLOWER * base["replay: all"])


if __name__ == "__main__":
    sys.exit(main())
