"""Drawing with Matplotlib: the same data always gives the same SVG, ready to be embedded in a page.

`pen` imports Matplotlib when the first picture is drawn, because the import needs a writable directory and reads
environment variables and settings files. Matplotlib gets a private directory instead and reads no foreign settings.
Figures are made without pyplot, so calls share no state. Text stays text: it takes the page's font, and screen readers
can read it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from dataflows.config.settings import matplotlib_apart
from dataflows.reports.numbers import quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.typing import RcKeyType

P = ParamSpec("P")

INK, MUTED, LINE = "#23272e", "#5d646e", "#dcd8cf"
TIER_INK = {"none": "#8a919c", "watch": "#d9a520", "elevated": "#cf5f1e", "high": "#8c1d3f"}
"""Colours of the tiers, darker with every tier, so that they differ in print and for colour-blind readers."""
RAISES, LOWERS = "#b4531a", "#2b6a8f"
SERIES = ("#2b6a8f", "#b4531a", "#4d7c3a", "#7a4c8f", "#a07d1c", "#3b3f46")

LAST_DRAWN = 253_370_764_800_000
"""The first millisecond of the year 9999 (ms): beyond it a calendar axis cannot place its next tick."""

_SETTINGS: dict[RcKeyType, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "forewarn",
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "timezone": "UTC",
}


NOT_DRAWN = Markup('<p class="nothing">Not drawn.</p>')
"""Placeholder for a picture that cannot be drawn."""
_LAST_LOADED = "matplotlib.backends.backend_svg"


class CannotDrawError(Exception):
    """Matplotlib cannot be used here; the text is a sentence for the reader of the page."""


class Pen(NamedTuple):
    """The parts of Matplotlib that drawing needs."""

    Figure: type[Figure]
    dates: Any
    ticker: Any


def pen(scratch: Path | None = None) -> Pen:
    """Return Matplotlib; import it on the first call.

    The import uses a private directory in the system's temporary directory, or else in `scratch`, and removes it.

    Raises:
        CannotDrawError: if neither can be written, or Matplotlib does not start.
    """
    if _LAST_LOADED not in sys.modules:
        with _private(scratch) as folder, matplotlib_apart(folder):
            try:
                return _imported()
            except Exception as error:
                why = (str(error).splitlines() or [""])[0]
                raise CannotDrawError(
                    f"The pictures could not be drawn: Matplotlib does not start ({type(error).__name__}: {why})."
                ) from error
    return _imported()


def why_undrawn(scratch: Path | None = None) -> str | None:
    """Return a sentence with the reason why no picture can be drawn; None if pictures can be drawn."""
    try:
        pen(scratch)
    except CannotDrawError as error:
        return str(error)
    return None


def drawn(draw: Callable[P, Markup | None], *args: P.args, **kwargs: P.kwargs) -> Markup | None:
    """Return the result of `draw`, or `NOT_DRAWN` if Matplotlib cannot be used."""
    try:
        return draw(*args, **kwargs)
    except CannotDrawError:
        return NOT_DRAWN


@contextmanager
def _private(scratch: Path | None) -> Iterator[Path]:
    refused: OSError | None = None
    for parent in (None, scratch):
        try:
            folder = TemporaryDirectory(prefix=".forewarn-", dir=parent, ignore_cleanup_errors=True)
        except OSError as error:
            refused = refused or error
            continue
        with folder as path:
            yield Path(path)
            return
    why = refused.strerror if refused is not None else None
    raise CannotDrawError(f"The pictures could not be drawn: no directory for temporary files can be written ({why}).")


def _imported() -> Pen:
    import matplotlib.backends.backend_svg  # noqa: PLC0415 - see the module docstring
    import matplotlib.dates  # noqa: PLC0415
    import matplotlib.figure  # noqa: PLC0415
    import matplotlib.ticker  # noqa: PLC0415

    return Pen(matplotlib.figure.Figure, matplotlib.dates, matplotlib.ticker)


@contextmanager
def settings() -> Iterator[Pen]:
    """Yield Matplotlib, with its own defaults and the report's style until the block ends.

    Raises:
        CannotDrawError: if Matplotlib cannot be used here.
    """
    tools = pen()
    import matplotlib as mpl  # noqa: PLC0415 - see the module docstring

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        yield tools


def svg(figure: Figure, key: str, title: str) -> Markup:
    """Return the figure as an SVG element named `title`, its ids prefixed with `key` so that several fit on one page.

    `title` and all text in the figure must be this package's own or have passed `label`: Matplotlib escapes text, but
    keeps characters that XML forbids.
    """
    out = StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    # a style element would apply to the whole page
    text = re.sub(r"\s*<style\b.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{key}-', text)
    text = re.sub(r'(url\(|href=")#', rf"\1#{key}-", text)
    label = str(Markup.escape(title))
    head = f'<svg role="img" aria-label="{label}"'
    return Markup(text.rstrip().replace("<svg", head, 1))  # noqa: S704 - Matplotlib's own output, all its text escaped


def calendar(times: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return times (ms) as Matplotlib dates: days since 1970-01-01, clipped to 0 and `LAST_DRAWN`."""
    days: NDArray[np.float64] = np.clip(times, 0, LAST_DRAWN) / 86_400_000
    return days


def time_axis(axes: Axes, first: int, last: int, most: int = 14) -> None:
    """Set the x axis to run from `first` to `last` (ms), with at most about `most` ticks as ISO dates in UTC."""
    dates = pen().dates
    locator = dates.AutoDateLocator(tz=UTC, minticks=min(3, most), maxticks=most)
    formatter = dates.ConciseDateFormatter(
        locator,
        tz=UTC,
        formats=["%Y", "%Y-%m", "%m-%d", "%H:%M", "%H:%M", "%H:%M:%S"],
        zero_formats=["", "%Y", "%m-%d", "%m-%d", "%H:%M", "%H:%M"],
        offset_formats=["", "", "%Y", "%Y-%m-%d", "%Y-%m-%d", "%Y-%m-%d %H:%M"],
    )
    left, right = calendar(np.array([min(first, LAST_DRAWN - 1_000), max(last, first + 1_000)], dtype=np.int64))
    axes.set_xlim(float(left), float(right))
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(formatter)


def plain_numbers() -> Any:
    """Return a formatter of tick labels as plain numbers with thousands separated."""
    return pen().ticker.FuncFormatter(lambda value, _: quantity(value))


def label(text: str, longest: int = 60) -> str:
    """Return text fit for a picture.

    Characters other than printable ASCII become question marks, and text of more than `longest` characters is cut.
    """
    plain = "".join(character if " " <= character <= "~" else "?" for character in text)
    return plain if len(plain) <= longest else f"{plain[: longest - 3]}..."
