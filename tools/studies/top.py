"""Counts how often high probabilities of a replay came true: the last table of docs/lab-book/learning.md."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from evaluation.evaluate import Protocol
from evaluation.runs import Outputs, read_outputs

EDGES = (0.2, 0.5, 0.8, 0.9995, 1.0)
"""Bounds of the ranges; from the last but one on, a probability is shown as 100.0 %."""


class Range(NamedTuple):
    """A range of probabilities: its matured points, their users, and the fraction that came true."""

    low: float
    high: float
    points: int
    users: int
    true: float | None


def ranges(run: Outputs) -> Iterator[Range]:
    """Yield the ranges of the champion's probabilities, highest first. The last bound belongs to its range."""
    labels, score = Protocol().label(run), run.scores[run.champion]
    for low, high in reversed([*pairwise(EDGES)]):
        inside = labels.answered & (score >= low) & ((score < high) | (high == EDGES[-1]))
        right = float(labels.positive[inside].mean()) if inside.any() else None
        yield Range(low, high, int(inside.sum()), len(np.unique(run.user[inside])), right)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="the output directory of a replay")
    click.echo("| probability | points | users | came true |\n|---|---|---|---|")
    for one in ranges(read_outputs(parser.parse_args().run)):
        true = "none" if one.true is None else f"{one.true:.0%}"
        click.echo(f"| {one.low:.2%} to {one.high:.2%} | {one.points} | {one.users} | {true} |")


if __name__ == "__main__":
    main()
