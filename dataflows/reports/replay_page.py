"""The HTML page of a replay: headline, pictures and tables, rendered by a template that escapes everything."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Template
from markupsafe import Markup

from dataflows.reports import headline as words
from dataflows.reports import replay_charts as pictures
from dataflows.reports import tables
from dataflows.reports.drawing import drawn, why_undrawn
from dataflows.reports.numbers import count, duration, moment, percent
from dataflows.reports.ranking import highest_scored, strongest
from dataflows.reports.read import Run, Version, is_raise, read_run
from dataflows.reports.templating import template
from dataflows.reports.timelines import Timeline, draw_timeline, highest_probability, timelines
from dataflows.reports.weights import LINEAR, read_weights
from dataflows.runtime.escaping import visible
from schemas.records.base import MAX_TIME

STRONGEST = 20
"""Maximum number of rows in the table of warnings."""
SHOWN = 8
"""Maximum number of users whose timelines are drawn."""


def write_report(run_dir: Path) -> Path:
    """Write `report.html` into a replay's output directory, from the files in it; return its path.

    The page needs no network, and the same files give the same bytes. If pictures cannot be drawn, it contains the
    reason instead.

    Raises:
        ValueError: if the directory does not exist or one of its files is invalid; the text is one sentence.
    """
    path = run_dir / "report.html"
    path.write_text(render(read_run(run_dir), run_dir), encoding="utf-8", newline="\n")
    return path


def render(run: Run, scratch: Path | None = None) -> str:
    """Return the page of a run; Matplotlib may use the directory `scratch` while it starts."""
    undrawn = why_undrawn(scratch)
    return _template().render({**_context(run), "undrawn": undrawn}) + "\n"


@cache
def _template() -> Template:
    return template("report.html.j2", {"visible": visible, "bound": words.bound})


def _context(run: Run) -> dict[str, Any]:
    champion = run.summary.text("models", "champion")
    versions = run.versions.get(champion, []) if champion is not None else []
    pinned = run.summary.get("models", "pinned") is True
    warned = {event.user_id for event in run.risk.raised}
    over_time = _over_time(run)
    return {
        "title": run.summary.text("log") or "a log without a name",
        "tiles": words.tiles(run.summary),
        "problems": words.problems(run.summary),
        "headline": words.headline(run.summary, len(warned) if run.risk.recorded else None),
        "target": run.summary.text("policy", "target") or "escalates",
        "horizon": duration(run.summary.number("policy", "horizon_ms")),
        "risk_recorded": run.risk.recorded,
        "points_recorded": run.points.recorded,
        "over_time": over_time[0] if over_time else None,
        "bin": over_time[1] if over_time else None,
        "tier_counts": tables.tier_counts(run),
        "scores": drawn(pictures.score_distribution, run.points),
        "points": len(run.points.as_of),
        "insufficient": int(run.points.insufficient.sum()),
        "champion": champion,
        "features": _features(versions),
        "no_features": _why_no_features(champion, versions),
        "pinned": pinned,
        "learning": None if pinned else drawn(pictures.learning_progress, versions),
        "versions": len(versions),
        "timelines": _timelines(run),
        "strongest": tables.strongest_rows(strongest(run.risk, STRONGEST)),
        "warned_users": len({event.user_id for event in run.risk.named if is_raise(event)}),
        "erased": len(run.risk.erased),
        "events": tables.events(run.summary),
        "losses": tables.losses(run.summary),
        "models": tables.models(run.summary, run.versions),
        "policy": tables.policy(run.summary),
        "challengers": run.summary.get("models", "challengers"),
    }


def _over_time(run: Run) -> tuple[Markup, str] | None:
    ends = [run.summary.number(key) for key in ("first_event", "last_event")]
    return pictures.warnings_over_time(run.risk, [int(end) for end in ends if end is not None and 0 <= end <= MAX_TIME])


def _features(versions: list[Version]) -> Markup | None:
    weights = read_weights(versions[-1]) if versions else None
    return drawn(pictures.driving_features, weights) if weights is not None else None


def _why_no_features(champion: str | None, versions: list[Version]) -> str:
    if champion is None or not versions:
        return "The champion's state was not recorded, so there are no weights to draw."
    if versions[-1].family != LINEAR:
        return f"The champion is of the family {versions[-1].family}, which has no weights that could be drawn as bars."
    if read_weights(versions[-1]) is None:
        return "The champion's state could not be read, so there are no weights to draw."
    return "The champion had not learnt anything yet: all its weights are zero."


def _timelines(run: Run) -> list[dict[str, Any]]:
    best = {event.user_id: event for event in strongest(run.risk, SHOWN)}
    users = list(best)
    if len(users) < SHOWN:
        warned = {event.user_id for event in run.risk.named if event.tier.rank}
        others = highest_scored(run.points, run.risk, SHOWN + len(warned))
        users += [user for user in others if user not in warned][: SHOWN - len(users)]
    lines = timelines(run.points, run.points.named(run.risk.erased), run.risk.named, users)
    ceiling = highest_probability(lines)
    return [
        {
            "user": line.user_id,
            "tier": str(best[line.user_id].tier) if line.user_id in best else "none",
            "said": _said(line),
            "svg": drawn(draw_timeline, line, f"user-{number}", ceiling),
        }
        for number, line in enumerate(lines, start=1)
    ]


def _said(line: Timeline) -> str:
    """Return a timeline in words, for readers who cannot see the picture."""
    points = count(len(line.as_of), "decision point")
    raised = [event for event in line.events if is_raise(event)]
    if not raised:
        peak = max((float(score) for score in line.score if score == score), default=None)  # noqa: PLR0124 - NaN is unequal to itself
        return f"{points}, never warned of; highest score {percent(peak)}"
    first, last = raised[0], line.events[-1]
    held = f"; the last lapses at {moment(last.expires_at)}" if last.tier.rank else ""
    return f"{points}, {count(len(raised), 'warning')}, the first at {moment(first.as_of)}{held}"
