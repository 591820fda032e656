"""The tool that shows where the ceiling is: what learns from all others may not learn from itself."""

from __future__ import annotations

import numpy as np
import pytest

from tools.studies.ceiling import texts, trees


@pytest.mark.slow
def test_nobody_is_scored_by_what_learnt_from_them() -> None:
    """Labels that are drawn for each group, and a feature that names the group, say nothing of a group left out."""
    rng = np.random.default_rng(7)
    group = np.repeat(np.arange(400), 10)
    positive = (rng.random(400) < 0.3)[group]
    telling = np.where(positive, 1.0, 0.0) + rng.normal(size=4_000)
    asked = rng.random(4_000) < 0.5
    for known, low, high in ((group + 0.0, -0.1, 0.1), (telling, 0.3, 0.6)):
        scores = trees(known[:, None], positive, group, asked)
        assert low < np.corrcoef(scores[asked], positive[asked])[0, 1] < high
        assert not scores[~asked].any()


def test_lines_of_a_group_are_scored_by_those_of_others() -> None:
    """A word that only one group has says nothing; one that all have does."""
    group = np.repeat(np.arange(100), 4)
    positive = np.arange(400) // 4 % 2 == 0
    own = texts([f"{'abcdefghij'[one // 10]}{'klmnopqrst'[one % 10]} zz" for one in group], positive, group)
    shared = texts(["you fool" if label else "well done" for label in positive], positive, group)
    assert (shared > 0).tolist() == positive.tolist()
    assert np.mean((own > 0) == positive) < 0.6
