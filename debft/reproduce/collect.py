"""The runs that are there become cells with verdicts, and the content of report.json."""

import os
import platform
import statistics
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from debft import __version__
from debft.config.differences import differing_keys
from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import Recipe, recipe_hash, source_kind, value_at, with_train
from debft.errors import InputError
from debft.published.load import Column, PublishedScore, Row, recipe_of_cell
from debft.reproduce.jobs import Failure, last_step
from debft.reproduce.others import OtherRun, other_runs
from debft.reproduce.plan import RecipePlan, Run, TablePlan
from debft.reproduce.verdict import Comparison, Verdict, judge_all, rule_of
from debft.runs.directory import RunDirectory
from debft.runs.result import RunResult
from debft.runtime.signals import INTERRUPTED

FORMAT_VERSION = 2
SUBSET = {"train.max_train_samples", "train.max_eval_samples"}
MOST_POINTS = 200  # of a learning curve
PACKAGES = ("torch", "transformers", "tokenizers", "accelerate")


def collect(plan: TablePlan, failures: Mapping[str, Failure], *, command: str, report: Path) -> dict[str, Any]:
    """Everything that the report shows, as plain data. report: the directory it will lie in, for relative paths."""
    runs = {run.id: _run(run, found, plan, failures.get(run.id), report) for found in plan.recipes.values() for run in found.runs}
    table = plan.table
    return {
        "format_version": FORMAT_VERSION,
        "table": {"name": table.name, "title": table.title, "source": table.source, "note": table.note, "kind": table.kind},
        "command": command,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"debft": __version__, "python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "rule": rule_of(table),
        "cells": _cells(plan, runs),
        "runs": list(runs.values()),
        "others": [_other(other, report) for other in other_runs(plan)],
    }


def _other(other: OtherRun, report: Path) -> dict[str, Any]:
    """A run that other code made; its scores stay in its own result.json."""
    return vars(other) | {"directory": os.path.relpath(other.directory, report)}


def _cells(plan: TablePlan, runs: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry per score of the table. They are judged together: looking at many cells is corrected for."""
    places = [
        (row, column, published) for row in plan.rows for column in plan.columns for published in row.cells.get(column.key, ())
    ]
    comparisons = [_comparison(plan, *place, runs) for place in places]
    verdicts = judge_all(comparisons)
    return [
        _cell(plan, *place, list(compared.labels), verdict, runs)
        for place, compared, verdict in zip(places, comparisons, verdicts, strict=True)
    ]


def _runs_of(plan: TablePlan, row: Row, column: Column, runs: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    found = plan.recipes.get(recipe_of_cell(plan.table, row, column) or "")
    return [runs[run.id] for run in found.runs] if found else []


def _comparison(
    plan: TablePlan, row: Row, column: Column, published: PublishedScore, runs: Mapping[str, dict[str, Any]]
) -> Comparison:
    complete = [run for run in _runs_of(plan, row, column, runs) if run["status"] == "complete"]
    labels = list(dict.fromkeys(label for run in complete for label in run["labels"]))
    ours = [run["scores"][published.score] for run in complete if published.score in run["scores"]]
    return Comparison(ours=ours, published=published, confidence=plan.table.confidence, labels=labels)


def _cell(
    plan: TablePlan,
    row: Row,
    column: Column,
    published: PublishedScore,
    labels: list[str],
    verdict: Verdict,
    runs: Mapping[str, dict[str, Any]],
) -> dict[str, Any]:
    name, frozen = recipe_of_cell(plan.table, row, column), plan.table.kind == "measured"
    found = plan.recipes.get(name) if name else None
    recipe = found.recipe if found else load_recipe(recipe_path(name)) if name else None
    return {
        "row": row.name,
        "model": row.model,
        "sift": row.sift,
        "column": column.key,
        "header": column.header,
        "task": column.task,
        "score": published.score,
        "value": published.value,
        "cell": f"{published.value:.10g}" if frozen else published.cell,
        "spread": published.spread,
        "seeds": published.seeds,
        "note": published.note,
        "source": published.source,
        "recipe": name,
        "recipe_source": recipe.source if recipe else None,
        "dialect": recipe.dialect if recipe else None,
        "ours": not frozen and bool(recipe and (recipe.source or "").startswith("ours")),
        "labels": labels,
        "n": verdict.n,
        "mean": verdict.mean,
        "sd": verdict.sd,
        "low": verdict.low,
        "high": verdict.high,
        "difference": verdict.difference,
        "margin": published.margin,
        "tolerance": verdict.tolerance,
        "verdict": verdict.word,
        "verdict_text": verdict.text,
        "problem": found.problem if found else None,
        "runs": [run["id"] for run in _runs_of(plan, row, column, runs)],
    }


def _run(run: Run, found: RecipePlan, plan: TablePlan, failure: Failure | None, report: Path) -> dict[str, Any]:
    damage = run.damage()
    result = None if damage else run.result()
    if damage:
        status, error = "damaged", damage
    elif result:
        status, error = "complete", None
    elif failure and failure.code not in INTERRUPTED:
        status, error = "failed", failure.error
    else:
        status, error = "interrupted" if last_step(run.directory) else "not run", None
    entry = {
        "id": run.id,
        "directory": os.path.relpath(run.directory, report),
        "task": run.recipe.task,
        "model": run.recipe.model,
        "rows": _rows_of(plan, run.recipe_name),
        "sift_weight": run.recipe.sift.weight,
        "seed": run.seed,
        "status": status,
        "error": error,
        "recipe": run.recipe_name,
        "recipe_hash": recipe_hash(with_train(_without_paths(run.recipe), seed=0)),
        "dialect": run.recipe.dialect,
        "starts_from": run.after.id if run.after else None,
        "data": source_kind(run.recipe.data),
        "fingerprints": run.fingerprints,
        "environment": None,
        "command": run.command,
        "labels": labels_of(run, found, plan),
        "scores": {},
        "steps": last_step(run.directory),
        "num_train_examples": None,
        "num_tokens": None,
        "train_seconds": None,
        "eval_seconds": None,
        "examples_per_second": None,
        "tokens_per_second": None,
        "peak_memory_bytes": None,
        "curve": _curve_so_far(run, status),
    }
    return entry | _measured(run, result) if result else entry


def _without_paths(recipe: Recipe) -> Recipe:
    """Seeds of one recipe share its hash, although each starts from a run of its own."""
    return replace(recipe, init_from=recipe.starts_from) if recipe.starts_from else recipe


def _curve_so_far(run: Run, status: str) -> dict[str, list]:
    """The curve; an empty one of files that cannot be trusted, which a run that is not complete may have as well."""
    empty = {"step": [], "loss": [], "evaluations": []}
    if status == "damaged":
        return empty
    try:
        return curve(RunDirectory(run.directory))
    except InputError:
        return empty


def _rows_of(plan: TablePlan, recipe: str) -> list[str]:
    return [row.name for row in plan.rows if any(recipe_of_cell(plan.table, row, column) == recipe for column in plan.columns)]


def _measured(run: Run, result: RunResult) -> dict[str, Any]:
    return {
        "environment": result.environment,
        "scores": run.scores(),
        "steps": result.steps,
        "num_train_examples": result.num_train_examples,
        "num_tokens": result.num_tokens,
        "peak_memory_bytes": result.peak_memory_bytes,
        **asdict(result.timing),
    }


def labels_of(run: Run, found: RecipePlan, plan: TablePlan) -> list[str]:
    """Why a run cannot count as a reproduction of its cells; [] where it can."""
    packaged = load_recipe(recipe_path(run.recipe_name))
    changed = differing_keys(run.recipe, packaged, "repeat")
    if run.after:  # it starts from a run, whatever its recipe would do without
        changed = [key for key in changed if key != "train.from_scratch"]
    labels = [] if plan.table.kind == "measured" and SUBSET & set(changed) else _labels_of_rows(run, found, plan)
    for key in changed:
        section, _, name = key.partition(".")
        value, usual = value_at(run.recipe, key), value_at(packaged, key)
        if section != "sift":
            labels.append(f"{name} {value}" if usual is None else f"{name} {value}, not {usual}")
    if any(key.startswith("sift.") for key in changed):
        labels.append("sift changed")
    return [*labels, *_label_of_precision(run, packaged)]


def _label_of_precision(run: Run, packaged: Recipe) -> list[str]:
    """Of a run in another precision than its recipe's, or than the one that was asked for."""
    asked, usual = run.recipe.runtime.precision, packaged.runtime.precision
    if asked != usual:
        return [f"precision {asked}, not {usual}"]
    result = None if run.damage() else run.result()
    used = result.environment.get("precision", asked) if result else asked
    return [f"precision {used}, not {asked}"] if asked not in ("auto", used) else []


def _labels_of_rows(run: Run, found: RecipePlan, plan: TablePlan) -> list[str]:
    """A published table is of whole splits, one of our own of the rows it was frozen from."""
    if plan.table.kind == "measured":
        frozen = plan.table.fingerprints[found.task.name]
        other = [split for split, fingerprint in run.fingerprints.items() if fingerprint != frozen.get(split)]
        return [f"not on the frozen rows: {', '.join(other)}"] if other else []
    if source_kind(run.recipe.data) == "demo":
        return ["demo data"]
    rows = {split: len(found.plan.examples[split.name]) for split in found.task.splits}
    return [
        f"{split.name}: {count:,} of {split.num_rows:,} rows"
        for split, count in rows.items()
        if split.num_rows is not None and count != split.num_rows
    ]


def curve(run: RunDirectory) -> dict[str, list]:
    """The training loss in at most `MOST_POINTS` points, each the mean of its steps, and the evaluations on the way."""
    rows = run.logged("steps.jsonl")
    size = -(-len(rows) // MOST_POINTS) or 1
    parts = [rows[first : first + size] for first in range(0, len(rows), size)]
    return {
        "step": [part[-1]["step"] for part in parts],
        "loss": [statistics.fmean(row["loss"] for row in part) for part in parts],
        "evaluations": run.logged("evaluations.jsonl"),
    }
