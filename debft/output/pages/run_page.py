"""This module writes report.html of a run: one file that needs no network, from the files of the run's directory alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from debft.errors import InputError
from debft.models.json_files import read_config
from debft.models.settings import CHOSEN, SETTINGS
from debft.output.pages.drawing import Panel, render_inline
from debft.output.pages.one_run_figures import calibration_panel, curve_panels, languages_panel, residuals_panel, score_panel
from debft.output.pages.run_content import run_content
from debft.output.pages.split_content import SplitPart
from debft.output.pages.templates import template
from debft.runs.directory import RunDirectory
from debft.runs.result import RunResult
from debft.runs.storage import write_atomically
from debft.tasks.titles import score_title

OPEN_SPLITS = 2  # parts of splits that are open when the page is loaded
FIGURED_SPLITS = 4  # splits whose calibration is drawn; fifteen languages would take longer than the reader looks at them


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawn figure of the page."""

    label: str
    """What is seen, in words."""
    svg: Markup
    """The drawing."""


def write_run_page(run: RunDirectory) -> None:
    """Write report.html of a complete run. Raises InputError where one of its files is damaged, DiskError where it cannot."""
    result = run.result()
    if result is None:
        raise InputError(f"{run.path}: expected a complete run, found no result.json; finish it with --resume")
    write_atomically(run.path / "report.html", run_page(run, result).encode("utf-8", "xmlcharrefreplace"))


def run_page(run: RunDirectory, result: RunResult) -> str:
    """Return the page of a complete run."""
    content = run_content(result, run.analysis(), _chosen(run))
    evaluations = run.logs.rows("evaluations.jsonl")
    names = [(name, score_title(result.task, name)) for name in _main_scores(result)]
    curves = [*curve_panels(run.logs.rows("steps.jsonl")), *score_panel(evaluations, names)]
    return template("run.html.j2").render(
        content=content,
        curves=_drawn(curves, "curve"),
        of_languages=_drawn(_language_panels(result), "languages"),
        figures={part.name: _drawn(_split_panels(part), part.anchor) for part in content.splits[:FIGURED_SPLITS]},
        open_splits=[part.name for part in content.splits[:OPEN_SPLITS]],
    )


def _chosen(run: RunDirectory) -> dict[str, Any]:
    """Return what the model carries that was chosen on dev rows; {} where the model is gone."""
    if not (run.model / "config.json").is_file():
        return {}
    settings = read_config(run.model).get(SETTINGS) or {}
    return {key: settings[key] for key in CHOSEN if key in settings}


def _main_scores(result: RunResult) -> list[str]:
    means = [name for name in result.scores if name.partition("/")[0].endswith(".avg")]
    return means or [name for name in result.scores if not name.partition("/")[2].startswith(("best_", "has_", "no_"))]


def _split_panels(part: SplitPart) -> list[Panel]:
    analysis = part.analysis
    return [
        *([calibration_panel(analysis.calibration)] if analysis.calibration is not None else []),
        *([residuals_panel(analysis.residuals)] if analysis.residuals is not None else []),
    ]


def _language_panels(result: RunResult) -> list[Panel]:
    """Draw the languages of the last part, which the published numbers are of."""
    names = [name for name in result.scores if "." in name.partition("/")[0] and ".avg/" not in name]
    if not names:
        return []
    last = names[-1].partition(".")[0]
    names = [name for name in names if name.startswith(f"{last}.")]
    languages = [name.partition("/")[0].partition(".")[2] for name in names]
    return [languages_panel(languages, [result.scores[name] for name in names], [result.intervals.get(name) for name in names])]


def _drawn(panels: Sequence[Panel], prefix: str) -> list[Figure]:
    return [Figure(label=panel.label, svg=Markup(render_inline(panel, f"{prefix}-{i}"))) for i, panel in enumerate(panels)]
