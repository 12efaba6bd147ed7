"""The published tables, cell by cell as printed, with source and notes; and the tables that we measured and froze ourselves."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from debft.config import yaml12
from debft.config.packaged import recipe_names
from debft.errors import InputError, did_you_mean

DIRECTORY = Path(__file__).parent
_ROW_KEYS = ("row", "model", "sift", "source", "note", "notes", "seeds")  # every other key of a row is a cell


@dataclass(frozen=True, kw_only=True)
class PublishedScore:
    """One number of a table.

    score: our name of it, `validation_matched/accuracy`; cell: the whole cell verbatim, `88.1/88.3`;
    value: percent, None where the cell prints none for this score; spread: the `0.2` of `79.8+/-0.2`;
    note: everything said about the cell, its row, its column and its table; seeds: how many runs the value is the mean of,
    None where the source does not say; sd: their standard deviation, in a table measured by ourselves
    margin: points by which a mean may differ and still count as the same, of a published number; None of a measured one
    """

    table: str
    row: str
    score: str
    cell: str
    value: float | None
    spread: float | None
    source: str
    note: str | None
    split: str | None = None
    sd: float | None = None
    seeds: int | None = None
    margin: float | None = None


@dataclass(frozen=True, kw_only=True)
class Column:
    """scores: our names of the numbers that a cell prints, in its order; split: of the benchmark, as far as known.

    margin: as in `PublishedScore`, the table's where the column states none
    """

    key: str
    header: str
    task: str
    scores: tuple[str, ...]
    split: str | None
    note: str | None
    margin: float | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """printed: the other columns of the row; note: about the row; notes: about one cell of it, by column or key of `printed`."""

    name: str
    model: str
    sift: bool
    source: str | None
    printed: dict[str, Any]
    note: str | None
    notes: dict[str, str]
    cells: dict[str, tuple[PublishedScore, ...]]


@dataclass(frozen=True, kw_only=True)
class Table:
    """kind: `published` by others, or `measured` and frozen by ourselves, never to be called published.

    repeats: the table whose experiments this one prints again, with the same names of rows; its recipes are those of that table
    confidence, data: of a measured table, the level of its intervals (0.95) and the data it was measured on
    seeds: how many are to be compared with it
    margin_source: why the margins of a published table are what they are, in words
    fingerprints: of the rows it was measured on, by task and split
    printed: the headers of the other columns, by key
    """

    name: str
    title: str
    source: str
    note: str | None
    kind: Literal["published", "measured"]
    repeats: str | None
    confidence: float | None
    seeds: int | None
    data: str | None
    fingerprints: dict[str, dict[str, str]]
    printed: dict[str, str]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    margin_source: str | None = None


def table_names() -> list[str]:
    return sorted(path.stem for path in DIRECTORY.glob("*.yaml"))


def load_published(name: str) -> Table:
    """The table of that name. Raises InputError for an unknown one, and for numbers that nothing could be judged by."""
    if name not in table_names():
        raise InputError(f"table {name}: no such table{did_you_mean(name, table_names())}")
    content = yaml12.load(DIRECTORY / f"{name}.yaml")
    kind = content.get("kind", "published")
    assert content["name"] == name and kind in ("published", "measured"), name
    columns = tuple(
        Column(
            key=key,
            header=column["header"],
            task=column.get("task", key),
            scores=tuple(column["scores"]),
            split=column.get("split"),
            note=column.get("note"),
            margin=column.get("margin", content.get("margin")),
        )
        for key, column in content["columns"].items()
    )
    if kind == "published":
        _check_margins(name, content, columns)
    return Table(
        name=name,
        title=content["title"],
        source=content["source"],
        note=content.get("note"),
        kind=kind,
        repeats=content.get("repeats"),
        confidence=content.get("confidence"),
        seeds=content.get("run_seeds"),
        data=content.get("data"),
        fingerprints=content.get("fingerprints", {}),
        printed=content.get("printed", {}),
        columns=columns,
        rows=tuple(_row(content, row, columns) for row in content["rows"]),
        margin_source=content.get("margin_source"),
    )


def published_scores(model: str, task: str, sift: bool = False) -> tuple[PublishedScore, ...]:
    """Every published score of `model` (an alias) on `task`, () where no table has one.

    A table that prints another one's experiments again is left out, and so is what we measured ourselves.
    """
    found = []
    for table in map(load_published, table_names()):
        if table.kind == "measured" or table.repeats:
            continue
        for row in table.rows:
            if row.model == model and row.sift == sift:
                found += [score for column in table.columns if column.task == task for score in row.cells.get(column.key, ())]
    return tuple(found)


def prints_number(scores: tuple[PublishedScore, ...]) -> bool:
    """Whether the cell has a number at all; `-/-` has none."""
    return any(score.value is not None for score in scores)


def recipe_of_cell(table: Table, row: Row, column: Column) -> str | None:
    """The name of the recipe that reproduces a cell by default, `mnli/deberta-v3-small-sift`.

    None where the cell prints no number or there is no recipe. A recipe that stands beside it in the other dialect has a suffix;
    a row of a measured table may name another `recipe` than its model.
    """
    if not prints_number(row.cells.get(column.key, ())):
        return None
    name = f"{column.task}/{row.printed.get('recipe', row.model)}{'-sift' if row.sift else ''}"
    return name if name in recipe_names() else None


def _row(table: dict[str, Any], row: dict[str, Any], columns: tuple[Column, ...]) -> Row:
    keys = {column.key for column in columns}
    printed = {key: value for key, value in row.items() if key not in keys and key not in _ROW_KEYS}
    notes = row.get("notes", {})
    assert table.get("kind") == "measured" or set(printed) <= set(table.get("printed", {})), f"{row['row']}: {printed}"
    assert set(notes) <= set(row), f"{row['row']}: {notes}"
    return Row(
        name=row["row"],
        model=row["model"],
        sift=row.get("sift", False),
        source=row.get("source"),
        printed=printed,
        note=row.get("note"),
        notes=notes,
        cells={column.key: _scores(table, row, column) for column in columns if column.key in row},
    )


def _check_margins(name: str, table: dict[str, Any], columns: tuple[Column, ...]) -> None:
    if not table.get("margin_source"):
        raise InputError(f"table {name}: margin_source: expected where the margins come from, got nothing; add it")
    for column in columns:
        if not _is_number(column.margin) or column.margin <= 0:
            raise InputError(f"table {name}: margin of {column.key}: expected points above 0, got {column.margin}; state it")


def _check_frozen(where: str, part: dict[str, Any]) -> None:
    """One seed has no spread, and what is no number compares with nothing: neither can be judged by."""
    if not (isinstance(part.get("n"), int) and part["n"] >= 2):
        raise InputError(f"{where}: n: expected 2 seeds or more, got {part.get('n')}; freeze it again over more seeds")
    for key in ("mean", "sd"):
        if not _is_number(part.get(key)) or (key == "sd" and part[key] < 0):
            raise InputError(f"{where}: {key}: expected a finite number, got {part.get(key)}; freeze it again")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _scores(table: dict[str, Any], row: dict[str, Any], column: Column) -> tuple[PublishedScore, ...]:
    """The scores that one cell prints, `88.1/88.3` or `79.8+/-0.2`, or that we measured, `{mean: 95.9, sd: 0.3, n: 10}` each."""
    cell = row[column.key]
    if isinstance(cell, list):
        for score, part in zip(column.scores, cell, strict=True):
            _check_frozen(f"table {table['name']}: {row['row']}: {score}", part)
        numbers = [{"value": part["mean"], "spread": part["sd"], "sd": part["sd"], "seeds": part["n"]} for part in cell]
        cell = "/".join(f"{part['mean']:.4g}+/-{part['sd']:.2g}" for part in cell)
    else:
        cell = str(cell)
        parts = [cell] if len(column.scores) == 1 else cell.split("/")
        if cell == "-":
            parts = ["-"] * len(column.scores)
        numbers = [{**_number(part), "seeds": row.get("seeds", table.get("seeds"))} for part in parts]
    notes = (row.get("notes", {}).get(column.key), row.get("note"), column.note, table.get("note"))
    return tuple(
        PublishedScore(
            table=table["name"],
            row=row["row"],
            score=score,
            cell=cell,
            source=row.get("source", table["source"]),
            note="; ".join(note for note in notes if note) or None,
            split=column.split,
            margin=column.margin if table.get("kind", "published") == "published" else None,
            **number,
        )
        for score, number in zip(column.scores, numbers, strict=True)
    )


def printed_decimals(cell: str, value: float) -> int:
    """Return how many decimals the cell prints for this value: 1 for the 91.5 of `91.5/89`, none for its 89.

    The cell of a frozen number in the notation `5e-10` counts as one with a single decimal.
    """
    matching = [text for text in re.findall(r"\d+(?:\.\d+)?", cell) if float(text) == value]
    return len(matching[0].partition(".")[2]) if matching else 1


def _number(text: str) -> dict[str, float | None]:
    """`79.8+/-0.2` -> value 79.8, spread 0.2; `-` and nothing have neither."""
    number, _, spread = text.partition("+/-")
    return {"value": float(number) if number not in ("-", "") else None, "spread": float(spread) if spread else None}
