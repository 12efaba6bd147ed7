"""This module turns the runs that are there into cells with verdicts, the content of report.json."""

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from debft import __version__
from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import Recipe, source_kind, with_train
from debft.config.recipe_hash import recipe_hash
from debft.errors import InputError
from debft.output.pages.records import Cell, Curve, Report, ReportedRun, ReportedTable, RunStatus
from debft.published.load import Column, PublishedScore, Row, recipe_of_cell
from debft.reproduce.labels import labels_of
from debft.reproduce.notes import Failure
from debft.reproduce.other_runs import other_runs
from debft.reproduce.plan import PlannedRun, RecipePlan, TablePlan
from debft.reproduce.process import last_step
from debft.reproduce.verdict import Comparison, Verdict, judge_all, rule_of
from debft.runs.directory import RunDirectory
from debft.runs.result import RunResult
from debft.runtime.signals import INTERRUPTED

MOST_POINTS = 200  # of a learning curve
PACKAGES = ("torch", "transformers", "tokenizers", "accelerate")


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A place is one score of the table, with what was planned for it."""

    row: Row
    column: Column
    published: PublishedScore
    recipe_name: str | None
    recipe_plan: RecipePlan | None


def collect(table_plan: TablePlan, failures: Mapping[str, Failure], *, command: str, directory: Path) -> Report:
    """Return everything that the report shows. Its paths are relative to `directory`, which it will lie in."""
    table = table_plan.table
    runs = {
        run.id: _reported(run, recipe_plan, table_plan, failures.get(run.id), directory)
        for recipe_plan in table_plan.recipes.values()
        for run in recipe_plan.runs
    }
    return Report(
        table=ReportedTable(name=table.name, title=table.title, source=table.source, note=table.note, kind=table.kind),
        command=command,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={"debft": __version__, "python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        rule=rule_of(table),
        cells=_cells(table_plan, runs),
        runs=list(runs.values()),
        others=[replace(run, directory=os.path.relpath(run.directory, directory)) for run in other_runs(table_plan)],
    )


def _cells(table_plan: TablePlan, runs: Mapping[str, ReportedRun]) -> list[Cell]:
    """Return one entry per score of the table. They are judged together: looking at many cells is corrected for."""
    places = _places(table_plan)
    comparisons = [_comparison(place, runs, table_plan.table.confidence) for place in places]
    verdicts = judge_all(comparisons)
    frozen = table_plan.table.kind == "measured"
    return [
        _cell(place, list(comparison.labels), verdict, frozen)
        for place, comparison, verdict in zip(places, comparisons, verdicts, strict=True)
    ]


def _places(table_plan: TablePlan) -> list[_Place]:
    places = []
    for row in table_plan.rows:
        for column in table_plan.columns:
            name = recipe_of_cell(table_plan.table, row, column)
            planned = table_plan.recipes.get(name) if name else None
            places += [
                _Place(row=row, column=column, published=published, recipe_name=name, recipe_plan=planned)
                for published in row.cells.get(column.key, ())
            ]
    return places


def _comparison(place: _Place, runs: Mapping[str, ReportedRun], confidence: float | None) -> Comparison:
    planned = place.recipe_plan.runs if place.recipe_plan else ()
    complete = [runs[run.id] for run in planned if runs[run.id].status == "complete"]
    score = place.published.score
    return Comparison(
        ours=[run.scores[score] for run in complete if score in run.scores],
        published=place.published,
        confidence=confidence,
        labels=list(dict.fromkeys(label for run in complete for label in run.labels)),
    )


def _cell(place: _Place, labels: list[str], verdict: Verdict, frozen: bool) -> Cell:
    published, planned = place.published, place.recipe_plan
    recipe = _recipe_of(place)
    return Cell(
        row=place.row.name,
        model=place.row.model,
        sift=place.row.sift,
        column=place.column.key,
        header=place.column.header,
        task=place.column.task,
        score=published.score,
        value=published.value,
        cell=f"{published.value:.10g}" if frozen else published.cell,
        spread=published.spread,
        seeds=published.seeds,
        note=published.note,
        source=published.source,
        recipe=place.recipe_name,
        recipe_source=recipe.source if recipe else None,
        dialect=recipe.dialect if recipe else None,
        ours=not frozen and bool(recipe and (recipe.source or "").startswith("ours")),
        labels=labels,
        n=verdict.n,
        mean=verdict.mean,
        sd=verdict.sd,
        low=verdict.low,
        high=verdict.high,
        difference=verdict.difference,
        margin=published.margin,
        tolerance=verdict.tolerance,
        verdict=verdict.word,
        verdict_text=verdict.text,
        problem=planned.problem if planned else None,
        runs=[run.id for run in planned.runs] if planned else [],
    )


def _recipe_of(place: _Place) -> Recipe | None:
    """Return the recipe as it is run here; as it is packaged where it belongs to no run of this command."""
    if place.recipe_plan:
        return place.recipe_plan.recipe
    return load_recipe(recipe_path(place.recipe_name)) if place.recipe_name else None


def _reported(
    run: PlannedRun, recipe_plan: RecipePlan, table_plan: TablePlan, failure: Failure | None, directory: Path
) -> ReportedRun:
    status, error = _status(run, failure)
    result = run.result() if status == "complete" else None
    timing = asdict(result.timing) if result else {}
    steps = last_step(run.directory)
    return ReportedRun(
        id=run.id,
        directory=os.path.relpath(run.directory, directory),
        task=run.recipe.task or "",
        model=run.recipe.model,
        rows=_rows_of(table_plan, run.recipe_name),
        sift_weight=run.recipe.sift.weight,
        seed=run.seed,
        status=status,
        error=error,
        recipe=run.recipe_name,
        recipe_hash=recipe_hash(with_train(_without_paths(run.recipe), seed=0)),
        dialect=run.recipe.dialect,
        starts_from=run.starts_from.id if run.starts_from else None,
        data=source_kind(run.recipe.data),
        fingerprints=run.fingerprints,
        environment=_environment(result) if result else None,
        command=run.command,
        labels=labels_of(run, recipe_plan, table_plan),
        scores=(run.scores() or {}) if result else {},
        steps=result.steps if result else steps,
        num_train_examples=result.num_train_examples if result else None,
        num_tokens=result.num_tokens if result else None,
        train_seconds=timing.get("train_seconds"),
        eval_seconds=timing.get("eval_seconds"),
        examples_per_second=timing.get("examples_per_second"),
        tokens_per_second=timing.get("tokens_per_second"),
        peak_memory_bytes=result.peak_memory_bytes if result else None,
        curve=_curve_so_far(run, status),
    )


def _environment(result: RunResult) -> dict[str, Any]:
    """Return what a run was made with, and what computed its attention."""
    return result.environment | ({"attention": result.paths.attention} if result.paths else {})


def _status(run: PlannedRun, failure: Failure | None) -> tuple[RunStatus, str | None]:
    """Return what became of the run, and what is wrong with it."""
    if damage := run.damage():
        return "damaged", damage
    if run.result():
        return "complete", None
    if failure and failure.code not in INTERRUPTED:
        return "failed", failure.error
    return ("interrupted" if last_step(run.directory) else "not run"), None


def _without_paths(recipe: Recipe) -> Recipe:
    """Return the recipe that all seeds share, although each starts from a run of its own."""
    return replace(recipe, init_from=recipe.starts_from) if recipe.starts_from else recipe


def _rows_of(table_plan: TablePlan, recipe: str) -> list[str]:
    table, columns = table_plan.table, table_plan.columns
    return [row.name for row in table_plan.rows if any(recipe_of_cell(table, row, column) == recipe for column in columns)]


def _curve_so_far(run: PlannedRun, status: RunStatus) -> Curve:
    """Return the curve, without points where the log cannot be trusted: that of a run that is not complete may be damaged too."""
    empty = Curve(step=[], loss=[], evaluations=[])
    if status == "damaged":
        return empty
    try:
        return curve(RunDirectory(run.directory))
    except InputError:
        return empty


def curve(run: RunDirectory) -> Curve:
    """Return the training loss in at most `MOST_POINTS` points, each the mean of its steps, and the evaluations on the way."""
    logged = run.logs.rows("steps.jsonl")
    size = -(-len(logged) // MOST_POINTS) or 1
    parts: list[Sequence[dict]] = [logged[first : first + size] for first in range(0, len(logged), size)]
    return Curve(
        step=[part[-1]["step"] for part in parts],
        loss=[statistics.fmean(entry["loss"] for entry in part) for part in parts],
        evaluations=run.logs.rows("evaluations.jsonl"),
    )
