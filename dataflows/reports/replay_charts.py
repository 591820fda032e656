"""The pictures of a whole run. Each function returns None if there is nothing to draw."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from dataflows.reports.drawing import (
    INK,
    LOWERS,
    MUTED,
    NOT_DRAWN,
    RAISES,
    SERIES,
    TIER_INK,
    calendar,
    drawn,
    label,
    plain_numbers,
    settings,
    svg,
    time_axis,
)
from dataflows.reports.formatting import name_feature
from dataflows.reports.numbers import duration
from dataflows.reports.read import Points, Risk, Values, Version
from dataflows.reports.weights import Weights, drawn_versions, read_weights
from detectors.base.elementwise import log
from schemas.records.decisions import RiskEvent, Tier

WIDE = 9.2
"""Width of a picture (inches): at the page's width its text is as large as the page's small print."""
MOST_BARS = 20
MOST_LINES = 6

_MINUTE, _HOUR, _DAY = 60_000, 3_600_000, 86_400_000
_BIN_WIDTHS = tuple(
    [count * _MINUTE for count in (1, 5, 15, 30)]
    + [count * _HOUR for count in (1, 2, 3, 6, 12)]
    + [count * _DAY for count in (1, 2, 7, 14, 30, 91, 365, 3_650, 36_500)]
)
_MOST_BINS = 62

_FEW_TICKS = (1e-6, 1e-5, 1e-4, 0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99, 0.999, 0.9999)
_MANY_TICKS = (1e-6, 1e-5, 1e-4, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.25, 0.5, 0.75, 0.9, 0.97, 0.99, 0.999, 0.9999)


def bin_width(first: int, last: int) -> int:
    """Return the narrowest round width (ms) that divides a period into a readable number of bins.

    >>> bin_width(0, 86_400_000)
    1800000
    """
    return next((width for width in _BIN_WIDTHS if (last - first) / width <= _MOST_BINS), _BIN_WIDTHS[-1])


def warnings_over_time(risk: Risk, ends: list[int]) -> tuple[Markup, str] | None:
    """Draw the warnings raised per time bin, stacked by tier; return the picture and the bin width in words.

    `ends` are the times of the log's first and last event (ms), as far as they are known, so that quiet periods are
    drawn too. If both are known, a warning outside of them, due to a wrong clock, is drawn at the nearer end.
    """
    raised = risk.raised
    if not raised:
        return None
    both = 2
    times = ends if len(ends) == both else [*ends, *(event.as_of for event in raised)]
    start, end = min(times), max(times)
    width = bin_width(start, end)
    return drawn(_over_time, raised, start, end, width) or NOT_DRAWN, duration(width)


def _over_time(raised: list[RiskEvent], start: int, end: int, width: int) -> Markup:
    edges = np.arange(start // width, end // width + 2, dtype=np.int64) * width
    middles = (edges[:-1] + edges[1:]) // 2
    with settings() as pen:
        figure = pen.Figure(figsize=(WIDE, 2.9), layout="constrained")
        axes = figure.subplots()
        bottom = np.zeros(len(middles))
        for tier in list(Tier)[1:]:
            at = np.array([event.as_of for event in raised if event.tier == tier], dtype=np.int64)
            if not len(at):
                continue
            counts, _ = np.histogram(np.clip(at, start, end), bins=edges)
            axes.bar(
                calendar(middles),
                counts,
                width=0.86 * width / _DAY,
                bottom=bottom,
                color=TIER_INK[tier],
                label=f"{tier} ({len(at):,})",
            )
            bottom = bottom + counts
        axes.set_ylabel("warnings raised")
        axes.yaxis.set_major_locator(pen.ticker.MaxNLocator(nbins="auto", integer=True, steps=[1, 2, 2.5, 5, 10]))
        axes.yaxis.set_major_formatter(plain_numbers())
        axes.set_ylim(0, max(float(bottom.max()) * 1.08, 1.0))
        time_axis(axes, int(edges[0]), int(edges[-1]))
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], loc="outside upper right", ncols=3, handlelength=0.9)
        return svg(figure, "over-time", "Bars: warnings raised over time, by tier")


def score_distribution(points: Points) -> Markup | None:
    """Draw a histogram of decision points by probability and by the user's tier, with counts and odds on log scales."""
    known = ~np.isnan(points.score)
    if not known.any():
        return None
    lowest, highest = float(points.score[known].min()), float(points.score[known].max())
    ticks = _odds_ticks(lowest, highest)
    ends = _log_odds(np.array([lowest, highest, ticks[0], ticks[-1]]))
    edges = np.linspace(ends.min() - 0.1, ends.max() + 0.1, 61)
    with settings() as pen:
        figure = pen.Figure(figsize=(WIDE, 3.1), layout="constrained")
        axes = figure.subplots()
        for tier in Tier:
            code = points.tiers.index(tier) if tier in points.tiers else -1
            scores = points.score[known & (points.tier == code)]
            if not len(scores):
                continue
            counts, _ = np.histogram(_log_odds(scores), bins=edges)
            name = "no warning" if tier is Tier.NONE else str(tier)
            axes.stairs(counts, edges, baseline=0.5, fill=True, color=TIER_INK[tier], alpha=0.28)
            axes.stairs(counts, edges, baseline=0.5, color=TIER_INK[tier], lw=1.3, label=f"{name} ({len(scores):,})")
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.7)
        axes.yaxis.set_major_formatter(plain_numbers())
        axes.yaxis.set_minor_locator(pen.ticker.NullLocator())
        axes.set_ylabel("decision points (log scale)")
        axes.set_xlabel("probability of escalating within the horizon")
        axes.xaxis.set_major_locator(pen.ticker.FixedLocator(list(_log_odds(np.array(ticks)))))
        axes.xaxis.set_major_formatter(pen.ticker.FixedFormatter([_short_percent(tick) for tick in ticks]))
        axes.set_xlim(edges[0], edges[-1])
        figure.legend(loc="outside upper right", ncols=4, handlelength=1.2)
        return svg(figure, "scores", "Histogram: decision points by probability and tier")


def _odds_ticks(lowest: float, highest: float) -> list[float]:
    """Return round probabilities between the two, or the two nearest to their middle if fewer than two fit."""
    low, high = _log_odds(np.array([lowest, highest]))
    ticks = _FEW_TICKS if high - low > 12 else _MANY_TICKS
    inside = [tick for tick in ticks if lowest <= tick <= highest]
    if len(inside) > 1:
        return inside
    far = np.abs(_log_odds(np.array(ticks)) - (low + high) / 2)
    return sorted(ticks[index] for index in np.argsort(far, kind="stable")[:2])


def _log_odds(probabilities: Values) -> Values:
    inside = np.clip(probabilities, 1e-7, 1 - 1e-7)
    return log(inside / (1 - inside))


def _short_percent(share: float) -> str:
    return f"{share * 100:.6f}".rstrip("0").rstrip(".") + " %"


def driving_features(weights: Weights) -> Markup | None:
    """Draw the heaviest weights on standardised features as signed bars, the heaviest on top."""
    heaviest = [index for index in weights.by_size() if weights.values[index] != 0][:MOST_BARS]
    if not heaviest:
        return None
    values = weights.values[heaviest]
    with settings() as pen:
        figure = pen.Figure(figsize=(WIDE, 0.75 + 0.25 * len(heaviest)), layout="constrained")
        axes = figure.subplots()
        rows = np.arange(len(heaviest))
        axes.barh(rows, values, height=0.68, color=[RAISES if value > 0 else LOWERS for value in values])
        reach = float(np.abs(values).max())
        for row, value in zip(rows, values, strict=True):
            axes.annotate(
                f"{value:+.2f}".replace("-", "\N{MINUS SIGN}"),
                (value, row),
                xytext=(4 if value > 0 else -4, 0),
                textcoords="offset points",
                ha="left" if value > 0 else "right",
                va="center",
                color=MUTED,
                fontsize=8,
            )
        axes.set_yticks(rows, [label(name_feature(weights.names[index])) for index in heaviest])
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(heaviest) - 0.4, -0.6)
        axes.set_xlim(-reach * 1.16 if values.min() < 0 else 0, reach * 1.16 if values.max() > 0 else 0)
        axes.axvline(0, color=INK, lw=0.8)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", visible=True)
        axes.set_xlabel("change in log-odds for one standard deviation more")
        return svg(figure, "features", "Bars: the features with the heaviest weights, by sign")


def learning_progress(versions: list[Version]) -> Markup | None:
    """Draw examples and positives learnt, and the heaviest weights, over the event time the model had learnt until."""
    drawn = drawn_versions(versions)
    if not drawn:
        return None
    until = np.array([version.learned_until for version in drawn], dtype=np.int64)
    times = calendar(until)
    marker = "o" if len(drawn) <= 40 else None
    lines = _weight_lines(drawn)
    with settings() as pen:
        figure = pen.Figure(figsize=(WIDE, 5.0 if lines else 2.6), layout="constrained")
        panels = np.atleast_1d(np.asarray(figure.subplots(2 if lines else 1, 1, sharex=True)))
        counts = panels[0]
        for name, values, colour in (
            ("examples learnt", [version.examples for version in drawn], SERIES[0]),
            ("of them positives", [version.positives for version in drawn], SERIES[1]),
        ):
            counts.plot(times, values, color=colour, marker=marker, ms=3, lw=1.5, label=f"{name} ({values[-1]:,})")
        counts.set_yscale("symlog", linthresh=1)
        counts.set_ylim(bottom=0)
        counts.yaxis.set_major_formatter(plain_numbers())
        counts.yaxis.set_minor_locator(pen.ticker.NullLocator())
        counts.set_ylabel("count (log scale)")
        counts.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.2)
        for index, (name, weights) in enumerate(lines):
            panels[1].plot(times, weights, color=SERIES[index], marker=marker, ms=3, lw=1.5, label=label(name, 38))
        if lines:
            panels[1].axhline(0, color=MUTED, lw=0.7)
            panels[1].set_ylabel("weight")
            panels[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.2)
        time_axis(panels[-1], int(until.min()), int(until.max()), most=10)
        return svg(figure, "learning", "Lines: examples and positives learnt, and the heaviest weights, over time")


def _weight_lines(drawn: list[Version]) -> list[tuple[str, NDArray[np.float64]]]:
    """Return the features heaviest at the end, with a weight per drawn version, the largest final weight first."""
    read = [read_weights(version) for version in drawn]
    final = read[-1]
    if final is None:
        return []
    names = [final.names[index] for index in final.by_size()[:MOST_LINES]]
    found = [{} if weights is None else dict(zip(weights.names, weights.values, strict=True)) for weights in read]
    lines = [(name, np.array([at.get(name, np.nan) for at in found], dtype=np.float64)) for name in names]
    return sorted(((name_feature(name), values) for name, values in lines), key=lambda line: -line[1][-1])
