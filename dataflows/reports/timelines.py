"""Timelines of single users: score and tier over time, warnings and their expiry."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from dataflows.reports.drawing import INK, MUTED, TIER_INK, calendar, settings, svg, time_axis
from dataflows.reports.read import Flags, Points, Times, Values, is_raise
from schemas.records.decisions import RiskEvent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_POINTS = 400
"""More decision points than this are thinned to the highest of each stretch, because a timeline must show the peaks."""
_HOUR = 3_600_000
_BAND_STRENGTH = {"watch": 0.22, "elevated": 0.3, "high": 0.38}


@dataclass(frozen=True, slots=True)
class Timeline:
    """One user's decision points and risk events, both in time order; an absent score is NaN."""

    user_id: str
    as_of: Times
    score: Values
    events: list[RiskEvent]

    @property
    def first(self) -> int:
        """Return the time of the earliest decision point or risk event (ms)."""
        return min([int(at) for at in self.as_of[:1]] + [event.as_of for event in self.events[:1]])

    @property
    def last_seen(self) -> int:
        """Return the time of the latest decision point or risk event (ms)."""
        return max([int(at) for at in self.as_of[-1:]] + [event.as_of for event in self.events[-1:]])


def timelines(points: Points, named: Flags, events: list[RiskEvent], users: list[str]) -> list[Timeline]:
    """Return the timelines of `users` in that order; users with nothing to show are left out."""
    codes = {user: code for code, user in enumerate(points.users)}
    found = []
    for user in users:
        rows = np.flatnonzero(named & (points.user == codes.get(user, -1)))
        rows = rows[np.argsort(points.as_of[rows], kind="stable")]
        own = sorted((event for event in events if event.user_id == user), key=lambda event: event.as_of)
        if len(rows) or own:
            found.append(Timeline(user, points.as_of[rows], points.score[rows], own))
    return found


def thinned(as_of: Times, score: Values) -> tuple[Times, Values]:
    """Return at most about `MOST_POINTS` scored points: the first, the last, and the highest of every stretch."""
    known = np.flatnonzero(~np.isnan(score))
    as_of, score = as_of[known], score[known]
    if len(score) <= MOST_POINTS:
        return as_of, score
    stretches = np.array_split(np.arange(len(score)), MOST_POINTS - 2)
    kept = np.unique([0, *(int(part[np.argmax(score[part])]) for part in stretches), len(score) - 1])
    return as_of[kept], score[kept]


def tier_bands(events: list[RiskEvent]) -> list[tuple[str, int, int]]:
    """Return tier, start and end (ms) of every period under a warning; it ends at the next risk event or at expiry."""
    bands = []
    for event, following in zip_longest(events, events[1:]):
        end = event.expires_at if following is None else min(event.expires_at, following.as_of)
        if event.tier.rank and end > event.as_of:
            bands.append((str(event.tier), event.as_of, end))
    return bands


def highest_probability(lines: list[Timeline]) -> float:
    """Return the highest probability in any timeline, which sets their common scale; 1.0 if there is none."""
    peaks = [float(np.nanmax(line.score)) for line in lines if not np.isnan(line.score).all()]
    peaks += [event.probability for line in lines for event in line.events if event.probability is not None]
    return max(peaks, default=1.0)


def draw_timeline(line: Timeline, key: str, ceiling: float) -> Markup:
    """Draw one user's timeline with probabilities up to `ceiling`; the page, not the picture, shows the user's id."""
    as_of, score = thinned(line.as_of, line.score)
    bands = tier_bands(line.events)
    lapse = bands[-1][2] if bands else line.last_seen
    # a warning may hold for days after minutes of activity: show only a part of that time
    end = min(max(lapse, line.last_seen), line.last_seen + max((line.last_seen - line.first) * 2 // 5, _HOUR))
    margin = max((end - line.first) // 40, 1_000)
    with settings() as pen:
        figure = pen.Figure(figsize=(4.5, 1.75), layout="constrained")
        axes = figure.subplots()
        top = min(1.0, ceiling * 1.15) * 1.12
        across = axes.get_xaxis_transform()
        for tier in dict.fromkeys(tier for tier, _, _ in bands):
            spans = [(start, min(stop, end + margin)) for of, start, stop in bands if of == tier]
            left, right = calendar(np.array(spans, dtype=np.int64)).T
            pieces = list(zip(left.tolist(), (right - left).tolist(), strict=True))
            ink, strength = TIER_INK[tier], _BAND_STRENGTH[tier]
            axes.broken_barh(pieces, (0, 1), transform=across, color=ink, alpha=strength, lw=0)
        marker = "o" if len(score) <= 60 else None
        axes.plot(calendar(as_of), score, color=INK, lw=1.0, drawstyle="steps-post", marker=marker, ms=2.2)
        unscored = line.as_of[np.isnan(line.score)][:: max(1, len(line.as_of) // 200)]
        axes.plot(calendar(unscored), np.zeros(len(unscored)), "|", color=MUTED, ms=5, mew=0.7)
        _draw_marks(axes, line.events, bands, end)
        axes.set_ylim(-0.03 * top, top)
        axes.yaxis.set_major_formatter(pen.ticker.FuncFormatter(lambda share, _: f"{share * 100:g} %"))
        axes.yaxis.set_major_locator(pen.ticker.MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]))
        axes.tick_params(labelsize=8)
        axes.xaxis.get_offset_text().set_fontsize(8)
        time_axis(axes, line.first - margin, end + margin, most=7)
        return svg(figure, key, "Line: score over time, with tier bands and warning marks")


def _draw_marks(axes: Axes, events: list[RiskEvent], bands: list[tuple[str, int, int]], end: int) -> None:
    raised = [event for event in events if is_raise(event)]
    size = 1.0 if len(raised) <= 24 else 0.7
    for tier in sorted({event.tier for event in raised}, key=lambda tier: tier.rank):
        marks = [event for event in raised if event.tier is tier]
        axes.plot(
            calendar(np.array([event.as_of for event in marks], dtype=np.int64)),
            [event.probability or 0.0 for event in marks],
            "^",
            color=TIER_INK[tier],
            mec=INK,
            mew=0.6,
            ms=size * (5.0 + 1.2 * tier.rank),
            clip_on=False,
            zorder=5,
        )
    stops = {stop for _, _, stop in bands if stop <= end} - {event.as_of for event in events}
    lapses = calendar(np.array(sorted(stops), dtype=np.int64))
    axes.vlines(lapses, 0, 1, transform=axes.get_xaxis_transform(), color=MUTED, lw=1.0, ls=(0, (3, 2)))
