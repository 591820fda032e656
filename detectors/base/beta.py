"""The beta distribution, with the same bits on every processor: see `detectors.base.elementary`."""

from __future__ import annotations

from typing import Final

from detectors.base.elementary import exp, log, log1p

LOG_ROOT_2PI: Final = 0.9189385332046727
"""Half of log(2 * pi)."""
SMALLEST: Final = 1e-300
"""Replacement for a zero term of the continued fraction (Thompson and Barnett, 1986)."""
ENOUGH: Final = 3e-16
"""Convergence tolerance: the fraction ends once a step changes it by less than this relative amount."""
MOST_STEPS: Final = 10_000


def log_gamma(value: float) -> float:
    """Return the logarithm of the gamma function of a positive number.

    The argument is shifted to 12 or more, where Stirling's series is evaluated.
    """
    factor, lifted = 1.0, value
    while lifted < 12.0:
        factor *= lifted
        lifted += 1.0
    turned = 1.0 / (lifted * lifted)
    series = 1.0 / 156.0
    series = -691.0 / 360360.0 + turned * series
    series = 1.0 / 1188.0 + turned * series
    series = -1.0 / 1680.0 + turned * series
    series = 1.0 / 1260.0 + turned * series
    series = -1.0 / 360.0 + turned * series
    series = 1.0 / 12.0 + turned * series
    return (lifted - 0.5) * log(lifted) - lifted + LOG_ROOT_2PI + series / lifted - log(factor)


def beta_below(share: float, right: float, wrong: float) -> float:
    """Return the probability that a Beta(right, wrong) variable is below `share`; both parameters are positive.

    This is the regularised incomplete beta function, by its continued fraction (Numerical Recipes, 3rd ed., 6.4).
    """
    if share <= 0.0:
        return 0.0
    if share >= 1.0:
        return 1.0
    logs = right * log(share) + wrong * log1p(-share)
    front = exp(log_gamma(right + wrong) - log_gamma(right) - log_gamma(wrong) + logs)
    if share < (right + 1.0) / (right + wrong + 2.0):
        return front * _fraction(share, right, wrong) / right
    return 1.0 - front * _fraction(1.0 - share, wrong, right) / wrong


def _fraction(share: float, right: float, wrong: float) -> float:
    """Return the continued fraction of the incomplete beta function, by Lentz's method."""
    both = right + wrong
    above, below = 1.0, 1.0 / _not_zero(1.0 - both * share / (right + 1.0))
    found = below
    for number in range(1, MOST_STEPS):
        step = float(number)
        twice = right + 2.0 * step
        even = step * (wrong - step) * share / ((twice - 1.0) * twice)
        below = 1.0 / _not_zero(1.0 + even * below)
        above = _not_zero(1.0 + even / above)
        found *= below * above
        odd = -(right + step) * (both + step) * share / (twice * (twice + 1.0))
        below = 1.0 / _not_zero(1.0 + odd * below)
        above = _not_zero(1.0 + odd / above)
        change = below * above
        found *= change
        if abs(change - 1.0) < ENOUGH:
            break
    return found


def _not_zero(value: float) -> float:
    return SMALLEST if abs(value) < SMALLEST else value
