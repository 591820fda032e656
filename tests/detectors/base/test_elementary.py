"""Exponentials and logarithms by fixed steps: right to the last place, and the same bits one by one and in arrays."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from decimal import Decimal, localcontext
from struct import pack

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.base import elementary, elementwise
from detectors.base.beta import beta_below, log_gamma
from detectors.base.elementwise import AT_ONCE, FEW, ordered_sum

Function = Callable[[float], float]
LN2 = Decimal("0.6931471805599453094172321214581765680755001343602552541206800094933936219696947")
EXACT: dict[str, Callable[[Decimal], Decimal]] = {
    "exp": lambda x: x.exp(),
    "exp2": lambda x: (x * LN2).exp(),
    "log": lambda x: x.ln(),
    "log1p": lambda x: (1 + x).ln(),
}
"""Each function with fifty digits."""
ENDS = [
    0.0,
    -0.0,
    math.inf,
    -math.inf,
    math.nan,
    5e-324,
    1e-310,
    -1e-310,
    2.2250738585072014e-308,
    1.7976931348623157e308,
]
ENDS += [1.0, -1.0, -2.0, 0.5, 709.782712893384, 709.79, -745.13, -745.2, -708.4, -740.0]
ENDS += [1023.9999999999999, 1024.0, -1021.5, -1022.0, -1074.0, -1074.5, -1075.0, -1075.5, 1e16, -1e16]


def drawn(name: str, many: int) -> list[float]:
    """Arguments near the middle, and far out as far as results are normal numbers."""
    rng = random.Random(name)
    if name == "log":
        far = [math.ldexp(rng.uniform(0.5, 1.0), rng.randrange(-1_070, 1_024)) for _ in range(many)]
        return [*(rng.uniform(0.5, 2.0) for _ in range(many)), *far]
    if name == "log1p":
        far = [math.ldexp(rng.uniform(0.5, 1.0), rng.randrange(-60, 1_000)) for _ in range(many)]
        return [*(rng.uniform(-0.99, 2.0) for _ in range(many)), *far, *map(float, range(1, 300))]
    lowest, highest = (-708.0, 709.7) if name == "exp" else (-1_021.0, 1_023.9)
    return [*(rng.uniform(-1.0, 1.0) for _ in range(many)), *(rng.uniform(lowest, highest) for _ in range(many))]


@pytest.mark.parametrize("name", EXACT)
def test_a_result_is_within_one_unit_in_the_last_place(name: str) -> None:
    """Beside fifty digits, near the middle and far out."""
    function: Function = getattr(elementary, name)
    with localcontext() as context:
        context.prec = 50
        for argument in drawn(name, 500):
            exact = EXACT[name](Decimal(argument))
            assert abs(Decimal(function(argument)) - exact) <= Decimal(math.ulp(float(exact))), argument


def test_what_has_an_exact_result_has_it() -> None:
    """Whole powers of two, down to the smallest number there is; and what stands at the ends."""
    for power in range(-1_074, 1_024):
        assert elementary.exp2(float(power)) == math.ldexp(1.0, power)
    assert elementary.exp2(-1_075.0) == elementary.exp(-746.0) == 0.0
    assert elementary.exp2(1_024.0) == elementary.exp(710.0) == math.inf
    assert (elementary.exp(0.0), elementary.log(1.0), elementary.log1p(0.0)) == (1.0, 0.0, 0.0)
    assert (elementary.log(0.0), elementary.log1p(-1.0)) == (-math.inf, -math.inf)
    assert all(math.isnan(found) for found in (elementary.log(-1.0), elementary.log1p(-1.5), elementary.exp(math.nan)))


@pytest.mark.parametrize("name", [*EXACT, "logistic", "symlog"])
@given(values=st.lists(st.floats(), max_size=40), seed=st.integers(0, 2**32 - 1))
def test_arrays_have_the_same_bits_as_their_elements(name: str, values: list[float], seed: int) -> None:
    """Whatever the array's size and shape: few elements, more than are worked on at a time, all ends among them."""
    one, array = getattr(elementary, name), getattr(elementwise, name)
    rng = np.random.default_rng(seed)
    more = np.exp(rng.uniform(-40.0, 6.0, FEW + 1)) * rng.choice([-1.0, 1.0], FEW + 1)
    given_values = [*values, *ENDS, *more.tolist()]
    wanted = [pack("d", one(value)) for value in given_values]
    assert [pack("d", found) for found in array(given_values)] == wanted
    for start in range(0, len(values) + len(ENDS), 7):
        assert [pack("d", found) for found in array(given_values[start : start + 7])] == wanted[start : start + 7]


@pytest.mark.parametrize("name", [*EXACT, "symlog"])
def test_a_large_array_has_the_same_bits_in_any_company(name: str) -> None:
    """Cut elsewhere, transposed, or one by one."""
    one, array = getattr(elementary, name), getattr(elementwise, name)
    values = np.random.default_rng(3).uniform(0.0, 50.0, (3, AT_ONCE + 5))
    whole = array(values)
    assert whole.tobytes() == np.stack([array(row) for row in values]).tobytes()
    assert whole.T.tobytes() == array(values.T).tobytes()
    assert [one(value) for value in values[1, ::97].tolist()] == whole[1, ::97].tolist()


@given(
    shape=st.tuples(st.integers(0, 50), st.integers(0, 20)) | st.tuples(st.integers(0, 400)),
    seed=st.integers(0, 2**32 - 1),
    turned=st.booleans(),
)
def test_a_sum_is_taken_one_after_the_other(shape: tuple[int, ...], seed: int, turned: bool) -> None:
    """Over the first axis, whatever the shape and however it lies in memory."""
    parts = np.random.default_rng(seed).normal(size=shape) * np.random.default_rng(seed + 1).choice([1e-8, 1.0, 1e8])
    parts = np.asfortranarray(parts) if turned else parts
    wanted = np.zeros(shape[1:])
    for part in parts:
        wanted = wanted + part
    assert np.asarray(ordered_sum(parts)).tobytes() == wanted.tobytes()


def test_the_beta_distribution_is_right_beside_exact_fractions() -> None:
    """For whole numbers it is a sum of binomial terms; its middle is a half where it is symmetric."""
    for right, wrong, share in ((1, 1, 0.3), (3, 5, 0.25), (10, 2, 0.8), (40, 60, 0.45), (7, 200, 0.02)):
        many = right + wrong - 1
        terms = (math.comb(many, k) * share**k * (1 - share) ** (many - k) for k in range(right, many + 1))
        assert beta_below(share, float(right), float(wrong)) == pytest.approx(math.fsum(terms), rel=1e-12)
    for half in (0.3, 1.7, 25.0, 4_000.0):
        assert beta_below(0.5, half, half) == pytest.approx(0.5, rel=1e-10)
    assert (beta_below(0.0, 2.0, 3.0), beta_below(1.0, 2.0, 3.0)) == (0.0, 1.0)
    assert log_gamma(6.0) == pytest.approx(math.log(120.0), rel=1e-14)
    assert log_gamma(0.5) == pytest.approx(0.5 * math.log(math.pi), rel=1e-14)
