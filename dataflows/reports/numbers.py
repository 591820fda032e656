"""Formats of numbers, shares, times and durations in reports and on the terminal.

Pages say `not recorded` where a number is absent; the figures of an evaluation say `none`.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta

NOT_RECORDED = "not recorded"
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - all times are in UTC and labelled so
_DURATIONS = ((86_400_000, "day"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"))


def quantity(value: float | None) -> str:
    """Return a number to about three significant digits, with thousands separated and no needless decimals.

    >>> quantity(7.0), quantity(0.4166), quantity(157474), quantity(None)
    ('7', '0.417', '157,474', 'not recorded')
    """
    if value is None:
        return NOT_RECORDED
    if not math.isfinite(value):
        return "not a number"
    size = abs(value)
    if size >= 1e15 or 0 < size < 1e-4:
        text = f"{value:.2e}"
    elif size >= 100 or value == int(value):
        text = f"{round(value):,}"
    else:
        text = f"{value:.3g}"
    return text.replace("-", "\N{MINUS SIGN}")


def signed(value: float) -> str:
    """Return a contribution in log-odds with its sign, to two decimals; above zero it raises the probability.

    >>> signed(1.316)
    '+1.32'
    """
    return f"{round(value, 2) + 0.0:+.2f}".replace("-", "\N{MINUS SIGN}")


def duration(ms: float | None) -> str:
    """Return a duration (ms) in its two largest units.

    >>> duration(7_500_000), duration(None)
    ('2 h 5 min', 'not recorded')
    """
    if ms is None:
        return NOT_RECORDED
    if not math.isfinite(ms):
        return "not a number"
    sign = "\N{MINUS SIGN}" if ms < 0 else ""
    left = round(abs(ms))
    for index, (unit_ms, unit) in enumerate(_DURATIONS):
        if left >= unit_ms:
            text = in_units(left // unit_ms, unit)
            if index + 1 < len(_DURATIONS):
                smaller_ms, smaller = _DURATIONS[index + 1]
                rest = left % unit_ms // smaller_ms
                text += f" {in_units(rest, smaller)}" if rest else ""
            return sign + text
    return f"{sign}{left} ms" if left else "0 s"


def rough_duration(ms: float) -> str:
    """Return a duration (ms) in its largest unit, with one decimal.

    >>> rough_duration(7_500_000), rough_duration(60_000)
    ('2.1 h', '1 min')
    """
    for length, unit in ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min")):
        if ms >= length:
            return f"{ms / length:.1f} {unit}".replace(".0 ", " ")
    return f"{ms / 1000:g} s"


def in_units(count: int, unit: str) -> str:
    """Return a count with its unit, which is abbreviated and has no plural unless it is `day`."""
    return f"{count:,} {unit}{'s' if unit == 'day' and count != 1 else ''}"


def percent(share: float | None) -> str:
    """Return a probability or a share as a percentage with two or three significant digits.

    >>> percent(0.8234), percent(0.00042), percent(None)
    ('82.3 %', '0.042 %', 'not recorded')
    """
    return NOT_RECORDED if share is None else f"{quantity(share * 100)} %"


def moment(ms: float | None) -> str:
    """Return a time (ms) as an ISO date and time in UTC, to the second.

    >>> moment(1_704_268_800_000)
    '2024-01-03 08:00:00'
    """
    if ms is None:
        return NOT_RECORDED
    try:
        return (_EPOCH + timedelta(milliseconds=int(ms))).isoformat(sep=" ", timespec="seconds")
    except OverflowError:
        return f"{quantity(ms)} ms"


def count(many: int, one: str) -> str:
    """Return a count with its noun.

    >>> count(1, "warning"), count(1_200, "warning")
    ('1 warning', '1,200 warnings')
    """
    return f"{many:,} {one}{'' if many == 1 else 's'}"


def share(value: float | None) -> str:
    """Return a share in percent, or `none`."""
    return "none" if value is None else f"{value:.1%}"


def decimal(value: float | None) -> str:
    """Return a number with one decimal, or `none`."""
    return "none" if value is None else f"{value:,.1f}"


def figure(found: dict[str, float | None], digits: int, sign: str = "") -> str:
    """Return a figure with its interval, or `not defined`."""
    value, low, high = found["value"], found["low"], found["high"]
    if value is None:
        return "not defined"
    text = f"{value:{sign}.{digits}f}"
    return text if low is None else f"{text} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def events(many: float) -> str:
    """Return a number of events with its noun."""
    return f"{many:g} event{'' if many == 1 else 's'}"
