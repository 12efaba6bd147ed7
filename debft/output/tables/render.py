"""The document of the tables for a terminal, as Markdown, as one HTML page, as JSON."""

import json
import os
import re
from typing import Any

from debft.console import OutputConsole
from debft.output.pages.templates import escaped, template
from debft.output.tables.content import Footnotes
from debft.runs.result import in_percent

PIPED_WIDTH = 160  # characters, where stdout is no terminal and COLUMNS says nothing

ONLY_IN_JSON = "loss, gradient norm, learning rate and tokens of training are in --format json"


def readable(document: dict[str, Any]) -> dict[str, Any]:
    """The document for people: a cell of a measured table has only its scores in percent, and footnotes say which."""
    footnotes = Footnotes(document["footnotes"])
    tables = [_readable_table(table, footnotes) if table["kind"] == "measured" else table for table in document["tables"]]
    return document | {"tables": tables, "footnotes": footnotes.listed()}


def _readable_table(table: dict[str, Any], footnotes: Footnotes) -> dict[str, Any]:
    scores = {column["key"]: column.get("scores", []) for column in table["columns"]}
    shown = {key: list(filter(in_percent, names)) for key, names in scores.items()}
    notes = table["notes"] + (footnotes.add(ONLY_IN_JSON) if shown != scores else [])
    named = {key: footnotes.add(", ".join(names)) if len(names) > 1 else [] for key, names in shown.items()}
    return table | {
        "notes": notes,
        "columns": [column | {"notes": column["notes"] + named[column["key"]]} for column in table["columns"]],
        "rows": [
            row | {"cells": {key: _readable_cell(cell, scores[key]) if scores[key] else cell for key, cell in row["cells"].items()}}
            for row in table["rows"]
        ],
    }


def _readable_cell(cell: str, scores: list[str]) -> str:
    """`95.4+/-0.8/0.28+/-0.04` of an accuracy and a loss -> `95.4+/-0.8`; `-` stays."""
    part = dict(zip(scores, re.split(r"(?<!\+)/", cell), strict=False))
    return "/".join(part[name] for name in filter(in_percent, scores) if name in part)


def print_terminal(document: dict[str, Any]) -> None:
    from rich.text import Text

    document = readable(document)
    console = OutputConsole(highlight=False)
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
    document = readable(document)
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
    print(template("tables.html.j2").render(caption=_caption, **readable(document)))


def print_json(document: dict[str, Any]) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


FORMATS = {"terminal": print_terminal, "markdown": print_markdown, "html": print_html, "json": print_json}
