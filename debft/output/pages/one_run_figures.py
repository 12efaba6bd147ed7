"""This module draws the figures of the page of one run: its curves, its calibration, its residuals, its languages."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from debft.output.pages.drawing import COLOURS, Panel, add_axes, add_heading
from debft.runs.analysis import Calibration, Residuals

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

INCHES = 2.3  # height of a panel
SERIES = (("ours", "-"), ("second", "--"), ("third", ":"), ("ink", "-."))
POINTS = 600  # of a curve; more are not seen
Line = tuple[str, list[float], list[float]]  # its title, the steps, and the value at each
TITLES = {"loss": "Training loss", "learning_rate": "Learning rate", "grad_norm": "Gradient norm"}


def curve_panels(steps: Sequence[dict[str, Any]]) -> list[Panel]:
    """Draw loss, learning rate and gradient norm against the steps. steps: the lines of steps.jsonl."""
    if not steps:
        return []
    thinned = [steps[i] for i in np.unique(np.linspace(0, len(steps) - 1, POINTS).astype(int))]
    panels = []
    for name, title in TITLES.items():
        x, y = [row["step"] for row in thinned if name in row], [row[name] for row in thinned if name in row]
        if y:
            label = f"{title} from {y[0]:.3g} to {y[-1]:.3g} in {x[-1]:,} steps"
            panels.append(Panel(draw=_lines(title, [(title, x, y)]), height=INCHES, label=label))
    return panels


def score_panel(evaluations: Sequence[dict[str, Any]], names: Sequence[tuple[str, str]]) -> list[Panel]:
    """Draw the scores on the way where there are several evaluations. names: key and title of each score."""
    series: list[Line] = []
    for (key, title), _ in zip(names, SERIES, strict=False):
        points = [(row["step"], row["scores"][key]) for row in evaluations if key in row.get("scores", {})]
        if len(points) > 1:
            series.append((title, [step for step, _ in points], [score for _, score in points]))
    if not series:
        return []
    label = "; ".join(f"{title} from {y[0]:.2f} to {y[-1]:.2f}" for title, _, y in series)
    return [Panel(draw=_lines("Dev scores in percent", series, marker=".", legend=True), height=INCHES + 0.3, label=label)]


def _lines(title: str, series: Sequence[Line], marker: str = "", legend: bool = False) -> "Callable[[Figure | SubFigure], None]":
    def draw(figure: "Figure | SubFigure") -> None:
        add_heading(figure, title)
        axes = add_axes(figure, 0.72, 0.47, 0.12, 0.65 if legend else 0.35)
        for (name, x, y), (colour, line) in zip(series, SERIES, strict=False):
            axes.plot(x, y, line, color=COLOURS[colour], linewidth=1.5, marker=marker, label=name)
        _steps_below(axes)
        if legend:
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0, columnspacing=1, handlelength=2)

    return draw


def _steps_below(axes: "Axes") -> None:
    axes.set_xlabel("optimizer step")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.locator_params(axis="x", nbins=4, integer=True)
    axes.locator_params(axis="y", nbins=5)
    axes.grid(True, axis="both")


def calibration_panel(calibration: Calibration) -> Panel:
    """Draw how often predictions are right beside what their probability says; a bar on the line is right about itself."""
    filled = [one for one in calibration.bins if one.predictions]

    def draw(figure: "Figure | SubFigure") -> None:
        add_heading(figure, "Calibration")
        axes = add_axes(figure, 0.62, 0.47, 0.15, 0.35, xlabel="probability in percent", ylabel="right, percent")
        axes.bar([one.low * 100 + 5 for one in filled], [one.right for one in filled], width=8, color=COLOURS["band"])
        axes.plot([0, 100], [0, 100], "--", color=COLOURS["muted"], linewidth=1)
        axes.plot([one.probability for one in filled], [one.right for one in filled], "o", color=COLOURS["ours"], markersize=4)
        axes.set(xlim=(0, 101), ylim=(0, 104))
        axes.locator_params(nbins=5)
        axes.grid(True, axis="y")

    bars = "; ".join(f"{one.probability:.0f} percent: {one.right:.0f} percent of {one.predictions:,}" for one in filled)
    return Panel(draw=draw, height=INCHES + 0.2, label=f"Share of right predictions by their probability: {bars}")


def residuals_panel(residuals: Residuals) -> Panel:
    """Draw the histogram of predicted minus true scores."""

    def draw(figure: "Figure | SubFigure") -> None:
        add_heading(figure, "Predicted minus true score")
        axes = add_axes(figure, 0.62, 0.47, 0.15, 0.35, ylabel="rows")
        widths = [0.9 * (one.high - one.low) for one in residuals.bins]
        middles = [(one.low + one.high) / 2 for one in residuals.bins]
        axes.bar(middles, [one.rows for one in residuals.bins], width=widths, color=COLOURS["ours"])
        axes.locator_params(nbins=5)
        axes.grid(True, axis="y")

    spread = f"mean {residuals.mean:.3g}, mean size {residuals.mean_absolute:.3g}"
    return Panel(draw=draw, height=INCHES, label=f"Histogram of the residuals: {spread}")


def languages_panel(languages: Sequence[str], scores: Sequence[float], intervals: Sequence[Sequence[float] | None]) -> Panel:
    """Draw the score of each language with its interval, the best first."""
    order = sorted(range(len(scores)), key=lambda i: -scores[i])

    def draw(figure: "Figure | SubFigure") -> None:
        axes = add_axes(figure, 0.5, 0.47, 0.6, 0.1, xlabel="percent")
        for place, i in enumerate(order):
            low_high = intervals[i]
            if low_high is not None:
                axes.plot(low_high, [-place, -place], "-", color=COLOURS["muted"], linewidth=2)
            axes.plot(scores[i], -place, "o", color=COLOURS["ours"], markersize=4.5)
            axes.text(1.02, -place, f"{scores[i]:.2f}", transform=axes.get_yaxis_transform(), va="center", size=8.5)
        axes.set_yticks([-place for place in range(len(order))], [languages[i] for i in order])
        axes.set_ylim(-len(order) + 0.4, 0.6)
        axes.locator_params(axis="x", nbins=5)
        axes.grid(True, axis="x")

    label = "; ".join(f"{languages[i]} {scores[i]:.2f}" for i in order)
    return Panel(draw=draw, height=0.6 + 0.2 * len(order), label=f"Score by language: {label}")
