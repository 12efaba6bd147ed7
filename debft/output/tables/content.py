"""What the tables say, as one document that every output format shows: cells, our scores beside them, notes, other runs."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from statistics import fmean, stdev
from typing import Any

from debft.config.differences import differing_keys
from debft.config.packaged import default_recipe_path, published_weight, recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import Recipe, with_values
from debft.output.tables.runs import FoundRuns, Run
from debft.published.load import Column, Row, Table, prints_number, recipe_of_cell
from debft.runs.result import in_percent

HEADINGS = {"published": "published", "measured": "frozen, measured by debft"}


class Footnotes:
    """Numbers the notes in the order in which they are met, after those `listed` before; the same text has one number."""

    def __init__(self, listed: Sequence[dict[str, Any]] = ()) -> None:
        self.numbers: dict[str, int] = {note["text"]: note["number"] for note in listed}

    def add(self, *texts: str | None) -> list[int]:
        return [self.numbers.setdefault(text, len(self.numbers) + 1) for text in texts if text]

    def listed(self) -> list[dict[str, Any]]:
        return [{"number": number, "text": text} for text, number in self.numbers.items()]


def document(tables: Sequence[Table], found: FoundRuns) -> dict[str, Any]:
    """tables, footnotes, and the runs that stand beside no cell, each with the reason; `damaged`: what is wrong, a line each.

    A cell of a row is verbatim in `cells`; under the same key `cell_notes` has the numbers of its footnotes, `recipes` the recipe
    that reproduces it, `seeds` the number of runs behind it where the source says so, and `ours` our runs of it.
    """
    footnotes, runs = Footnotes(), found.finished
    shown = [_table(table, runs, footnotes) for table in tables]
    rows = [row for table in shown for row in table["rows"]]
    placed = {path for row in rows for entries in row["ours"].values() for entry in entries for path in entry["runs"]}
    others = [{"run": run.path, "reason": _why_nowhere(run)} for run in runs if run.path not in placed]
    others += [{"run": path, "reason": "not finished: it has no result.json"} for path in found.unfinished]
    others += [{"run": path, "reason": problem} for path, problem in found.damaged.items()]
    return {"tables": shown, "footnotes": footnotes.listed(), "other_runs": others, "damaged": list(found.damaged.values())}


def _table(table: Table, runs: Sequence[Run], footnotes: Footnotes) -> dict[str, Any]:
    notes = footnotes.add(table.note)
    printed = [{"key": key, "header": header, "task": None, "split": None, "notes": []} for key, header in table.printed.items()]
    scored = [
        {**asdict(column), "scores": list(column.scores), "notes": footnotes.add(column.note), "note": None}
        for column in table.columns
    ]
    columns = [{key: value for key, value in column.items() if key != "note"} for column in (*printed, *scored)]
    return {
        "name": table.name,
        "title": table.title,
        "kind": table.kind,
        "heading": HEADINGS[table.kind],
        "source": table.source,
        "repeats": table.repeats,
        "confidence": table.confidence,
        "data": table.data,
        "notes": notes,
        "columns": columns,
        "rows": [_row(table, row, runs, footnotes) for row in table.rows],
    }


def _row(table: Table, row: Row, runs: Sequence[Run], footnotes: Footnotes) -> dict[str, Any]:
    notes = footnotes.add(row.note, f"source: {row.source}" if row.source else None)
    cells = {key: str(row.printed[key]) for key in table.printed if key in row.printed}
    cells |= {key: scores[0].cell for key, scores in row.cells.items()}
    columns = [column for column in table.columns if column.key in row.cells]
    recipes = {column.key: recipe_of_cell(table, row, column) for column in columns}
    cell_notes = {key: footnotes.add(row.notes[key]) for key in cells if key in row.notes}
    ours = {column.key: _ours(table, row, column, runs, footnotes) for column in columns}
    return {
        "row": row.name,
        "model": row.model,
        "sift": row.sift,
        "notes": notes,
        "cells": cells,
        "cell_notes": cell_notes,
        "seeds": {key: scores[0].seeds for key, scores in row.cells.items() if scores[0].seeds and prints_number(scores)},
        "recipes": {key: name for key, name in recipes.items() if name},
        "ours": {key: entries for key, entries in ours.items() if entries},
    }


def _ours(table: Table, row: Row, column: Column, runs: Iterable[Run], footnotes: Footnotes) -> list[dict[str, Any]]:
    """Our runs of one cell: those that may be compared as a mean per dialect, each of the others by itself."""
    comparable: dict[str, list[Run]] = {}
    others: list[tuple[Run, str]] = []
    for run in runs:
        if not _belongs(run, table, row, column):
            continue
        reason = run.not_compared if table.kind == "published" else _why_not_frozen(run, table, row, column)
        if reason is None:
            comparable.setdefault(run.recipe.dialect, []).append(run)
        else:
            others.append((run, reason))
    default = recipe_of_cell(table, row, column)
    own = load_recipe(recipe_path(default)).dialect if default else None
    means = [
        _entry(table, comparable[dialect], column, None, _other_dialect(dialect, own, default), footnotes)
        for dialect in sorted(comparable, key=lambda dialect: dialect != own)
    ]
    return means + [_entry(table, [run], column, reason, None, footnotes) for run, reason in others]


def _entry(
    table: Table, runs: list[Run], column: Column, reason: str | None, other_dialect: str | None, footnotes: Footnotes
) -> dict[str, Any]:
    """reason: why the run is not compared; other_dialect: what a reader must know of compared runs in another dialect."""
    values = {name: [score for run in runs if (score := _score(run, name)) is not None] for name in column.scores}
    scores = {name: fmean(known) if known else None for name, known in values.items()}
    text = "ours " + "/".join(_mean_and_sd(values[name], table) for name in filter(in_percent, column.scores))
    if len(runs) > 1:
        text += f" (mean of {len(runs)} runs)"
    if reason:
        text += " not compared"
    elif other_dialect:
        text += f" (dialect {runs[0].recipe.dialect})"
    return {
        "text": text,
        "scores": scores,
        "runs": [run.path for run in runs],
        "seeds": [run.recipe.train.seed for run in runs],
        "compared": reason is None,
        "dialect": runs[0].recipe.dialect,
        "reason": reason,
        "notes": footnotes.add(f"{runs[0].path}: {reason}" if reason else other_dialect),
    }


def _other_dialect(dialect: str, own: str | None, recipe: str | None) -> str | None:
    """The footnote of runs whose dialect is not that of the cell's recipe."""
    return f"run in the dialect {dialect}; the cell's own recipe, {recipe}, is {own}" if own and dialect != own else None


def _belongs(run: Run, table: Table, row: Row, column: Column) -> bool:
    """Whether the run is one of this cell; a run on demo data is only one of a table of these."""
    on_its_data = run.data == table.data if table.data else run.data != "demo"
    same = (run.model, run.task, run.recipe.sift.weight > 0) == (row.model, column.task, row.sift)
    return on_its_data and same and any(_score(run, name) is not None for name in column.scores)


def _score(run: Run, name: str) -> float | None:
    """None also for an average over some of the languages, which is no score of the table."""
    of_some_languages = name.partition("/")[0].endswith(".avg") and run.recipe.languages.eval_languages is not None
    return None if of_some_languages else run.scores.get(name)


def _mean_and_sd(values: list[float], table: Table) -> str:
    """In a measured table with the standard deviation of several, as its cells have it."""
    sd = f"+/-{stdev(values):.1f}" if table.kind == "measured" and len(values) > 1 else ""
    return f"{fmean(values):.1f}{sd}" if values else "-"


def _why_not_frozen(run: Run, table: Table, row: Row, column: Column) -> str | None:
    """Why a run is not one of those that a measured table froze: they are of the packaged recipe, on the same rows."""
    name = recipe_of_cell(table, row, column)
    frozen = load_recipe(recipe_path(name) if name else default_recipe_path(column.task, row.model, row.sift))
    changed = differing_keys(_with_strength(frozen, row), _with_strength(run.recipe, row), "repeat")
    rows = table.fingerprints.get(column.task, {})
    others = [split for split, fingerprint in rows.items() if run.fingerprints.get(split) != fingerprint]
    reasons = [f"not the frozen recipe: {', '.join(changed)} differs"] if changed else []
    reasons += [f"not on the frozen rows: {', '.join(others)}"] if others else []
    return "; ".join(reasons) or None


def _with_strength(recipe: Recipe, row: Row) -> Recipe:
    """The recipe with the published strength where the row has SiFT and the recipe none."""
    lacks = row.sift and not recipe.sift.weight
    return with_values(recipe, {"sift.weight": published_weight(row.model)}) if lacks else recipe


def _why_nowhere(run: Run) -> str:
    if run.not_compared:
        return run.not_compared
    return f"no cell of {run.model}{' with SiFT' if run.recipe.sift.weight else ''} on {run.task} in the tables shown"
