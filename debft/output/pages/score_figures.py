"""This module draws our scores beside those of the table, and the languages."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from debft.output.pages.content import as_printed
from debft.output.pages.drawing import COLOURS, Drawing, Panel, add_axes, add_heading
from debft.output.pages.records import Cell, Report
from debft.output.pages.summary import SYMBOLS, reference_word
from debft.output.text import long_score, score_text, short_score, signed
from debft.published.load import printed_decimals
from debft.runs.result import in_percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

MARKERS = {"reproduced": "o", "above": "^", "below": "v", "undecided": "o", "labelled": "D", "not run": "x"}
OPEN = ("undecided", "labelled")  # verdicts whose marks are outlines
CELL_INCHES = 0.34
FARTHEST = 4.0  # times the median distance: a score farther off is drawn at the edge, or nothing else could be read


def cells_figure(report: Report) -> Drawing:
    """Draw our scores as distances from the table's, a panel per table row, all on one scale."""
    word = reference_word(report.table)
    compared = [cell for cell in report.cells if cell.difference is not None and in_percent(cell.score)]
    limit = _limit(compared) if compared else 1.0
    rows: dict[str, list[Cell]] = {}
    for cell in compared:
        rows.setdefault(cell.row, []).append(cell)
    return Drawing(
        name="scores",
        title=f"Our scores beside the {word} ones",
        panels=[_cells_panel(row, cells, word, limit) for row, cells in rows.items()],
        caption=f"Each mark is the mean of our runs, as its distance from the {word} value, with its 95 % interval. The dark bar "
        f"at zero is the rounding or spread of the {word} value, the light one the tolerance. On the right: ours / {word}."
        f"{_where_reproduced(word)}",
    )


def _where_reproduced(word: str) -> str:
    return "" if word == "frozen" else " A cell is reproduced where its interval lies inside the light bar."


def _cells_panel(row: str, cells: Sequence[Cell], word: str, limit: float) -> Panel:
    parts = [f"{_distinct(c, cells)}: ours {_ours_text(c)}, {word} {as_printed(c)}, {c.verdict_text}" for c in cells]
    return Panel(
        draw=lambda figure: _draw_cells(figure, row, cells, word, limit),
        height=0.82 + CELL_INCHES * len(cells),
        label=f"{row}. {'; '.join(parts)}",
    )


def _draw_cells(figure: "Figure | SubFigure", row: str, cells: Sequence[Cell], word: str, limit: float) -> None:
    add_heading(figure, row)
    axes = add_axes(figure, 1.32, 0.47, 1.32, 0.35)
    for number, cell in enumerate(cells):
        if cell.difference is not None:
            _draw_cell(axes, cell, cell.difference, -number, limit)
    axes.axvline(0, color=COLOURS["muted"], linewidth=1, zorder=1.5)
    axes.set(xlim=(-limit, limit), ylim=(0.5 - len(cells), 0.5), xlabel=f"ours minus {word}, points")
    axes.set_yticks([-number for number in range(len(cells))], [_wrapped(_distinct(cell, cells)) for cell in cells])
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(lambda value, _: signed(value, 0 if limit >= 5 else 1 if limit >= 0.5 else 2))
    axes.locator_params(axis="x", nbins=4, steps=[1, 2, 5, 10])  # whole points at a limit of 5, and room between the numbers
    axes.grid(True, axis="x")
    axes.spines["left"].set_visible(False)


def _draw_cell(axes: "Axes", cell: Cell, difference: float, y: float, limit: float) -> None:
    verdict, value = cell.verdict, cell.value
    colour = COLOURS.get(verdict, COLOURS["muted"])
    open_by = _open_by(cell)
    if cell.tolerance:
        axes.barh(y, 2 * cell.tolerance, left=-cell.tolerance, height=0.7, color=COLOURS["band"], zorder=1)
    axes.barh(y, 2 * open_by, left=-open_by, height=0.36, color=COLOURS["muted"], zorder=1.2)
    if cell.low is not None and cell.high is not None and value is not None:
        axes.plot((cell.low - value, cell.high - value), (y, y), color=colour, linewidth=1.8, zorder=2, marker="|", markersize=6)
    at = float(np.clip(difference, -0.97 * limit, 0.97 * limit))
    face = COLOURS["surface"] if verdict in OPEN else colour
    axes.plot(at, y, MARKERS[verdict], markersize=7, markerfacecolor=face, markeredgecolor=colour, markeredgewidth=1.6, zorder=3)
    beyond = ", off axis" if at != difference else ""
    right: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "center"}
    axes.text(1.05, y + 0.21, f"{_ours_text(cell)} / {as_printed(cell)}", size=8.5, **right)
    axes.text(1.05, y - 0.25, f"{SYMBOLS[verdict]} {verdict}{beyond}", size=7.5, color=colour, **right)


def _ours_text(cell: Cell) -> str:
    return score_text(cell.score, cell.mean)


def _open_by(cell: Cell) -> float:
    """Return what the table itself leaves open, in points to each side: its rounding, or its spread."""
    rounding = 0.0 if cell.value is None else 0.5 * 10.0 ** -printed_decimals(cell.cell, cell.value)
    return max(rounding, cell.spread or 0.0)


def _limit(cells: Sequence[Cell]) -> float:
    """Return half the width of the axis, in points; a third stays free beside the bar of a spread."""
    reach = []
    for cell in cells:
        value, bounds = cell.value, (cell.mean, cell.low, cell.high)
        edges = [abs(edge - value) for edge in bounds if edge is not None and value is not None]
        reach.append(max(1.5 * _open_by(cell), cell.tolerance or 0.0, *edges))
    return 1.12 * max(0.3, min(max(reach), FARTHEST * max(float(np.median(reach)), 0.1)))


def _distinct(cell: Cell, cells: Sequence[Cell]) -> str:
    """Return the score in few words, with its split where that tells it from another."""
    label = score_label(cell)
    return long_score(cell.score) if any(score_label(c) == label for c in cells if c.score != cell.score) else label


def score_label(cell: Cell) -> str:
    """Return a name that is short and unique within its table row: `mnli matched accuracy`, `squad2 f1`, `fr accuracy`."""
    return " ".join(dict.fromkeys([cell.column, *short_score(cell.score).split(" ")]))


def _wrapped(text: str, width: int = 17) -> str:
    """Break a text into two lines where one is too long for the margin."""
    if len(text) <= width or " " not in text:
        return text
    spaces = [match.start() for match in re.finditer(" ", text)]
    middle = min(spaces, key=lambda at: abs(at - len(text) / 2))
    return text[:middle] + "\n" + text[middle + 1 :]


def languages_figure(report: Report) -> Drawing:
    """Draw a bar per language, the average among them, for each row of the table and each split with runs on XNLI."""
    word = reference_word(report.table)
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in report.cells:
        if cell.task == "xnli" and cell.mean is not None and in_percent(cell.score) and _language(cell):
            groups.setdefault((cell.row, cell.score.partition(".")[0]), []).append(cell)
    groups = {key: cells for key, cells in groups.items() if any(_language(cell) != "avg" for cell in cells)}
    several = len({split for _, split in groups}) > 1
    return Drawing(
        name="languages",
        title="Languages",
        panels=[_languages_panel(f"{row}, {split}" if several else row, cells, word) for (row, split), cells in groups.items()],
        caption="Accuracy per language: a filled bar is the mean of our runs with its 95 % interval, the outlined one behind it "
        f"the {word} value.",
    )


def _languages_panel(row: str, cells: Sequence[Cell], word: str) -> Panel:
    parts = [f"{_language(c)} {c.mean:.1f}" + ("" if c.value is None else f" ({word} {as_printed(c)})") for c in cells]
    return Panel(
        draw=lambda figure: _draw_languages(figure, row, cells, word),
        height=0.82 + 0.25 * len(cells),
        label=f"Accuracy of {row} per language: {', '.join(parts)}",
    )


def _language(cell: Cell) -> str:
    """Return `fr` for `test.fr/accuracy`, `avg` for `test.avg/accuracy`, nothing for `validation/accuracy`."""
    return cell.score.partition("/")[0].partition(".")[2]


def _draw_languages(figure: "Figure | SubFigure", row: str, cells: Sequence[Cell], word: str) -> None:
    add_heading(figure, row)
    axes = add_axes(figure, 0.42, 0.47, 0.95, 0.35)
    y = [-i for i in range(len(cells))]
    printed = [(at, cell.value) for at, cell in zip(y, cells, strict=True) if cell.value is not None]
    places, values = [at for at, _ in printed], [value for _, value in printed]
    axes.barh(places, values, height=0.78, color="none", edgecolor=COLOURS["muted"], label=word)
    axes.barh(y, [cell.mean for cell in cells if cell.mean is not None], height=0.42, color=COLOURS["ours"], label="ours")
    for at, cell in zip(y, cells, strict=True):
        if cell.low is not None and cell.high is not None:
            axes.plot((cell.low, cell.high), (at, at), color=COLOURS["ink"], linewidth=1.2, marker="|", markersize=5)
        text = f"{cell.mean:.1f}" + ("" if cell.value is None else f" / {as_printed(cell)}")
        axes.text(1.02, at, text, transform=axes.get_yaxis_transform(), va="center", size=8.5)
    axes.set_yticks(y, [_language(cell) for cell in cells])
    axes.set(xlim=(0, 100), ylim=(y[-1] - 0.6, 0.6), xlabel="accuracy, percent")
    axes.tick_params(axis="y", length=0)
    axes.grid(True, axis="x")
    axes.legend(loc="lower right", bbox_to_anchor=(1.3, 1.0), ncols=2, borderaxespad=0.1)
