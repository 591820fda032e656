"""Exponentials and logarithms that give the same bits on every processor.

C libraries and numpy return results whose last bits differ between instruction sets. These functions use only
operations whose results IEEE 754 fixes (addition, multiplication, division, comparison), in a fixed order. The method
and the coefficients are those of FDLIBM (Sun Microsystems, 1993): reduce the argument, then evaluate a polynomial.
Errors are below one unit in the last place. `detectors.base.elementwise` has the same functions for arrays.
"""

from __future__ import annotations

from math import copysign, inf, ldexp, nan
from typing import Final

from librt.vecs import vec
from mypy_extensions import i64

LN2_HIGH: Final = 6.93147180369123816490e-01
"""The leading 33 bits of log(2): its product with an integer below 2**20 is exact."""
LN2_LOW: Final = 1.90821492927058770002e-10
"""log(2) minus `LN2_HIGH`."""
PER_LN2: Final = 1.44269504088896338700
"""1 / log(2)."""
ROUNDER: Final = 6755399441055744.0
"""1.5 * 2**52: adding and subtracting it rounds to an integer, ties to even."""
SPLITTER: Final = 201326592.0
"""1.5 * 2**27: adding and subtracting it rounds a number below 1 to 26 bits."""
SQRT_HALF: Final = 0.7071067811865476
SQRT_TWO: Final = 1.4142135623730951
P1: Final = 1.66666666666666019037e-01
P2: Final = -2.77777777770155933842e-03
P3: Final = 6.61375632143793436117e-05
P4: Final = -1.65339022054652515390e-06
P5: Final = 4.13813679705723846039e-08
"""`P1` to `P5`: polynomial coefficients in x**2 of x * (exp(x) + 1) / (exp(x) - 1)."""
L1: Final = 6.666666666666735130e-01
L2: Final = 3.999999999940941908e-01
L3: Final = 2.857142874366239149e-01
L4: Final = 2.222219843214978396e-01
L5: Final = 1.818357216161805012e-01
L6: Final = 1.531383769920937332e-01
L7: Final = 1.479819860511658591e-01
"""`L1` to `L7`: polynomial coefficients in s**2 of (log(1 + s) - log(1 - s)) / s - 2."""
EXP_HIGHEST: Final = 709.782712893384
"""`exp` returns infinity above this."""
EXP_LOWEST: Final = -745.1332191019411
"""`exp` returns zero below this."""
SMALLEST: Final = 2.2250738585072014e-308
"""The smallest normal double."""
FADED: Final = 1.1830521861667747e-271
"""2**-900: a decayed sum below this counts as zero, after 900 half-lives.

A little further down, doubles lose precision digit by digit, and a quotient of two such sums could take any value.
"""
RAISED: Final = 18014398509481984.0
"""2**54: scales a number below `SMALLEST` into the normal range."""

POWERS = vec[float]([ldexp(1.0, power) for power in range(-1022, 1024)])
"""The powers of two that are normal doubles, from 2**-1022 to 2**1023."""


def scaled(value: float, power: i64) -> float:
    """Return `value * 2**power`, rounded once; `value` is between 1/2 and 4, and `power` from -1080 to 1024."""
    if power > 1023:
        return value * POWERS[1022 + 1023] * 2.0
    if power >= -1021:
        return value * POWERS[power + 1022]
    return value * POWERS[power + 1122] * POWERS[922]


def _kernel(high: float, low: float) -> float:
    """Return the exponential of `high - low`; the difference is between -0.35 and 0.35."""
    rest = high - low
    square = rest * rest
    curve = rest - square * (P1 + square * (P2 + square * (P3 + square * (P4 + square * P5))))
    return 1.0 - ((low - (rest * curve) / (2.0 - curve)) - high)


def exp(value: float) -> float:
    """Return e to the power of `value`."""
    if value != value:  # noqa: PLR0124 - only NaN differs from itself
        return value
    if value > EXP_HIGHEST:
        return inf
    if value < EXP_LOWEST:
        return 0.0
    whole = (value * PER_LN2 + ROUNDER) - ROUNDER
    return scaled(_kernel(value - whole * LN2_HIGH, whole * LN2_LOW), i64(whole))


def exp2(value: float) -> float:
    """Return 2 to the power of `value`; exact for integers."""
    if value != value:  # noqa: PLR0124
        return value
    if value >= 1024.0:
        return inf
    if value < -1075.0:
        return 0.0
    whole = (value + ROUNDER) - ROUNDER
    rest = value - whole
    head = (rest + SPLITTER) - SPLITTER
    tail = rest - head
    return scaled(_kernel(head * LN2_HIGH, -(tail * LN2_HIGH + rest * LN2_LOW)), i64(whole))


def log(value: float) -> float:
    """Return the natural logarithm; minus infinity for zero, NaN for a negative number."""
    if value != value or value == inf:  # noqa: PLR0124
        return value
    if value <= 0.0:
        return nan if value < 0.0 else -inf
    if value < SMALLEST:
        return _log_of(value * RAISED, -54.0, 0.0)
    return _log_of(value, 0.0, 0.0)


def log1p(value: float) -> float:
    """Return the natural logarithm of `1 + value`, accurate to the last places for small values too."""
    if value != value or value == inf:  # noqa: PLR0124
        return value
    if value <= -1.0:
        return nan if value < -1.0 else -inf
    whole = 1.0 + value
    lost = 1.0 - (whole - value) if whole > 2.0 else value - (whole - 1.0)
    return _log_of(whole, 0.0, lost / whole)


def _log_of(value: float, power: float, lost: float) -> float:
    """Return `log(value) + power * log(2) + lost` for a normal number; `lost` corrects the last places."""
    while value >= 18446744073709551616.0:
        value *= 5.421010862427522e-20
        power += 64.0
    while value < 5.421010862427522e-20:
        value *= 18446744073709551616.0
        power -= 64.0
    while value >= 256.0:
        value *= 0.00390625
        power += 8.0
    while value < 0.00390625:
        value *= 256.0
        power -= 8.0
    while value >= SQRT_TWO:
        value *= 0.5
        power += 1.0
    while value < SQRT_HALF:
        value *= 2.0
        power -= 1.0
    over = value - 1.0
    ratio = over / (2.0 + over)
    square = ratio * ratio
    fourth = square * square
    odd = square * (L1 + fourth * (L3 + fourth * (L5 + fourth * L7)))
    even = fourth * (L2 + fourth * (L4 + fourth * L6))
    half = 0.5 * over * over
    return ratio * (half + (odd + even)) + (power * LN2_LOW + lost) - half + over + power * LN2_HIGH


def logistic(log_odds: float) -> float:
    """Return the probability that corresponds to log-odds."""
    return 1.0 / (1.0 + exp(-log_odds))


def symlog(value: float) -> float:
    """Return `sign(value) * log1p(|value|)`; zero and NaN keep their sign."""
    return copysign(log1p(abs(value)), value)
