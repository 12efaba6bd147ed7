"""This module reads the tables: published ones, cell by cell as printed, and those that we measured and froze ourselves."""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from debft.config import yaml12
from debft.config.packaged import recipe_names
from debft.config.reading import is_finite_number
from debft.errors import InputError, did_you_mean

DIRECTORY = Path(__file__).parent
_ROW_KEYS = ("row", "model", "sift", "source", "note", "notes", "seeds")  # every other key of a row is a cell


@dataclass(frozen=True, kw_only=True)
class PublishedScore:
    """A published score is one number of a table."""

    table: str
    """The name of the table."""
    row: str
    """The name of the row, as printed."""
    score: str
    """Our name of the number, `<split>/<metric>`, such as `validation_matched/accuracy`."""
    cell: str
    """The whole cell verbatim, `88.1/88.3`."""
    value: float | None
    """The number in percent; None where the cell prints none for this score."""
    spread: float | None
    """The `0.2` of `79.8+/-0.2`, in percent."""
    source: str
    """Where the number comes from."""
    note: str | None
    """Everything that was noted about the cell, its row, its column and its table."""
    split: str | None = None
    """The split of the benchmark, as far as its source says."""
    sd: float | None = None
    """The standard deviation of the runs behind the number, in a table measured by ourselves."""
    seeds: int | None = None
    """Runs that the number is the mean of; None where the source does not say."""
    margin: float | None = None
    """Points by which a mean may differ and still count as the same; None in a table measured by ourselves."""

    @property
    def number(self) -> float:
        """The number of a cell that prints one."""
        assert self.value is not None, "the cell prints no number"
        return self.value


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column holds scores on one task."""

    key: str
    """Its key in the file of the table."""
    header: str
    """Its header, as printed."""
    task: str
    """The task that is trained and evaluated."""
    scores: tuple[str, ...]
    """Our names of the numbers that a cell prints, in its order."""
    split: str | None
    """The split of the benchmark, as far as its source says."""
    note: str | None
    """What a reader should know about the column."""
    margin: float | None = None
    """The margin of its numbers, see `PublishedScore`; the table's where the column states none."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row holds the results of one model."""

    name: str
    """Its name, as printed."""
    model: str
    """Its model, by the alias."""
    sift: bool
    """Whether it was trained with SiFT."""
    source: str | None
    """Where its numbers come from, where that is not the source of the table."""
    printed: dict[str, Any]
    """What it prints in columns without scores, by key."""
    note: str | None
    """What a reader should know about the row."""
    notes: dict[str, str]
    """What a reader should know about one of its cells, by key of the column."""
    cells: dict[str, tuple[PublishedScore, ...]]
    """The numbers of its cells, by key of the column."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table holds results, a row per model."""

    name: str
    """Its name on the command line."""
    title: str
    """Its title, for people."""
    source: str
    """Where its numbers come from."""
    note: str | None
    """What a reader should know about the whole table."""
    kind: Literal["published", "measured"]
    """`published` by others, or `measured` and frozen by ourselves, which is never called published."""
    repeats: str | None
    """The table whose experiments it prints again, with the same names of rows and the same recipes."""
    confidence: float | None
    """The confidence of the intervals of a measured table, 0 to 1."""
    seeds: int | None
    """Runs of each recipe that are compared with it."""
    data: str | None
    """The data that a measured table was measured on."""
    fingerprints: dict[str, dict[str, str]]
    """16 hex digits of the rows that a measured table was measured on, by task and split."""
    printed: dict[str, str]
    """The headers of the columns without scores, by key."""
    columns: tuple[Column, ...]
    """Its columns of scores."""
    rows: tuple[Row, ...]
    """Its rows."""
    margin_source: str | None = None
    """Why the margins of a published table are what they are, in words."""


def table_names() -> list[str]:
    """Return the names of all tables."""
    return sorted(path.stem for path in DIRECTORY.glob("*.yaml"))


def load_published(name: str) -> Table:
    """Read a table. Raises InputError for an unknown name, and for numbers that nothing could be judged by."""
    if name not in table_names():
        raise InputError(f"table {name}: no such table{did_you_mean(name, table_names())}")
    path = DIRECTORY / f"{name}.yaml"
    content = _content(path, path.stat().st_mtime_ns)
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


@lru_cache(maxsize=64)
def _content(path: Path, written: int) -> dict[str, Any]:
    """Return the content of a table's file, which parsing takes long. written: when it was, in ns, so that another one is read"""
    return yaml12.load(path)


def published_scores(model: str, task: str, sift: bool = False) -> tuple[PublishedScore, ...]:
    """Return every published score of `model` (an alias) on `task`, () where no table has one.

    A table that prints another one's experiments again is left out, and so is what we measured ourselves.
    """
    scores: list[PublishedScore] = []
    for table in map(load_published, table_names()):
        if table.kind == "measured" or table.repeats:
            continue
        for row in table.rows:
            if row.model == model and row.sift == sift:
                scores += [score for column in table.columns if column.task == task for score in row.cells.get(column.key, ())]
    return tuple(scores)


def prints_number(scores: tuple[PublishedScore, ...]) -> bool:
    """Return whether the cell has a number at all; `-/-` has none."""
    return any(score.value is not None for score in scores)


def recipe_of_cell(table: Table, row: Row, column: Column) -> str | None:
    """Return the name of the recipe that reproduces a cell by default, `mnli/deberta-v3-small-sift`.

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
        if not is_finite_number(column.margin) or column.margin <= 0:
            raise InputError(f"table {name}: margin of {column.key}: expected points above 0, got {column.margin}; state it")


def _check_frozen(where: str, part: dict[str, Any]) -> None:
    """Refuse a frozen number of one seed, which has no spread, and what is no number: nothing can be judged by these."""
    if not (isinstance(part.get("n"), int) and part["n"] >= 2):
        raise InputError(f"{where}: n: expected 2 seeds or more, got {part.get('n')}; freeze it again over more seeds")
    for key in ("mean", "sd"):
        if not is_finite_number(part.get(key)) or (key == "sd" and part[key] < 0):
            raise InputError(f"{where}: {key}: expected a finite number, got {part.get(key)}; freeze it again")


def _scores(table: dict[str, Any], row: dict[str, Any], column: Column) -> tuple[PublishedScore, ...]:
    """Return the scores of a cell: printed as `88.1/88.3` or `79.8+/-0.2`, or measured, each as `{mean: 95.9, sd: 0.3, n: 10}`."""
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
    """Return value 79.8 and spread 0.2 for `79.8+/-0.2`; `-` and nothing have neither."""
    number, _, spread = text.partition("+/-")
    return {"value": float(number) if number not in ("-", "") else None, "spread": float(spread) if spread else None}
