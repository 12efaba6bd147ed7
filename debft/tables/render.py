"""The document of the tables for a terminal, as Markdown, as one HTML page, as JSON."""

import json
import os
from pathlib import Path
from typing import Any

from debft.pages import escaped, template

PIPED_WIDTH = 160  # characters, where stdout is no terminal and COLUMNS says nothing


def print_terminal(document: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPED_WIDTH
    for table in document["tables"]:
        console.print(Text(f"{table['title']}{_marks(table['notes'])}", style="bold"))
        console.print(Text(_caption(table)))
        _print_fitting(console, _rich_grids(table))
        console.print()
    for line in _below(document):
        console.print(Text(line))


def _print_fitting(console, grids: list) -> None:
    """The first of the grids that fits, else the first in full: a cell is never cut."""
    unlimited = console.options.update(width=1_000_000)
    needed = [console.measure(grid, options=unlimited).minimum for grid in grids]
    fitting = [grid for grid, width in zip(grids, needed, strict=True) if width <= console.width]
    console.print((fitting or grids)[0], width=None if fitting else needed[0], crop=False, soft_wrap=not fitting)


def _rich_grids(table: dict[str, Any]) -> list:
    """The table as printed, and with a line per column for a narrow terminal."""
    rows = _grid(table)
    return [_rich_grid(rows), _rich_grid([list(line) for line in zip(*rows, strict=True)])]


def _rich_grid(rows: list[list[str]]):
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, header_style="")
    for header, *cells in zip(*rows, strict=True):
        longest = max(len(word) for text in (header, *cells) for word in text.split() or [""])
        grid.add_column(Text(header), min_width=longest, vertical="top")
    for row in rows[1:]:
        grid.add_row(*(Text(cell) for cell in row))
    return grid


def _grid(table: dict[str, Any]) -> list[list[str]]:
    """Header and rows, each cell with the marks of its notes and, on lines of their own, our scores."""
    header = ["Model", *(f"{column['header']}{_marks(column['notes'])}" for column in table["columns"])]
    rows = [
        [f"{row['row']}{_marks(row['notes'])}", *("\n".join(_lines(row, column["key"])) for column in table["columns"])]
        for row in table["rows"]
    ]
    return [header, *rows]


def _lines(row: dict[str, Any], key: str) -> list[str]:
    cell = f"{row['cells'].get(key, '')}{_marks(row['cell_notes'].get(key, []))}"
    return [cell, *(f"{ours['text']}{_marks(ours['notes'])}" for ours in row["ours"].get(key, []))]


def _marks(notes: list[int]) -> str:
    return f" [{', '.join(map(str, notes))}]" if notes else ""


def _caption(table: dict[str, Any]) -> str:
    """Name, kind, source, splits, and on how many seeds where that is known."""
    splits = dict.fromkeys(column["split"] for column in table["columns"] if column["split"])
    seeds = {number for row in table["rows"] for number in row["seeds"].values()}
    parts = [f"{table['name']} ({table['heading']})", f"source: {table['source']}"]
    parts += [f"split: {', '.join(splits)}"] if splits else []
    parts += [f"mean of {seeds.pop()} seeds"] if len(seeds) == 1 else []
    return "; ".join(parts)


def _below(document: dict[str, Any]) -> list[str]:
    lines = [f"[{note['number']}] {note['text']}" for note in document["footnotes"]]
    if document["other_runs"]:
        lines += ["", "runs beside no cell:", *(f"{other['run']}: {other['reason']}" for other in document["other_runs"])]
    return lines


def print_markdown(document: dict[str, Any]) -> None:
    for table in document["tables"]:
        headers = ["Model", *(f"{escaped(column['header'])}{_references(column['notes'])}" for column in table["columns"])]
        print(f"## {escaped(table['title'])}{_references(table['notes'])}\n\n{escaped(_caption(table))}\n")
        print(f"| {' | '.join(headers)} |\n|{'---|' * len(headers)}")
        for row in table["rows"]:
            name = f"{escaped(row['row'])}{_references(row['notes'])}"
            print(f"| {' | '.join([name, *(_markdown_cell(row, column['key']) for column in table['columns'])])} |")
        print()
    for note in document["footnotes"]:
        print(f"[^{note['number']}]: {escaped(note['text'])}\n")
    if document["other_runs"]:
        print("Runs beside no cell:\n")
        print("\n".join(f"- {escaped(other['run'])}: {escaped(other['reason'])}" for other in document["other_runs"]))


def _markdown_cell(row: dict[str, Any], key: str) -> str:
    cell = f"{escaped(row['cells'].get(key, ''))}{_references(row['cell_notes'].get(key, []))}"
    return "<br>".join([cell, *(f"{escaped(ours['text'])}{_references(ours['notes'])}" for ours in row["ours"].get(key, []))])


def _references(notes: list[int]) -> str:
    return "".join(f"[^{number}]" for number in notes)


def print_html(document: dict[str, Any]) -> None:
    print(template(Path(__file__).with_name("tables.html")).render(caption=_caption, **document))


def print_json(document: dict[str, Any]) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


FORMATS = {"terminal": print_terminal, "markdown": print_markdown, "html": print_html, "json": print_json}
