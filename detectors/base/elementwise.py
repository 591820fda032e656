"""The functions of `detectors.base.elementary` for arrays: the same operations, with the same bits for every element.

IEEE 754 fixes elementwise arithmetic on every processor. It fixes a sum over an axis only if the order of additions is
fixed, as in `ordered_sum`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.base import elementary as one

Floats = NDArray[np.float64]
FEW = 32 if str(one.__file__).endswith(".py") else 512
"""Up to this many elements (more if `elementary` is compiled), a scalar loop is faster than array operations."""
AT_ONCE = 8_192
"""Elements per block, so that intermediate results stay in the processor's cache."""

_MANTISSA = np.int64(0xFFFFFFFFFFFFF)
_BASE = np.int64(0x3FE6A09E667F3BCD)
"""The bits of `SQRT_HALF`."""
_OFFSET = np.int64(0x3FF0000000000000 - 0x3FE6A09E667F3BCD)
_POWERS = np.ldexp(1.0, np.arange(-1022, 1024))


def _for_arrays(few: Callable[[float], float], function: Callable[[Floats], Floats]) -> Callable[[Any], Floats]:
    """Return a function of arrays of any shape and size; `few` is the same function of one number."""

    def whole(values: Any) -> Floats:
        given = np.asarray(values, dtype=np.float64)
        flat = given.ravel()
        if len(flat) <= FEW:
            return np.array([few(value) for value in flat.tolist()], dtype=np.float64).reshape(given.shape)
        found = np.empty(len(flat))
        with np.errstate(all="ignore"):
            for start in range(0, len(flat), AT_ONCE):
                found[start : start + AT_ONCE] = function(flat[start : start + AT_ONCE])
        return found.reshape(given.shape)

    whole.__doc__ = function.__doc__
    return whole


def _kernel(high: Floats, low: Floats) -> Floats:
    rest = high - low
    square = rest * rest
    curve = square * one.P5
    for coefficient in (one.P4, one.P3, one.P2, one.P1):
        curve += coefficient
        curve *= square
    np.subtract(rest, curve, out=curve)
    rest *= curve
    np.subtract(2.0, curve, out=curve)
    rest /= curve
    np.subtract(low, rest, out=rest)
    rest -= high
    return np.subtract(1.0, rest, out=rest)


def _scaled(values: Floats, powers: Floats) -> Floats:
    whole = powers.astype(np.int64)
    low, high = whole.min(initial=0), whole.max(initial=0)
    if low >= -1021 and high <= 1023:
        values *= _POWERS[whole + 1022]
        return values
    first = np.clip(whole, -1021, 1023)
    tiny = whole < -1021
    first[tiny] = whole[tiny] + 100
    values *= _POWERS[first + 1022]
    values[whole > 1023] *= 2.0
    values[tiny] *= _POWERS[922]
    return values


def _exp(values: Floats) -> Floats:
    """Return e to the power of each value."""
    inside = np.minimum(np.maximum(values, one.EXP_LOWEST), one.EXP_HIGHEST)
    inside[np.isnan(values)] = 0.0
    whole = np.rint(inside * one.PER_LN2)
    found = _scaled(_kernel(inside - whole * one.LN2_HIGH, whole * one.LN2_LOW), whole)
    return _beyond(found, values, one.EXP_LOWEST, one.EXP_HIGHEST)


def _exp2(values: Floats) -> Floats:
    """Return 2 to the power of each value."""
    inside = np.minimum(np.maximum(values, -1075.0), 1023.9999999999999)
    inside[np.isnan(values)] = 0.0
    whole = np.rint(inside)
    rest = inside - whole
    head = (rest + one.SPLITTER) - one.SPLITTER
    low = -((rest - head) * one.LN2_HIGH + rest * one.LN2_LOW)
    found = _scaled(_kernel(head * one.LN2_HIGH, low), whole)
    return _beyond(found, values, -1075.0, 1023.9999999999999)


def _beyond(found: Floats, values: Floats, lowest: float, highest: float) -> Floats:
    """Write the results outside the range: zero below `lowest`, infinity above `highest`, NaN for NaN."""
    found[values < lowest] = 0.0
    found[values > highest] = np.inf
    np.copyto(found, values, where=np.isnan(values))
    return found


def _log(values: Floats) -> Floats:
    """Return the natural logarithm of each value."""
    tiny = values < one.SMALLEST
    if tiny.any():
        found = _log_of(np.where(tiny, values * one.RAISED, values), np.where(tiny, -54.0, 0.0), 0.0)
    else:
        found = _log_of(values, 0.0, 0.0)
    return _ends(found, values, 0.0)


def _log1p(values: Floats) -> Floats:
    """Return the natural logarithm of `1 + value` for each value."""
    whole = 1.0 + values
    lost = values - (whole - 1.0)
    large = whole > 2.0
    if large.any():
        lost = np.where(large, 1.0 - (whole - values), lost)
    lost /= whole
    return _ends(_log_of(whole, 0.0, lost), values, -1.0)


def _squash(values: Floats) -> Floats:
    """Return `sign(value) * log1p(|value|)` for each value."""
    return np.copysign(_log1p(np.abs(values)), values)


def _ends(found: Floats, values: Floats, lowest: float) -> Floats:
    """Write the special results: NaN below `lowest`, minus infinity at it; infinity and NaN stay as they are."""
    if not (values > lowest).all() or not (values < np.inf).all():
        found[values < lowest] = np.nan
        found[values == lowest] = -np.inf
        np.copyto(found, values, where=~(values < np.inf))
    return found


def _log_of(values: Floats, powers: Floats | float, lost: Floats | float) -> Floats:
    shifted = values.view(np.int64) + _OFFSET
    power = ((shifted >> 52) - 1023).astype(np.float64) + powers
    shifted &= _MANTISSA
    shifted += _BASE
    over = shifted.view(np.float64)
    over -= 1.0
    ratio = over / (2.0 + over)
    square = ratio * ratio
    fourth = square * square
    odd = _polynomial(fourth, (one.L7, one.L5, one.L3, one.L1))
    odd *= square
    even = _polynomial(fourth, (one.L6, one.L4, one.L2))
    even *= fourth
    odd += even
    half = 0.5 * over
    half *= over
    odd += half
    odd *= ratio
    rest = power * one.LN2_LOW
    rest += lost
    odd += rest
    odd -= half
    odd += over
    power *= one.LN2_HIGH
    odd += power
    return odd


def _polynomial(values: Floats, coefficients: tuple[float, ...]) -> Floats:
    found = values * coefficients[0]
    for coefficient in coefficients[1:-1]:
        found += coefficient
        found *= values
    found += coefficients[-1]
    return found


def _logistic(values: Floats) -> Floats:
    """Return the probability that corresponds to log-odds, for each value."""
    return 1.0 / (1.0 + _exp(-values))


exp = _for_arrays(one.exp, _exp)
exp2 = _for_arrays(one.exp2, _exp2)
log = _for_arrays(one.log, _log)
log1p = _for_arrays(one.log1p, _log1p)
symlog = _for_arrays(one.symlog, _squash)
logistic = _for_arrays(one.logistic, _logistic)


def ordered_sum(parts: Floats) -> Floats:
    """Return the sum over the first axis, added in order.

    The order of additions in numpy's sums depends on the shape. In a contiguous two-dimensional array numpy adds row by
    row, unless a row has a single value.
    """
    if not len(parts):
        return np.zeros(parts.shape[1:])
    if parts[0].size > 1:
        total: Floats = np.add.reduce(np.ascontiguousarray(parts).reshape(len(parts), -1), axis=0)
        return total.reshape(parts.shape[1:])
    last: Floats = np.add.accumulate(parts, axis=0)[-1]
    return last
