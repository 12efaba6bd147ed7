"""The figures of a reproduction: scores beside the table's, languages, learning curves with seed bands, speed."""

import re
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from debft.output.pages.content import (
    SYMBOLS,
    as_printed,
    decimals,
    long_score,
    reference_word,
    score_label,
    short_score,
    shown,
    signed,
)
from debft.output.pages.drawing import COLOURS, Drawing, Panel, add_axes, add_heading
from debft.runs.result import in_percent

MARKERS = {"reproduced": "o", "above": "^", "below": "v", "undecided": "o", "labelled": "D", "not run": "x"}
OPEN = ("undecided", "labelled")  # drawn as outlines
CELL_INCHES = 0.34
CURVE_INCHES = {False: 2.3, True: 3.6}  # without and with scores on the way
CURVES_IN_A_ROW = 2
SCORES_IN_A_CURVE = 3
WIDEST_LEGEND = 45  # characters beside each other
FARTHEST = 4.0  # times the median distance: a score farther off is drawn at the edge, or nothing else could be read


def drawings(reproduction: dict[str, Any]) -> list[Drawing]:
    """The figures that have something to show, in the order of the page."""
    every = (cells_figure(reproduction), languages_figure(reproduction), curves_figure(reproduction), speed_figure(reproduction))
    return [drawing for drawing in every if drawing.panels]


def cells_figure(reproduction: dict[str, Any]) -> Drawing:
    """Our scores as distances from the table's, a panel per table row, all on one scale."""
    word = reference_word(reproduction["table"])
    compared = [cell for cell in reproduction["cells"] if cell["difference"] is not None and in_percent(cell["score"])]
    limit = _limit(compared) if compared else 1.0
    rows: dict[str, list[dict]] = {}
    for cell in compared:
        rows.setdefault(cell["row"], []).append(cell)
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


def _cells_panel(row: str, cells: list[dict], word: str, limit: float) -> Panel:
    said = [f"{_distinct(c, cells)}: ours {_ours(c)}, {word} {as_printed(c)}, {c['verdict_text']}" for c in cells]
    return Panel(
        draw=lambda figure: _draw_cells(figure, row, cells, word, limit),
        height=0.82 + CELL_INCHES * len(cells),
        label=f"{row}. {'; '.join(said)}",
    )


def _draw_cells(figure: Figure | SubFigure, row: str, cells: list[dict], word: str, limit: float) -> None:
    add_heading(figure, row)
    axes = add_axes(figure, 1.32, 0.47, 1.32, 0.35)
    for number, cell in enumerate(cells):
        _draw_cell(axes, cell, -number, limit)
    axes.axvline(0, color=COLOURS["muted"], linewidth=1, zorder=1.5)
    axes.set(xlim=(-limit, limit), ylim=(0.5 - len(cells), 0.5), xlabel=f"ours minus {word}, points")
    axes.set_yticks([-number for number in range(len(cells))], [_wrapped(_distinct(cell, cells)) for cell in cells])
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(lambda value, _: signed(value, 1 if limit >= 0.5 else 2))
    axes.locator_params(axis="x", nbins=5)
    axes.grid(True, axis="x")
    axes.spines["left"].set_visible(False)


def _draw_cell(axes: Axes, cell: dict[str, Any], y: float, limit: float) -> None:
    verdict, value = cell["verdict"], cell["value"]
    colour = COLOURS.get(verdict, COLOURS["muted"])
    open_by = _open_by(cell)
    if cell["tolerance"]:
        axes.barh(y, 2 * cell["tolerance"], left=-cell["tolerance"], height=0.7, color=COLOURS["band"], zorder=1)
    axes.barh(y, 2 * open_by, left=-open_by, height=0.36, color=COLOURS["muted"], zorder=1.2)
    if cell["low"] is not None:
        axes.plot(
            (cell["low"] - value, cell["high"] - value), (y, y), color=colour, linewidth=1.8, zorder=2, marker="|", markersize=6
        )
    at = float(np.clip(cell["difference"], -0.97 * limit, 0.97 * limit))
    face = COLOURS["surface"] if verdict in OPEN else colour
    axes.plot(at, y, MARKERS[verdict], markersize=7, markerfacecolor=face, markeredgecolor=colour, markeredgewidth=1.6, zorder=3)
    beyond = ", off axis" if at != cell["difference"] else ""
    right = {"transform": axes.get_yaxis_transform(), "va": "center"}
    axes.text(1.05, y + 0.21, f"{_ours(cell)} / {as_printed(cell)}", size=8.5, **right)
    axes.text(1.05, y - 0.25, f"{SYMBOLS[verdict]} {verdict}{beyond}", size=7.5, color=colour, **right)


def _ours(cell: dict[str, Any]) -> str:
    return shown(cell["score"], cell["mean"])


def _open_by(cell: dict[str, Any]) -> float:
    """What the table itself leaves open, in points to each side."""
    return max(0.5 * 10.0 ** -decimals(cell), cell["spread"] or 0.0)


def _limit(cells: list[dict]) -> float:
    """Half the width of the axis, in points; a third stays free beside the bar of a spread."""
    reach = []
    for cell in cells:
        edges = [abs(edge - cell["value"]) for edge in (cell["mean"], cell["low"], cell["high"]) if edge is not None]
        reach.append(max(1.5 * _open_by(cell), cell["tolerance"] or 0.0, *edges))
    return 1.12 * max(0.3, min(max(reach), FARTHEST * max(float(np.median(reach)), 0.1)))


def _distinct(cell: dict[str, Any], cells: list[dict]) -> str:
    """The score, with its split where that tells it from another, and the dialect where the recipe stands there in two."""
    dialects = {c["dialect"] for c in cells if (c["row"], c["task"], c["score"]) == (cell["row"], cell["task"], cell["score"])}
    label = score_label(cell)
    if any(score_label(c) == label for c in cells if c["score"] != cell["score"]):
        label = long_score(cell["score"])
    return label + (f" ({cell['dialect']})" if len(dialects) > 1 else "")


def _wrapped(text: str, width: int = 17) -> str:
    """In two lines where one is too long for the margin."""
    if len(text) <= width or " " not in text:
        return text
    spaces = [match.start() for match in re.finditer(" ", text)]
    middle = min(spaces, key=lambda at: abs(at - len(text) / 2))
    return text[:middle] + "\n" + text[middle + 1 :]


def languages_figure(reproduction: dict[str, Any]) -> Drawing:
    """A bar per language, the average among them, for each row of the table and split with runs on XNLI."""
    word = reference_word(reproduction["table"])
    groups: dict[tuple[str, str], list[dict]] = {}
    for cell in reproduction["cells"]:
        if cell["task"] == "xnli" and cell["mean"] is not None and in_percent(cell["score"]) and _language(cell):
            groups.setdefault((cell["row"], cell["score"].partition(".")[0]), []).append(cell)
    groups = {key: cells for key, cells in groups.items() if any(_language(cell) != "avg" for cell in cells)}
    several = len({split for _, split in groups}) > 1
    return Drawing(
        name="languages",
        title="Languages",
        panels=[_languages_panel(f"{row}, {split}" if several else row, cells, word) for (row, split), cells in groups.items()],
        caption="Accuracy per language: a filled bar is the mean of our runs with its 95 % interval, the outlined one behind it "
        f"the {word} value.",
    )


def _languages_panel(row: str, cells: list[dict], word: str) -> Panel:
    said = [f"{_language(c)} {c['mean']:.1f}" + ("" if c["value"] is None else f" ({word} {as_printed(c)})") for c in cells]
    return Panel(
        draw=lambda figure: _draw_languages(figure, row, cells, word),
        height=0.82 + 0.25 * len(cells),
        label=f"Accuracy of {row} per language: {', '.join(said)}",
    )


def _language(cell: dict[str, Any]) -> str:
    """`fr` of `test.fr/accuracy`, `avg` of `test.avg/accuracy`, nothing of `validation/accuracy`."""
    return cell["score"].partition("/")[0].partition(".")[2]


def _draw_languages(figure: Figure | SubFigure, row: str, cells: list[dict], word: str) -> None:
    add_heading(figure, row)
    axes = add_axes(figure, 0.42, 0.47, 0.95, 0.35)
    y = -np.arange(len(cells))
    printed = [i for i, cell in enumerate(cells) if cell["value"] is not None]
    axes.barh(y[printed], [cells[i]["value"] for i in printed], height=0.78, color="none", edgecolor=COLOURS["muted"], label=word)
    axes.barh(y, [cell["mean"] for cell in cells], height=0.42, color=COLOURS["ours"], label="ours")
    for at, cell in zip(y, cells, strict=True):
        if cell["low"] is not None:
            axes.plot((cell["low"], cell["high"]), (at, at), color=COLOURS["ink"], linewidth=1.2, marker="|", markersize=5)
        text = f"{cell['mean']:.1f}" + ("" if cell["value"] is None else f" / {as_printed(cell)}")
        axes.text(1.02, at, text, transform=axes.get_yaxis_transform(), va="center", size=8.5)
    axes.set_yticks(y, [_language(cell) for cell in cells])
    axes.set(xlim=(0, 100), ylim=(y[-1] - 0.6, 0.6), xlabel="accuracy, percent")
    axes.tick_params(axis="y", length=0)
    axes.grid(True, axis="x")
    axes.legend(loc="lower right", bbox_to_anchor=(1.3, 1.0), ncols=2, borderaxespad=0.1)


def curves_figure(reproduction: dict[str, Any]) -> Drawing:
    """Training loss, and scores on the way where there are, of the complete runs of each recipe."""
    groups: dict[tuple[str, str], list[dict]] = {}
    for run in reproduction["runs"]:
        if run["status"] == "complete" and run["curve"] and run["curve"]["step"]:
            groups.setdefault((run["recipe"], run["recipe_hash"]), []).append(run)
    names = [name for name, _ in groups]
    panels = []
    for (name, digest), runs in groups.items():
        title = name if names.count(name) == 1 else f"{name} {digest[:8]}"
        panels.append(_curves_panel(title, runs, _scores_on_the_way(name, runs, reproduction["cells"])))
    return Drawing(
        name="learning-curves",
        title="Learning curves",
        panels=panels,
        across=min(CURVES_IN_A_ROW, max(1, len(panels))),
        caption="Training loss against optimizer steps, and evaluation scores where a run evaluated on its way: the line is the "
        "mean over the seeds, the band reaches from the smallest to the largest.",
    )


def _scores_on_the_way(recipe: str, runs: list[dict], cells: list[dict]) -> list[str]:
    """Those that the table compares, the others only where it compares none."""
    found = dict.fromkeys(name for run in runs for point in run["curve"]["evaluations"] for name in point["scores"])
    compared = [cell["score"] for cell in cells if cell["recipe"] == recipe and cell["score"] in found]
    return list(dict.fromkeys(compared or found))[:SCORES_IN_A_CURVE]


def _curves_panel(title: str, runs: list[dict], scores: list[str]) -> Panel:
    steps, losses = _over_seeds([(run["curve"]["step"], run["curve"]["loss"]) for run in runs])
    mean = np.nanmean(losses, axis=0)
    seeds = f"{len(runs)} {'seed' if len(runs) == 1 else 'seeds'}"
    return Panel(
        draw=lambda figure: _draw_curves(figure, f"{title}, {seeds}", runs, scores),
        height=CURVE_INCHES[bool(scores)],
        label=f"{title}, {seeds}: training loss from {mean[0]:.3f} to {mean[-1]:.3f} in {int(steps[-1]):,} steps",
    )


def _draw_curves(figure: Figure | SubFigure, title: str, runs: list[dict], scores: list[str]) -> None:
    add_heading(figure, title)
    loss = add_axes(figure, 0.62, 1.85 if scores else 0.47, 0.12, 0.35, ylabel="training loss")
    _band(loss, [(run["curve"]["step"], run["curve"]["loss"]) for run in runs], "ours", "-", None)
    lowest = loss
    if scores:
        lowest = add_axes(figure, 0.62, 0.47, 0.12, CURVE_INCHES[True] - 1.5, ylabel="percent", sharex=loss)
        _draw_scores(lowest, runs, scores)
        loss.tick_params(labelbottom=False)
    lowest.set_xlabel("optimizer step")
    lowest.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    lowest.locator_params(axis="x", nbins=5, integer=True)
    for axes in (loss, lowest):
        axes.grid(True, axis="both")


def _draw_scores(axes: Axes, runs: list[dict], scores: list[str]) -> None:
    for score, (colour, line) in zip(scores, (("second", "-"), ("third", "--"), ("ink", ":")), strict=False):
        points = [
            [(at["step"], at["scores"][score]) for at in run["curve"]["evaluations"] if score in at["scores"]] for run in runs
        ]
        series = [tuple(zip(*one, strict=True)) for one in points if one]
        _band(axes, series, colour, line, _series_name(score, scores), marker=".")
    across = len(scores) if sum(len(_series_name(score, scores)) for score in scores) <= WIDEST_LEGEND else 2
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=across,
        handlelength=2,
        columnspacing=1,
        labelspacing=0.2,
        borderpad=0.2,
        borderaxespad=0,
    )


def _series_name(score: str, scores: list[str]) -> str:
    short = [short_score(name) for name in scores]
    return short_score(score) if short.count(short_score(score)) == 1 else long_score(score)


def _band(axes: Axes, series: list[tuple], colour: str, line: str, label: str | None, marker: str = "") -> None:
    steps, values = _over_seeds(series)
    if len(series) > 1:
        axes.fill_between(steps, np.nanmin(values, 0), np.nanmax(values, 0), color=COLOURS[colour], alpha=0.2, linewidth=0)
    axes.plot(steps, np.nanmean(values, 0), line, color=COLOURS[colour], linewidth=1.6, marker=marker, label=label)


def _over_seeds(series: list[tuple]) -> tuple[np.ndarray, np.ndarray]:
    """All steps that any seed has, and a line of values per seed: between its points interpolated, outside them NaN."""
    steps = np.unique(np.concatenate([np.asarray(one[0], float) for one in series]))
    return steps, np.stack([np.interp(steps, *one, left=np.nan, right=np.nan) for one in series])


def speed_figure(reproduction: dict[str, Any]) -> Drawing:
    """Examples per second of each recipe and device: the bar is the mean, each dot a seed."""
    groups: dict[tuple[str, str], list[float]] = {}
    for run in reproduction["runs"]:
        if run["status"] == "complete" and run["examples_per_second"] is not None:
            environment = run["environment"] or {}
            card = "gpu" if environment.get("gpu") else "device"
            device = " ".join(str(environment[key]) for key in (card, "precision") if environment.get(key))
            groups.setdefault((run["recipe"], device), []).append(run["examples_per_second"])
    said = [f"{name} on {device} {np.mean(speeds):,.0f}" for (name, device), speeds in groups.items()]
    panel = Panel(
        draw=lambda figure: _draw_speed(figure, groups),
        height=0.57 + 0.42 * len(groups),
        label=f"Examples per second: {'; '.join(said)}",
    )
    return Drawing(
        name="speed",
        title="Speed",
        panels=[panel] if groups else [],
        caption="Training examples per second by recipe and device: the bar is the mean, each dot one seed.",
    )


def _draw_speed(figure: Figure | SubFigure, groups: dict[tuple[str, str], list[float]]) -> None:
    longest = max(len(text) for names in groups for text in names)
    axes = add_axes(figure, 0.2 + 0.07 * min(longest, 30), 0.47, 0.6, 0.1)
    y = -np.arange(len(groups))
    axes.barh(y, [np.mean(speeds) for speeds in groups.values()], height=0.55, color=COLOURS["band"], edgecolor=COLOURS["muted"])
    for at, speeds in zip(y, groups.values(), strict=True):
        axes.plot(speeds, np.full(len(speeds), at), "o", markersize=4.5, color=COLOURS["ours"], alpha=0.8, linestyle="")
        axes.text(1.02, at, f"{np.mean(speeds):,.0f}", transform=axes.get_yaxis_transform(), va="center", size=8.5)
    axes.set_yticks(y, [f"{name}\n{device}" for name, device in groups])
    axes.set(xlim=(0, None), ylim=(y[-1] - 0.5, 0.5), xlabel="examples per second")
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=4)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.grid(True, axis="x")
