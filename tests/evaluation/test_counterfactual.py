"""Counterfactual scores are scores of the changed vector, and of nothing else."""

from __future__ import annotations

from math import nan

import numpy as np
import pytest

from dataflows.testing import hand_made_model
from detectors.models.catalogue import freeze
from evaluation.counterfactual import Change, changes
from tests.kit.community import vector_of

MODEL = freeze(hand_made_model(0.1, {"report_count_24h": 1.0, "report_since": 0.1, "sequence_4": 0.0}))


def test_one_fact_is_changed_at_a_time() -> None:
    """A count becomes unknown, zero and usual; a time since an event never zero."""
    vector = vector_of(absent=nan, report_count_24h=4.0, report_since=60.0)
    single, _ = changes(MODEL, vector, "ann", {"report_count_24h": 1.0, "report_since": 0.0, "message_since": 5.0})
    assert [(one.features, one.substitute, one.value) for one in single] == [
        (("report_count_24h",), "unknown", None),
        (("report_count_24h",), "zero", 0.0),
        (("report_count_24h",), "typical", 1.0),
        (("report_since",), "unknown", None),
        (("report_since",), "typical", 0.0),
    ]
    usual = vector_of(absent=nan, report_count_24h=1.0, report_since=60.0)
    assert single[2].probability == float(MODEL.probabilities(np.array([usual]))[0])


def test_facts_that_belong_together_become_unknown_together() -> None:
    """What is unknown already is left out, and a group without a known feature too."""
    vector = vector_of(absent=nan, report_count_24h=4.0, report_since=60.0)
    groups = [("report_count_24h", "report_since", "report_count_7d"), ("message_since",)]
    single, together = changes(MODEL, vector, "ann", {}, groups)
    assert len(single) == 3
    assert together == [Change(("report_count_24h", "report_since"), "unknown", None, pytest.approx(0.1))]


def test_a_code_is_known_or_not() -> None:
    """It is no quantity, so it has neither a zero nor a median; a vector of nothing has nothing to change."""
    single, _ = changes(MODEL, vector_of(absent=nan, sequence_4=7.0), "ann", {"sequence_4": 3.0})
    assert [one.substitute for one in single] == ["unknown"]
    assert changes(MODEL, vector_of(absent=nan), "ann", {}) == ([], [])
