"""The pictures of an evaluation: scores beside baselines, the reliability curve, and the curve of earliness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from dataflows.reports.drawing import INK, LOWERS, MUTED, RAISES, label, settings, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE = 9.2
"""Width of a picture (inches), as in a replay's report."""
FIGURES = (("roc_auc", "area under the ROC curve"), ("average_precision", "average precision"))
LINEAR_FROM = 0.3
"""If the largest rate is below this, axes are logarithmic: on linear axes all dots would lie in one corner."""


def ranking(scores: dict[str, Any]) -> Markup:
    """Draw each score's figures as dots with their intervals, models above baselines."""
    names = list(scores)
    with settings() as pen:
        figure = pen.Figure(figsize=(WIDE, 0.9 + 0.27 * len(names)), layout="constrained")
        axes: Any = figure.subplots(1, 2, sharey=True)
        for panel, (key, title) in zip(axes, FIGURES, strict=True):
            for row, name in enumerate(names):
                found = scores[name][key]
                if found["value"] is None:
                    continue
                ink = RAISES if row == 0 else INK if scores[name]["kind"] == "model" else MUTED
                if found["low"] is not None:
                    panel.plot([found["low"], found["high"]], [row, row], color=ink, linewidth=1.6)
                panel.plot([found["value"]], [row], "o", color=ink, markersize=5)
            champion = scores[names[0]][key]["value"]
            if champion is not None:
                panel.axvline(champion, color=RAISES, linewidth=0.7, linestyle=(0, (2, 3)))
            panel.set_xlabel(title)
            panel.grid(visible=True, axis="x")
            panel.grid(visible=False, axis="y")
        axes[0].set_yticks(range(len(names)), [label(name) for name in names])
        axes[0].invert_yaxis()
        return svg(figure, "ranking", "Each score's figures with their intervals, models above floors")


def left_out(bins: list[dict[str, Any]]) -> int:
    """Return the number of bins that the reliability curve omits: on logarithmic axes, those with a rate of zero."""
    return len(bins) - sum(_positive(one) for one in bins) if _logarithmic(bins) else 0


def _positive(one: dict[str, Any]) -> bool:
    return bool(one["predicted"] > 0 and one["observed"] > 0)


def _logarithmic(bins: list[dict[str, Any]]) -> bool:
    reach = max((max(one["predicted"], one["observed"]) for one in bins), default=0.0)
    return reach < LINEAR_FROM and any(map(_positive, bins))


def reliability(bins: list[dict[str, Any]]) -> Markup | None:
    """Draw predicted against observed rates, a dot for each bin that is not left out; return None without bins."""
    if not bins:
        return None
    logarithmic = _logarithmic(bins)
    if logarithmic:
        bins = [one for one in bins if _positive(one)]
    predicted = np.array([one["predicted"] for one in bins])
    observed = np.array([one["observed"] for one in bins])
    with settings() as pen:
        figure = pen.Figure(figsize=(WIDE / 2, WIDE / 2.4), layout="constrained")
        axes: Axes = figure.subplots()
        if logarithmic:
            axes.set_xscale("log")
            axes.set_yscale("log")
            for axis in (axes.xaxis, axes.yaxis):  # the default uses math text, which is switched off
                axis.set_major_formatter(pen.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
                axis.set_minor_formatter(pen.ticker.NullFormatter())
        low, high = min(predicted.min(), observed.min()), max(predicted.max(), observed.max())
        axes.plot([low, high], [low, high], color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.plot(predicted, observed, "o-", color=RAISES, markersize=4, linewidth=1)
        axes.set_xlabel("mean probability of the bin")
        axes.set_ylabel("share that came true")
        return svg(figure, "reliability", "Mean probability of each bin against the share of it that came true")


def earliness(curve: list[dict[str, Any]]) -> Markup | None:
    """Draw ROC-AUC, with intervals, and recall by the number of a user's first events; return None without a figure."""
    known = [early for early in curve if early["roc_auc"]["value"] is not None]
    if not known:
        return None
    with settings() as pen:
        figure = pen.Figure(figsize=(WIDE, 2.6), layout="constrained")
        axes: Any = figure.subplots(1, 2)
        places = range(len(known))
        for place, early in enumerate(known):
            found = early["roc_auc"]
            if found["low"] is not None:
                axes[0].plot([place, place], [found["low"], found["high"]], color=RAISES, linewidth=1.6)
        axes[0].plot(places, [early["roc_auc"]["value"] for early in known], "o-", color=RAISES, markersize=5)
        axes[0].axhline(0.5, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        axes[0].set_ylabel("area under the ROC curve")
        announced = [np.nan if early["recall"] is None else early["recall"] for early in known]  # NaN is not drawn
        axes[1].plot(places, announced, "o-", color=LOWERS, markersize=5)
        axes[1].set_ylabel("escalations announced by then")
        axes[1].set_ylim(bottom=0)
        axes[1].yaxis.set_major_locator(pen.ticker.MaxNLocator(5))
        for panel in axes:
            panel.set_xticks(places, [str(early["events"]) for early in known])
            panel.set_xlabel("first events of a user that are known")
        return svg(figure, "earliness", "Ranking and announced escalations by how many events of a user are known")
