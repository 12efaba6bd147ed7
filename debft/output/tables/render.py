"""This module prints the document of the tables on a terminal, as Markdown, as one HTML page, as JSON."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace

from rich.text import Text

from debft.console import broken, put
from debft.output.layout import fitted
from debft.output.pages.templates import template
from debft.output.plain import OutputConsole
from debft.output.tables.document import numbered
from debft.output.tables.records import ShownTable, TableRow, TablesDocument
from debft.output.text import Footnotes, escaped
from debft.runs.result import in_percent

PIPED_WIDTH = 160  # characters, where stdout is no terminal and COLUMNS says nothing

ONLY_IN_JSON = "loss, gradient norm, learning rate and tokens of training are in --format json"


def readable(document: TablesDocument) -> TablesDocument:
    """Return the document for people: a cell of a measured table has only its scores in percent, and footnotes say which."""
    footnotes = Footnotes(*(note.text for note in document.footnotes))
    tables = [_readable_table(table, footnotes) if table.kind == "measured" else table for table in document.tables]
    return replace(document, tables=tables, footnotes=numbered(footnotes))


def _readable_table(table: ShownTable, footnotes: Footnotes) -> ShownTable:
    scores = {column.key: column.scores for column in table.columns}
    in_cells = {key: list(filter(in_percent, names)) for key, names in scores.items()}
    notes = table.notes + (footnotes.add(ONLY_IN_JSON) if in_cells != scores else [])
    named = {key: footnotes.add(", ".join(names)) if len(names) > 1 else [] for key, names in in_cells.items()}
    return replace(
        table,
        notes=notes,
        columns=[replace(column, notes=column.notes + named[column.key]) for column in table.columns],
        rows=[replace(row, cells=_readable_cells(row.cells, scores)) for row in table.rows],
    )


def _readable_cells(cells: Mapping[str, str], scores: Mapping[str, list[str]]) -> dict[str, str]:
    return {key: _readable_cell(cell, scores[key]) if scores[key] else cell for key, cell in cells.items()}


def _readable_cell(cell: str, scores: list[str]) -> str:
    """Return `95.4+/-0.8` for `95.4+/-0.8/0.28+/-0.04` of an accuracy and a loss; `-` stays."""
    part = dict(zip(scores, re.split(r"(?<!\+)/", cell), strict=False))
    return "/".join(part[name] for name in filter(in_percent, scores) if name in part)


def print_terminal(document: TablesDocument) -> None:
    """Print the tables as wide as the terminal is: a table that is wider is turned, or printed in blocks of columns."""
    document = readable(document)
    console = OutputConsole(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPED_WIDTH
    for table in document.tables:
        _print_words(console, f"{table.title}{_marks(table.notes)}", "bold")
        _print_words(console, _caption(table), "dim")
        for block in fitted(_grid(table), console.width):
            console.print(Text("\n").join(block), soft_wrap=True)
            console.print()
    for line in _below(document):
        _print_words(console, line)


def _print_words(console: OutputConsole, text: str, style: str = "") -> None:
    """Print a text that breaks between words alone, so that an address stays whole."""
    console.print(Text("\n".join(broken(text, console.width)), style=style), soft_wrap=True)


def _grid(table: ShownTable) -> list[list[str]]:
    """Return header and rows, each cell with the marks of its notes and, on lines of their own, our scores."""
    header = ["Model", *(f"{column.header}{_marks(column.notes)}" for column in table.columns)]
    rows = [
        [f"{row.row}{_marks(row.notes)}", *("\n".join(_lines(row, column.key)) for column in table.columns)] for row in table.rows
    ]
    return [header, *rows]


def _lines(row: TableRow, key: str) -> list[str]:
    cell = f"{row.cells.get(key, '')}{_marks(row.cell_notes.get(key, []))}"
    return [cell, *(f"{ours.text}{_marks(ours.notes)}" for ours in row.ours.get(key, []))]


def _marks(notes: list[int]) -> str:
    return f" [{', '.join(map(str, notes))}]" if notes else ""


def _caption(table: ShownTable) -> str:
    """Return name, kind, source, splits, and the number of seeds where that is known."""
    splits = dict.fromkeys(column.split for column in table.columns if column.split)
    seeds = {number for row in table.rows for number in row.seeds.values()}
    parts = [f"{table.name} ({table.heading})", f"source: {table.source}"]
    parts += [f"split: {', '.join(splits)}"] if splits else []
    parts += [f"mean of {seeds.pop()} seeds"] if len(seeds) == 1 else []
    return "; ".join(parts)


def _below(document: TablesDocument) -> list[str]:
    lines = [f"[{note.number}] {note.text}" for note in document.footnotes]
    if document.other_runs:
        lines += ["", "runs beside no cell:", *(f"{other.run}: {other.reason}" for other in document.other_runs)]
    return lines


def print_markdown(document: TablesDocument) -> None:
    document = readable(document)
    for table in document.tables:
        headers = ["Model", *(f"{escaped(column.header)}{_references(column.notes)}" for column in table.columns)]
        put(f"## {escaped(table.title)}{_references(table.notes)}\n\n{escaped(_caption(table))}\n")
        put(f"| {' | '.join(headers)} |\n|{'---|' * len(headers)}")
        for row in table.rows:
            name = f"{escaped(row.row)}{_references(row.notes)}"
            put(f"| {' | '.join([name, *(_markdown_cell(row, column.key) for column in table.columns)])} |")
        put()
    for note in document.footnotes:
        put(f"[^{note.number}]: {escaped(note.text)}\n")
    if document.other_runs:
        put("Runs beside no cell:\n")
        put("\n".join(f"- {escaped(other.run)}: {escaped(other.reason)}" for other in document.other_runs))


def _markdown_cell(row: TableRow, key: str) -> str:
    cell = f"{escaped(row.cells.get(key, ''))}{_references(row.cell_notes.get(key, []))}"
    return "<br>".join([cell, *(f"{escaped(ours.text)}{_references(ours.notes)}" for ours in row.ours.get(key, []))])


def _references(notes: list[int]) -> str:
    return "".join(f"[^{number}]" for number in notes)


def print_html(document: TablesDocument) -> None:
    put(template("tables.html.j2").render(caption=_caption, **vars(readable(document))))


def print_json(document: TablesDocument) -> None:
    put(json.dumps(document.as_dict(), indent=2, ensure_ascii=False, allow_nan=False))


FORMATS = {"terminal": print_terminal, "markdown": print_markdown, "html": print_html, "json": print_json}
