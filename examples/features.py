"""Look at the feature vectors of a replay.

    forewarn replay LOG --policy POLICY --out out/run
    python examples/features.py out/run/features.parquet

Prints the mean of each numeric feature at points whose tier was above `none`, beside the mean elsewhere.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

NOT_FEATURES = {"user_id", "as_of", "event_id", "seq", "score", "insufficient_history", "tier", "model_version"}


class Contrast(NamedTuple):
    """A feature's mean at warned points and at others; an absent value counts in neither."""

    feature: str
    warned: float
    others: float


def contrasts(path: Path) -> list[Contrast]:
    """Return the features in order of how far their means lie apart, in standard deviations."""
    table = pq.read_table(path)
    warned = np.asarray(pc.not_equal(table["tier"].cast("string"), "none"))
    found = []
    for name in table.column_names:
        if name in NOT_FEATURES or name == "sequence_4":
            continue
        values = table[name].to_numpy().astype(float)
        spread = np.nanstd(values) if np.isfinite(values).any() else 0.0
        if spread and np.isfinite(values[warned]).any() and np.isfinite(values[~warned]).any():
            means = float(np.nanmean(values[warned])), float(np.nanmean(values[~warned]))
            found.append((abs(means[0] - means[1]) / spread, Contrast(name, *means)))
    return [contrast for _, contrast in sorted(found, reverse=True)]


def main(path: Path) -> None:
    """Print the ten features that differ most."""
    print(f"{'feature':28}{'warned':>12}{'others':>12}")
    for feature, warned, others in contrasts(path)[:10]:
        print(f"{feature:28}{warned:12.2f}{others:12.2f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
