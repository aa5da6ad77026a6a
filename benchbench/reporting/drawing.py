"""What the plots share: colours, markers, panels, titles."""

from __future__ import annotations

import textwrap
from typing import Any

from .readable import TITLED, short

#: Colours that colour-blind people can tell apart (Okabe and Ito 2008), grey for the yellow that is too pale on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
BASELINE = "#000000"
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STYLES = ("-", "-.", ":")
DOTS_PER_INCH = 120
#: Inches of one panel, and of a letter of text; a categorical axis grows with its values.
PANEL, LETTER = (4.6, 3.3), 0.075
STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "lines.linewidth": 1.4,
    "lines.markersize": 5,
    "text.parse_math": False,
}


def panel_axes(count: int, *, sharey: bool) -> tuple[Any, Any, int, int]:
    """Return a figure, the axes of its panels, at most three in a row, and the numbers of columns and rows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    across, down = min(count, 3), -(-count // 3)
    figure = Figure(layout="constrained", dpi=DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    axes = figure.subplots(down, across, sharey=sharey, squeeze=False).ravel()
    for unused in axes[count:]:
        unused.set_visible(False)
    return figure, axes, across, down


def titled(figure: Any, title: str, caption: str) -> Any:
    """Return a figure of its final size with a title above and a caption below, in lines that fit its width."""
    letters = int(figure.get_figwidth() / LETTER)
    figure.suptitle(textwrap.fill(short(title, letters=TITLED), int(0.95 * letters)), x=0.01, ha="left", fontsize=10)
    figure.supxlabel(textwrap.fill(short(caption, letters=TITLED), int(1.15 * letters)), x=0.01, ha="left", fontsize=8)
    return figure


def fit_range(at: Any) -> None:
    """Leave no room below 0 and above 100 % but for half a marker, which would be cut."""
    low, high = at.get_ylim()
    half = 0.025 * (high - low)
    at.set_ylim(max(low, -half), min(high, 100.0 + half))


def marker(rank: int) -> str:
    """Return the marker of a generator; each round of colours has other ones."""
    return MARKERS[(rank + rank // len(COLOURS)) % len(MARKERS)]
