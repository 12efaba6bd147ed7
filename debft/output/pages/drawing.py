"""This module says what a figure is, and makes it a file or a part of the page.

Drawn with matplotlib's Figure alone: no pyplot, no display, no settings of the user's, and the same bytes for the same runs. It
comes with the extra `report`; without it the pages say in words what each figure would show.
"""

import io
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from markupsafe import escape

from debft.console import say_field

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

# One colour, one meaning; the page replaces each by its own CSS variable, which knows light and dark.
COLOURS = {
    "ink": "#1f2328",
    "muted": "#59636e",
    "line": "#d1d9e0",
    "surface": "#ffffff",
    "band": "#e4e9ef",
    "ours": "#0550ae",
    "second": "#8a3ffc",
    "third": "#005d5d",
    "reproduced": "#1a7f37",
    "above": "#0969da",
    "below": "#cf222e",
    "undecided": "#9a6700",
}
_VARIABLES = {colour: f"var(--{name})" for name, colour in COLOURS.items()}
WIDTH = 4.4  # inches; at 72 units to the inch a phone shows a panel at its natural size
_STYLE = {
    "svg.hashsalt": "debft",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9.0,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "figure.facecolor": COLOURS["surface"],
    "axes.facecolor": COLOURS["surface"],
    "savefig.facecolor": COLOURS["surface"],
    "text.color": COLOURS["ink"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.edgecolor": COLOURS["line"],
    "xtick.color": COLOURS["line"],
    "xtick.labelcolor": COLOURS["muted"],
    "ytick.color": COLOURS["line"],
    "ytick.labelcolor": COLOURS["ink"],
    "grid.color": COLOURS["line"],
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.xmargin": 0.02,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A panel is a self-contained part of a figure."""

    draw: "Callable[[Figure | SubFigure], None]"
    """What draws it."""
    height: float
    """Its height in inches; all are `WIDTH` wide."""
    label: str
    """What is seen, in words, for readers who do not see it."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A drawing has one or more panels: they are one picture as a file, single ones on the page."""

    name: str
    """Its name as a file and as an HTML id."""
    title: str
    """Its heading."""
    caption: str
    """What a reader must know to read it."""
    panels: list[Panel]
    """Its panels; a figure without any is left out."""
    across: int = 1
    """Panels beside each other in the file; the page shows as many as fit."""


def add_axes(figure: "Figure | SubFigure", left: float, bottom: float, right: float, top: float, **settings: Any) -> "Axes":
    """Add axes at these inches from the edges; matplotlib's own layouts ask a solver whose last digits differ from call to call."""
    width, height = figure.bbox.width / figure.dpi, figure.bbox.height / figure.dpi
    return figure.add_axes((left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height), **settings)


def add_heading(figure: "Figure | SubFigure", text: str) -> None:
    """Write a heading into the upper left corner, where 0.35 inches must be left free."""
    figure.text(0.09 / WIDTH, 1 - 0.2 / (figure.bbox.height / figure.dpi), text, weight="bold", size=9.5, va="center")


@cache
def can_draw() -> bool:
    """Tell whether figures can be drawn; the first time that they cannot, say what is missing."""
    try:
        import matplotlib.style  # noqa: F401
    except ImportError:
        say_field("figures", "not drawn, matplotlib is not installed: pip install 'debft[report]'")
        return False
    return True


def render(drawing: Drawing) -> tuple[bytes, bytes]:
    """Return (SVG, PNG) of all panels in one picture."""
    rows = [drawing.panels[i : i + drawing.across] for i in range(0, len(drawing.panels), drawing.across)]
    heights = [max(panel.height for panel in row) for row in rows]
    from matplotlib.figure import Figure

    with _style():
        figure = Figure(figsize=(WIDTH * drawing.across, sum(heights)))
        if len(drawing.panels) == 1:
            drawing.panels[0].draw(figure)
        else:
            grid = figure.subfigures(len(rows), drawing.across, squeeze=False, height_ratios=heights)
            for panel, part in zip(drawing.panels, grid.flat, strict=False):
                panel.draw(part)
        return _saved(figure, "svg", Date=None), _saved(figure, "png", Software=None)


def render_inline(panel: Panel, prefix: str) -> str:
    """Return an <svg> element in the page's own colours; `prefix` keeps its ids apart from those of other figures.

    Where nothing can be drawn it is a paragraph with what would be seen.
    """
    if not can_draw():
        return f"<p>{escape(panel.label)} (Not drawn: matplotlib is not installed, <code>pip install 'debft[report]'</code>.)</p>"
    from matplotlib.figure import Figure

    with _style():
        figure = Figure(figsize=(WIDTH, panel.height))
        panel.draw(figure)
        svg = _saved(figure, "svg", Date=None).decode()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    return re.sub(r"<[^>]+>", lambda tag: _tag_of_the_page(tag.group(), prefix), svg)  # tags alone: texts stay as they are


def _tag_of_the_page(tag: str, prefix: str) -> str:
    """Return a tag for the page: as wide as its box, ids with the prefix, colours by name."""
    if tag.startswith("<svg"):
        tag = re.sub(r' (?:width|height)="[^"]*"', "", tag)
    tag = re.sub(r'(\bid="|xlink:href="#|url\(#)', rf"\g<1>{prefix}-", tag)
    return re.sub(r"#[0-9a-f]{6}\b", lambda colour: _VARIABLES.get(colour.group(), colour.group()), tag)


def _style() -> AbstractContextManager[None]:
    import matplotlib.style

    return matplotlib.style.context(_STYLE, after_reset=True)


def _saved(figure: "Figure", format: str, **metadata: None) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format=format, dpi=144 if format == "png" else 72, metadata=metadata)
    return file.getvalue()
