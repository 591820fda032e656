"""Features in words: `report_count_24h` of 7 becomes "7 reports in 24 h".

Feature names are derived from declarations (`detectors.features.declare`), so they are parsed by the same grammar. A
name that does not follow it is shown with spaces for underscores. No function here raises, because pages and terminal
output also contain column names of older models.
"""

from __future__ import annotations

import math
import re

from dataflows.reports.numbers import duration, in_units, quantity, signed
from dataflows.runtime.escaping import visible
from detectors.features.tokens import FIRST, GAPS, tokens
from schemas.records.decisions import Reason

_SPAN = r"\d+(?:ms|s|m|h|d)"
_WINDOW = re.compile(rf"(?P<signal>\w+)_(?P<what>count|sum|mean|max|distinct|decay|ratio)_(?P<span>{_SPAN})", re.ASCII)
_TREND = re.compile(rf"(?P<signal>\w+)_trend_(?P<short>{_SPAN})_(?P<long>{_SPAN})", re.ASCII)
_SINCE = re.compile(r"(?P<signal>\w+)_since", re.ASCII)

_SEQUENCE = re.compile(r"sequence_(?P<length>\d+)", re.ASCII)

# Counted signals: singular and plural.
_COUNTED = {
    "message": ("message", "messages"),
    "report": ("report", "reports"),
    "sanction": ("sanction", "sanctions"),
    "exposure": ("intervention shown", "interventions shown"),
    "repeat": ("repeat", "repeats"),
    "reversal": ("sanction taken back", "sanctions taken back"),
}

# Signals whose distinct values are counted: singular, plural, and the plural as a label.
_DISTINCT = {
    "reporter": ("reports from {} person", "reports from {} people", "people reporting"),
    "recipient": ("{} person addressed", "{} people addressed", "people addressed"),
    "channel": ("{} channel used", "{} channels used", "channels used"),
}

# Measured signals: quantity and unit.
_MEASURED = {"length": ("message length", " characters")}

# Features whose names are not descriptive enough: label, factor for the value, and text with the value.
_OWN_WORDS = {
    "strike_count": ("strikes", 1, "{} strikes"),
    "session_number": ("sessions so far", 1, "{} sessions so far"),
    "first_session_count": ("events in the first session", 1, "{} events in the first session"),
    "channel_rate": ("recent messages in the channel (half-life 1 h)", 1, "{} recent messages in the channel"),
    "channel_share": ("share of the channel's recent messages", 100, "{} % of the channel's recent messages"),
    "channel_sanctions": ("sanctions per message in the channel", 100, "{} sanctions in 100 messages of the channel"),
    "excess_mean_24h": ("toxicity less the channel's, mean over 24 h", 1, "toxicity less the channel's: {} over 24 h"),
    "quick_answer_ratio_24h": (
        "share of messages after a quick answer in 24 h",
        100,
        "{} % of messages in 24 h come after a quick answer",
    ),
}

_COUNTING = ("_count", "_number", "_rate")


def describe_feature(name: str, value: float | None) -> str:
    """Return a feature's value in words; None is an absent value, which is not zero.

    >>> describe_feature("report_count_24h", 7.0)
    '7 reports in 24 h'
    >>> describe_feature("message_since", 40.0)
    'last message 40 s ago'
    >>> describe_feature("sequence_4", 0x02A9)
    'latest: message within 1 min, report within 10 s'
    """
    if value is None or not math.isfinite(value):
        return f"{name_feature(name)}: not known"
    said = quantity(value)
    if name in _OWN_WORDS:
        _, scale, words = _OWN_WORDS[name]
        words = words.format(quantity(value * scale))
        return re.sub("s( |$)", r"\1", words, count=1) if value == 1 and name.endswith(_COUNTING) else words
    if window := _WINDOW.fullmatch(name):
        return _describe_window(window["signal"], window["what"], _span(window["span"]), value)
    if trend := _TREND.fullmatch(name):
        return (
            f"{_one(trend['signal'])} rate over {_span(trend['short'])} is {said} times that over "
            f"{_span(trend['long'])}"
        )
    if since := _SINCE.fullmatch(name):
        ago = "just now" if value == 0 else f"{duration(value * 1_000)} ago"
        return f"first seen {ago}" if since["signal"] == "first" else f"last {_one(since['signal'])} {ago}"
    if _SEQUENCE.fullmatch(name) and (read := tokens(value)):
        return f"latest: {', '.join(_token(kind, gap) for kind, gap in read)}"
    return f"{_plainly(name)} {said}"


def name_feature(name: str) -> str:
    """Return a feature's name in words, without a value, as the label of a bar or a line.

    >>> name_feature("toxicity_mean_1h")
    'mean toxicity over 1 h'
    """
    if name in _OWN_WORDS:
        return _OWN_WORDS[name][0]
    if window := _WINDOW.fullmatch(name):
        return _name_window(window["signal"], window["what"], _span(window["span"]))
    if trend := _TREND.fullmatch(name):
        return f"{_one(trend['signal'])} rate, {_span(trend['short'])} against {_span(trend['long'])}"
    if since := _SINCE.fullmatch(name):
        return "time since first seen" if since["signal"] == "first" else f"time since last {_one(since['signal'])}"
    if sequence := _SEQUENCE.fullmatch(name):
        return f"latest {in_units(int(sequence['length']), 'events')}"
    return _plainly(name)


def describe_reason(reason: Reason) -> str:
    """Return a reason in words: the feature's raw value, then its contribution in log-odds, or the rule that used it.

    >>> describe_reason(Reason(detector="champion", feature="report_count_24h", value=7.0, contribution=1.316))
    '7 reports in 24 h (+1.32)'
    """
    fact = describe_feature(reason.feature, reason.value)
    if reason.contribution is None:
        return f"{fact} (rule {_plainly(reason.detector)})"
    return f"{fact} ({signed(reason.contribution)})"


def _describe_window(signal: str, what: str, span: str, value: float) -> str:
    said = quantity(value)
    if what == "count":
        return f"{said} {_plural(value, _one(signal), _many(signal))} in {span}"
    if what == "distinct":
        one, many, _ = _DISTINCT.get(signal, ("{} different value", "{} different values", ""))
        return f"{_plural(value, one, many).format(said)} in {span}"
    if what == "sum":
        return f"{_measured(signal)} adding up to {said} in {span}"
    if what == "ratio" and signal == "repeat":
        return f"{quantity(value * 100)} % of messages in {span} are repeats"
    if what == "ratio":
        return f"{said} {_many(signal)} per message in {span}"
    if what == "decay":
        return f"recent {_faded(signal)} {said} (half-life {span})"
    if what == "mean":
        return f"mean {_measured(signal)} {said}{_unit(signal)} over {span}"
    return f"highest {_measured(signal)} {said}{_unit(signal)} in {span}"


def _name_window(signal: str, what: str, span: str) -> str:
    return {
        "count": f"{_many(signal)} in {span}",
        "distinct": f"{_DISTINCT[signal][2] if signal in _DISTINCT else f'different {_plainly(signal)}s'} in {span}",
        "sum": f"sum of {_measured(signal)} in {span}",
        "ratio": f"share of repeats in {span}" if signal == "repeat" else f"{_many(signal)} per message in {span}",
        "decay": f"recent {_faded(signal)} (half-life {span})",
        "mean": f"mean {_measured(signal)} over {span}",
        "max": f"highest {_measured(signal)} in {span}",
    }[what]


def _token(kind: str, gap: int) -> str:
    said = _COUNTED[kind][0] if kind in _COUNTED else kind
    if gap == FIRST:
        return f"{said} as first event"
    return f"{said} within {_span(GAPS[gap])}" if gap < len(GAPS) else f"{said} after {_span(GAPS[-1])}"


def _one(signal: str) -> str:
    return _COUNTED[signal][0] if signal in _COUNTED else f"{_plainly(signal)} event"


def _many(signal: str) -> str:
    return _COUNTED[signal][1] if signal in _COUNTED else f"{_plainly(signal)} events"


def _measured(signal: str) -> str:
    return _MEASURED[signal][0] if signal in _MEASURED else _plainly(signal)


def _unit(signal: str) -> str:
    return _MEASURED[signal][1] if signal in _MEASURED else ""


def _faded(signal: str) -> str:
    return _many(signal) if signal in _COUNTED else _measured(signal)


def _plural(value: float, one: str, many: str) -> str:
    return one if value == 1 else many


def _span(text: str) -> str:
    count = text.rstrip("dhms")
    unit = text[len(count) :]
    return in_units(int(count), {"d": "day", "m": "min"}.get(unit, unit))


def _plainly(name: str) -> str:
    return visible(name.replace("_", " "))
