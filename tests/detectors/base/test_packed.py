"""Vectors as they are kept: short, and the very same when they come back."""

from __future__ import annotations

from array import array
from math import inf, isnan, nan

from hypothesis import given
from hypothesis import strategies as st

from detectors.base.packed import pack_vector, unpack_vector
from detectors.base.vectors import vector_from

ODD = (nan, inf, -inf, -0.0, 0.0, 1.0, -1.0, 2.0**53, 1e300, 5e-324, 0.1)


@given(st.lists(st.one_of(st.floats(), st.integers(-(2**63), 2**63).map(float), st.sampled_from(ODD)), max_size=50))
def test_a_packed_vector_comes_back_to_the_bit(values: list[float]) -> None:
    """Whole numbers, fractions, absent ones, and what no feature is; a NaN comes back as the one there is."""
    vector = vector_from(nan if isnan(value) else value for value in values)
    assert unpack_vector(pack_vector(vector)).tobytes() == vector.tobytes()


def test_a_vector_of_mostly_small_counts_is_a_fraction_as_long() -> None:
    """Half absent, a few fractions, and counts."""
    vector = array("d", [nan] * 20 + [0.25] * 5 + [3.0] * 20)
    assert len(pack_vector(vector)) < len(vector.tobytes()) / 3
