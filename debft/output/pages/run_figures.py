"""This module draws how the runs went: learning curves with seed bands, and speed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from debft.output.pages.drawing import COLOURS, Drawing, Panel, add_axes, add_heading
from debft.output.pages.records import Cell, Report, ReportedRun
from debft.output.text import counted, long_score, short_score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

CURVE_INCHES = {False: 2.3, True: 3.6}  # without and with scores on the way
CURVES_IN_A_ROW = 2
SCORES_IN_A_CURVE = 3
WIDEST_LEGEND = 45  # characters beside each other

Line = tuple[Sequence[float], Sequence[float]]  # the steps of one seed, and its value at each


def curves_figure(report: Report) -> Drawing:
    """Draw the training loss of the complete runs of each recipe, and their scores on the way where there are any."""
    groups: dict[tuple[str, str], list[ReportedRun]] = {}
    for run in report.runs:
        if run.status == "complete" and run.curve.step:
            groups.setdefault((run.recipe, run.recipe_hash), []).append(run)
    names = [name for name, _ in groups]
    panels = []
    for (name, digest), runs in groups.items():
        title = name if names.count(name) == 1 else f"{name} {digest[:8]}"
        panels.append(_curves_panel(title, runs, _scores_on_the_way(name, runs, report.cells)))
    return Drawing(
        name="learning-curves",
        title="Learning curves",
        panels=panels,
        across=min(CURVES_IN_A_ROW, max(1, len(panels))),
        caption="Training loss against optimizer steps, and evaluation scores where a run evaluated on its way: the line is the "
        "mean over the seeds, the band reaches from the smallest to the largest.",
    )


def _scores_on_the_way(recipe: str, runs: Sequence[ReportedRun], cells: Sequence[Cell]) -> list[str]:
    """Return the scores that the table compares, others only where it compares none."""
    logged = dict.fromkeys(name for run in runs for point in run.curve.evaluations for name in point["scores"])
    compared = [cell.score for cell in cells if cell.recipe == recipe and cell.score in logged]
    return list(dict.fromkeys(compared or logged))[:SCORES_IN_A_CURVE]


def _curves_panel(title: str, runs: Sequence[ReportedRun], scores: list[str]) -> Panel:
    steps, losses = _over_seeds([(run.curve.step, run.curve.loss) for run in runs])
    mean = np.nanmean(losses, axis=0)
    seeds = counted(len(runs), "seed")
    return Panel(
        draw=lambda figure: _draw_curves(figure, f"{title}, {seeds}", runs, scores),
        height=CURVE_INCHES[bool(scores)],
        label=f"{title}, {seeds}: training loss from {mean[0]:.3f} to {mean[-1]:.3f} in {int(steps[-1]):,} steps",
    )


def _draw_curves(figure: "Figure | SubFigure", title: str, runs: Sequence[ReportedRun], scores: list[str]) -> None:
    add_heading(figure, title)
    loss = add_axes(figure, 0.62, 1.85 if scores else 0.47, 0.12, 0.35, ylabel="training loss")
    _band(loss, [(run.curve.step, run.curve.loss) for run in runs], "ours", "-", None)
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


def _draw_scores(axes: "Axes", runs: Sequence[ReportedRun], scores: list[str]) -> None:
    for score, (colour, line) in zip(scores, (("second", "-"), ("third", "--"), ("ink", ":")), strict=False):
        points = [[(at["step"], at["scores"][score]) for at in run.curve.evaluations if score in at["scores"]] for run in runs]
        series = [([step for step, _ in one], [value for _, value in one]) for one in points if one]
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


def _band(axes: "Axes", series: Sequence[Line], colour: str, line: str, label: str | None, marker: str = "") -> None:
    steps, values = _over_seeds(series)
    if len(series) > 1:
        axes.fill_between(steps, np.nanmin(values, 0), np.nanmax(values, 0), color=COLOURS[colour], alpha=0.2, linewidth=0)
    axes.plot(steps, np.nanmean(values, 0), line, color=COLOURS[colour], linewidth=1.6, marker=marker, label=label)


def _over_seeds(series: Sequence[Line]) -> tuple[np.ndarray, np.ndarray]:
    """Return all steps that any seed has, and a line of values per seed: between its points interpolated, outside them NaN."""
    steps = np.unique(np.concatenate([np.asarray(x, float) for x, _ in series]))
    return steps, np.stack([np.interp(steps, x, y, left=np.nan, right=np.nan) for x, y in series])


def speed_figure(report: Report) -> Drawing:
    """Draw the training examples per second of each recipe and device: the bar is the mean, each dot a seed."""
    groups: dict[tuple[str, str], list[float]] = {}
    for run in report.runs:
        if run.status == "complete" and run.examples_per_second is not None:
            environment = run.environment or {}
            card = "gpu" if environment.get("gpu") else "device"
            device = " ".join(str(environment[key]) for key in (card, "precision", "attention") if environment.get(key))
            groups.setdefault((run.recipe, device), []).append(run.examples_per_second)
    parts = [f"{name} on {device} {np.mean(speeds):,.0f}" for (name, device), speeds in groups.items()]
    panel = Panel(
        draw=lambda figure: _draw_speed(figure, groups),
        height=0.57 + 0.42 * len(groups),
        label=f"Examples per second: {'; '.join(parts)}",
    )
    return Drawing(
        name="speed",
        title="Speed",
        panels=[panel] if groups else [],
        caption="Training examples per second by recipe and device: the bar is the mean, each dot one seed.",
    )


def _draw_speed(figure: "Figure | SubFigure", groups: dict[tuple[str, str], list[float]]) -> None:
    longest = max(len(text) for names in groups for text in names)
    axes = add_axes(figure, 0.2 + 0.07 * min(longest, 30), 0.47, 0.6, 0.1)
    y = [-i for i in range(len(groups))]
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
