"""The runs that are there become cells with verdicts, and the content of report.json."""

import os
import platform
import statistics
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from debft import __version__
from debft.data import source_kind
from debft.published import Column, Row, recipe_of_cell
from debft.recipe import load_recipe, recipe_hash, recipe_path, with_train
from debft.reproduce.jobs import Failure, last_step
from debft.reproduce.plan import RecipePlan, Run, TablePlan
from debft.reproduce.verdict import FROZEN_RULE, PUBLISHED_RULE, judge
from debft.results import RunDirectory, RunResult
from debft.signals import INTERRUPTED

FORMAT_VERSION = 1
SUBSET = {"max_train_samples", "max_eval_samples"}
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
        "rule": FROZEN_RULE if table.kind == "measured" else PUBLISHED_RULE,
        "cells": [cell for row in plan.rows for column in plan.columns for cell in _cells(plan, row, column, runs)],
        "runs": list(runs.values()),
    }


def _cells(plan: TablePlan, row: Row, column: Column, runs: Mapping[str, dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """One entry per score of a cell; none where the row has no such cell."""
    name, frozen = recipe_of_cell(plan.table, row, column), plan.table.kind == "measured"
    found = plan.recipes.get(name) if name else None
    recipe = found.recipe if found else load_recipe(recipe_path(name)) if name else None
    of_recipe = [runs[run.id] for run in found.runs] if found else []
    complete = [run for run in of_recipe if run["status"] == "complete"]
    labels = list(dict.fromkeys(label for run in complete for label in run["labels"]))
    for published in row.cells.get(column.key, ()):
        counted = [run for run in complete if published.score in run["scores"]]
        ours = [run["scores"][published.score] for run in counted]
        verdict = judge(ours, published, confidence=plan.table.confidence, labels=labels)
        yield {
            "row": row.name, "model": row.model, "sift": row.sift, "column": column.key, "header": column.header,
            "task": column.task, "score": published.score, "value": published.value,
            "cell": f"{published.value:.10g}" if frozen else published.cell, "spread": published.spread,
            "seeds": published.seeds, "note": published.note, "source": published.source,
            "recipe": name, "recipe_source": recipe.source if recipe else None, "dialect": recipe.dialect if recipe else None,
            "ours": not frozen and bool(recipe and (recipe.source or "").startswith("ours")), "labels": labels,
            "n": verdict.n, "mean": verdict.mean, "sd": verdict.sd, "low": verdict.low, "high": verdict.high,
            "difference": verdict.difference, "tolerance": verdict.tolerance, "verdict": verdict.word, "verdict_text": verdict.text,
            "problem": found.problem if found else None, "runs": [run["id"] for run in of_recipe],
        }  # fmt: skip


def _run(run: Run, found: RecipePlan, plan: TablePlan, failure: Failure | None, report: Path) -> dict[str, Any]:
    result = run.result()
    if result:
        status = "complete"
    elif failure and failure.code not in INTERRUPTED:
        status = "failed"
    else:
        status = "interrupted" if last_step(run.directory) else "not run"
    entry = {
        "id": run.id, "directory": os.path.relpath(run.directory, report), "task": run.recipe.task, "model": run.recipe.model,
        "rows": _rows_of(plan, run.recipe_name),
        "sift_weight": run.recipe.sift.weight, "seed": run.seed, "status": status,
        "error": failure.error if failure and status == "failed" else None,
        "recipe": run.recipe_name, "recipe_hash": recipe_hash(with_train(run.recipe, seed=0)), "dialect": run.recipe.dialect,
        "data": source_kind(run.recipe.data), "fingerprints": run.fingerprints, "environment": None, "command": run.command,
        "labels": labels_of(run, found, plan), "scores": {}, "steps": last_step(run.directory), "num_train_examples": None,
        "num_tokens": None, "train_seconds": None, "eval_seconds": None, "examples_per_second": None, "tokens_per_second": None,
        "peak_memory_bytes": None, "curve": curve(RunDirectory(run.directory)),
    }  # fmt: skip
    return entry | _measured(run, result) if result else entry


def _rows_of(plan: TablePlan, recipe: str) -> list[str]:
    return [row.name for row in plan.rows if any(recipe_of_cell(plan.table, row, column) == recipe for column in plan.columns)]


def _measured(run: Run, result: RunResult) -> dict[str, Any]:
    return {
        "environment": result.environment, "scores": run.scores(), "steps": result.steps,
        "num_train_examples": result.num_train_examples, "num_tokens": result.num_tokens,
        "peak_memory_bytes": result.peak_memory_bytes, **result.timing,
    }  # fmt: skip


def labels_of(run: Run, found: RecipePlan, plan: TablePlan) -> list[str]:
    """Why a run cannot count as a reproduction of its cells; [] where it can."""
    packaged = load_recipe(recipe_path(run.recipe_name))
    changed = {
        name: value for name, value in vars(run.recipe.train).items()
        if name not in ("seed", "skip_bad_rows") and value != getattr(packaged.train, name)
    }  # fmt: skip
    labels = [] if plan.table.kind == "measured" and SUBSET & set(changed) else _labels_of_rows(run, found, plan)
    for name, value in changed.items():
        usual = getattr(packaged.train, name)
        labels.append(f"{name} {value}" if usual is None else f"{name} {value}, not {usual}")
    if run.recipe.sift != packaged.sift:
        labels.append("sift changed")
    return labels


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
        for split, count in rows.items() if split.num_rows is not None and count != split.num_rows
    ]  # fmt: skip


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
