"""This module makes one document of the tables with our runs beside them, which every output format shows."""

import shlex
from collections.abc import Iterable, Sequence
from statistics import fmean, stdev

from debft.config.differences import differing_keys
from debft.config.packaged import default_recipe_path, published_weight, recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import Recipe, with_values
from debft.errors import InputError, did_you_mean
from debft.output.tables.records import (
    Footnote,
    OurScores,
    PrintedColumn,
    RunBesideNoCell,
    ScoredColumn,
    ShownTable,
    TableRow,
    TablesDocument,
)
from debft.output.tables.runs import FinishedRun, GivenRuns, find_runs
from debft.output.text import Footnotes
from debft.published.load import Column, Row, Table, load_published, prints_number, recipe_of_cell, table_names
from debft.runs.result import in_percent

HEADINGS = {"published": "published", "measured": "frozen, measured by debft"}


def tables_document(names: Sequence[str], places: Sequence[str]) -> TablesDocument:
    """Return the tables `names`, all where none is named, with the runs in `places` beside their cells.

    Raises InputError for an unknown table, a place without a run, and where no result can be read.
    """
    known = table_names()
    for name in names:
        if name not in known:
            raise InputError(f"--table {shlex.quote(name)}: no such table{did_you_mean(name, known)}")
    tables = [load_published(name) for name in dict.fromkeys(names)]
    if not tables:  # what others print first, then what repeats it, then what we measured
        tables = sorted(map(load_published, known), key=lambda table: (table.kind == "measured", table.repeats is not None))
    return _document(tables, find_runs(places))


def _document(tables: Sequence[Table], given: GivenRuns) -> TablesDocument:
    footnotes = Footnotes()
    shown = [_table(table, given.finished, footnotes) for table in tables]
    return TablesDocument(
        tables=shown, footnotes=numbered(footnotes), other_runs=_beside_no_cell(shown, given), damaged=list(given.damaged.values())
    )


def numbered(footnotes: Footnotes) -> list[Footnote]:
    return [Footnote(number=number, text=text) for number, text in enumerate(footnotes.texts, start=1)]


def _beside_no_cell(tables: Sequence[ShownTable], given: GivenRuns) -> list[RunBesideNoCell]:
    rows = [row for table in tables for row in table.rows]
    placed = {path for row in rows for beside in row.ours.values() for ours in beside for path in ours.runs}
    reasons = {run.path: _why_nowhere(run) for run in given.finished if run.path not in placed}
    reasons |= dict.fromkeys(given.unfinished, "not finished: it has no result.json")
    reasons |= given.damaged
    return [RunBesideNoCell(run=path, reason=reason) for path, reason in reasons.items()]


def _table(table: Table, runs: Sequence[FinishedRun], footnotes: Footnotes) -> ShownTable:
    notes = footnotes.add(table.note)
    printed = [PrintedColumn(key=key, header=header, notes=[]) for key, header in table.printed.items()]
    return ShownTable(
        name=table.name,
        title=table.title,
        kind=table.kind,
        heading=HEADINGS[table.kind],
        source=table.source,
        repeats=table.repeats,
        confidence=table.confidence,
        data=table.data,
        notes=notes,
        columns=[*printed, *(_scored_column(column, footnotes) for column in table.columns)],
        rows=[_row(table, row, runs, footnotes) for row in table.rows],
    )


def _scored_column(column: Column, footnotes: Footnotes) -> ScoredColumn:
    return ScoredColumn(
        key=column.key,
        header=column.header,
        task=column.task,
        scores=list(column.scores),
        split=column.split,
        margin=column.margin,
        notes=footnotes.add(column.note),
    )


def _row(table: Table, row: Row, runs: Sequence[FinishedRun], footnotes: Footnotes) -> TableRow:
    notes = footnotes.add(row.note, f"source: {row.source}" if row.source else None)
    cells = {key: str(row.printed[key]) for key in table.printed if key in row.printed}
    cells |= {key: scores[0].cell for key, scores in row.cells.items()}
    columns = [column for column in table.columns if column.key in row.cells]
    recipes = {column.key: recipe_of_cell(table, row, column) for column in columns}
    cell_notes = {key: footnotes.add(row.notes[key]) for key in cells if key in row.notes}
    ours = {column.key: _ours(table, row, column, runs, footnotes) for column in columns}
    return TableRow(
        row=row.name,
        model=row.model,
        sift=row.sift,
        notes=notes,
        cells=cells,
        cell_notes=cell_notes,
        seeds={key: scores[0].seeds for key, scores in row.cells.items() if scores[0].seeds and prints_number(scores)},
        recipes={key: name for key, name in recipes.items() if name},
        ours={key: beside for key, beside in ours.items() if beside},
    )


def _ours(table: Table, row: Row, column: Column, runs: Iterable[FinishedRun], footnotes: Footnotes) -> list[OurScores]:
    """Return our runs of one cell: those that may be compared as a mean per dialect, each of the others by itself."""
    comparable: dict[str, list[FinishedRun]] = {}
    others: list[tuple[FinishedRun, str]] = []
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
    table: Table, runs: Sequence[FinishedRun], column: Column, reason: str | None, other_dialect: str | None, footnotes: Footnotes
) -> OurScores:
    """Return what the table shows of these runs.

    reason: why the run is not compared
    other_dialect: what a reader must know of compared runs in another dialect
    """
    values = {name: [score for run in runs if (score := _score(run, name)) is not None] for name in column.scores}
    text = "ours " + "/".join(_mean_and_sd(values[name], table) for name in filter(in_percent, column.scores))
    text += f" (mean of {len(runs)} runs)" if len(runs) > 1 else " (1 run)"
    if reason:
        text += " not compared"
    elif other_dialect:
        text += f" (dialect {runs[0].recipe.dialect})"
    return OurScores(
        text=text,
        scores={name: fmean(known) if known else None for name, known in values.items()},
        runs=[run.path for run in runs],
        seeds=[run.recipe.train.seed for run in runs],
        compared=reason is None,
        dialect=runs[0].recipe.dialect,
        reason=reason,
        notes=footnotes.add(f"{runs[0].path}: {reason}" if reason else other_dialect),
    )


def _other_dialect(dialect: str, own: str | None, recipe: str | None) -> str | None:
    """Return the footnote of runs whose dialect is not that of the cell's recipe."""
    return f"run in the dialect {dialect}; the cell's own recipe, {recipe}, is {own}" if own and dialect != own else None


def _belongs(run: FinishedRun, table: Table, row: Row, column: Column) -> bool:
    """Return whether the run belongs to this cell; one on demo data belongs only to tables that were measured on it."""
    on_its_data = run.data == table.data if table.data else run.data != "demo"
    same = (run.model, run.task, run.recipe.sift.weight > 0) == (row.model, column.task, row.sift)
    return on_its_data and same and any(_score(run, name) is not None for name in column.scores)


def _score(run: FinishedRun, name: str) -> float | None:
    """Return a score of the run; None where it has none, or where its average is over some of the languages alone."""
    of_some_languages = name.partition("/")[0].endswith(".avg") and run.recipe.languages.eval_languages is not None
    return None if of_some_languages else run.scores.get(name)


def _mean_and_sd(values: list[float], table: Table) -> str:
    """Return the mean as text, in a measured table with the standard deviation of several values, as its cells have it."""
    sd = f"+/-{stdev(values):.1f}" if table.kind == "measured" and len(values) > 1 else ""
    return f"{fmean(values):.1f}{sd}" if values else "-"


def _why_not_frozen(run: FinishedRun, table: Table, row: Row, column: Column) -> str | None:
    """Return why a run differs from those that a measured table froze, which are of the packaged recipe, on the same rows."""
    name = recipe_of_cell(table, row, column)
    frozen = load_recipe(recipe_path(name) if name else default_recipe_path(column.task, row.model, row.sift))
    changed = differing_keys(_with_strength(frozen, row), _with_strength(run.recipe, row), "repeat")
    rows = table.fingerprints.get(column.task, {})
    others = [split for split, fingerprint in rows.items() if run.fingerprints.get(split) != fingerprint]
    reasons = [f"not the frozen recipe: {', '.join(changed)} differs"] if changed else []
    reasons += [f"not on the frozen rows: {', '.join(others)}"] if others else []
    return "; ".join(reasons) or None


def _with_strength(recipe: Recipe, row: Row) -> Recipe:
    """Return the recipe with the published strength where the row has SiFT and the recipe none."""
    lacks = row.sift and not recipe.sift.weight
    return with_values(recipe, {"sift.weight": published_weight(row.model)}) if lacks else recipe


def _why_nowhere(run: FinishedRun) -> str:
    if run.not_compared:
        return run.not_compared
    return f"no cell of {run.model}{' with SiFT' if run.recipe.sift.weight else ''} on {run.task} in the tables shown"
