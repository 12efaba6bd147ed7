"""The page of a search: the best score so far, every trial, the importance of the settings; it needs no network and no script."""

from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from debft.output.pages.drawing import COLOURS, Panel, add_axes, render_inline
from debft.output.pages.templates import template
from debft.output.text import counted
from debft.runs.storage import write_atomically
from debft.several.study_record import StudyRecord, trial_cells

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

PAGE = "report.html"
INCHES = 2.6


def write_page(record: StudyRecord, directory: Path) -> None:
    """Write report.html."""
    write_atomically(directory / PAGE, page(record).encode())


def page(record: StudyRecord) -> str:
    """Return the page as HTML."""
    keys, best = list(record.space), record.best_trial()
    counts = {state: len(record.of_state(state)) for state in ("complete", "stopped", "failed", "running")}
    return template("study.html.j2").render(
        record=record,
        counts={state: count for state, count in counts.items() if count},
        best=best,
        names=[key.rpartition(".")[2].replace("_", " ") for key in keys],
        rows=[(trial, trial_cells(trial, keys)) for trial in record.ranked()],
        importance=sorted(record.importance.items(), key=lambda item: -item[1]),
        curve=Markup(render_inline(curve(record), "best-so-far")) if best else None,
    )


def best_so_far(record: StudyRecord) -> list[tuple[int, float]]:
    """Return the best score after each complete trial, by the number of the trial."""
    points, best = [], float("-inf")
    for number, score in record.scored():
        best = max(best, score)
        points.append((number, best))
    return points


def curve(record: StudyRecord) -> Panel:
    """Return the panel of the scores of the complete trials and the best one so far."""
    points, scored = best_so_far(record), record.scored()

    def draw(figure: "Figure | SubFigure") -> None:
        axes = add_axes(figure, 0.62, 0.47, 0.12, 0.15, xlabel="trial", ylabel="percent")
        axes.plot([number for number, _ in scored], [score for _, score in scored], ".", color=COLOURS["second"], label="a trial")
        axes.step(*zip(*points, strict=True), where="post", color=COLOURS["ours"], label="best so far")
        axes.locator_params(axis="x", nbins=5, integer=True)
        axes.locator_params(axis="y", nbins=5)
        axes.grid(True, axis="both")
        axes.legend(loc="lower right")

    label = (
        f"Best score so far over {counted(len(points), 'complete trial')}: from {points[0][1]:.2f} to {points[-1][1]:.2f} percent"
    )
    return Panel(draw=draw, height=INCHES, label=label)
