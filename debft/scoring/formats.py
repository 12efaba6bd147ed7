"""`debft predict` reads a table from a file or from stdin, and writes lines, in the formats of this module."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from debft.console import say
from debft.data.sources.benchmark_files import header_for, in_task_columns
from debft.data.sources.decoding import decoded
from debft.data.sources.files import read_table, read_text
from debft.data.sources.json_rows import lists_of_objects
from debft.data.sources.nested import with_dotted
from debft.data.sources.table import DataTable
from debft.errors import InputError
from debft.tasks import Task


def read_file(path: Path, task: Task, encoding: str | None = None) -> DataTable:
    """Return the table in a file under the task's names for the columns. Raises InputError where there is no file.

    encoding: as in `decoded`
    """
    if not path.is_file():
        raise InputError(f"{path}: expected a file with the columns of the task, or - for stdin; found none")
    return _in_columns_of(read_table(path, header_for(task), encoding), task)


def read_stdin(task: Task) -> DataTable:
    """Return the table on stdin, which is JSONL, JSON or TSV: its first character tells."""
    if sys.stdin.isatty():
        say("reading from the terminal: one JSON object per line, Ctrl-D to end")
    path = Path("stdin")
    text = decoded(path, sys.stdin.buffer.read())
    begin = text.lstrip()[:1]
    if begin not in ("{", "["):
        table = read_text(path, text, ".tsv", header_for(task))
    else:
        table = read_text(path, *(_one_object(text, task) if begin == "{" else (text, ".json")))
    return _in_columns_of(table, task)


def _in_columns_of(table: DataTable, task: Task) -> DataTable:
    """Return the table under the task's names for the columns, also where these are the dotted names of nested objects."""
    nested = any("." in key and key not in table.columns for key in (*task.text_keys, task.label_key))
    return in_task_columns(with_dotted(table) if nested else table, task)


def _one_object(text: str, task: Task) -> tuple[str, str]:
    """Tell JSON from JSONL in a text that begins with an object.

    Returns the text as a JSON or JSONL file has it, and the ending of such a file. One object may be a row or hold the rows.
    """
    try:
        whole = json.loads(text)
    except ValueError:
        return text, ".jsonl"
    if whole.keys() & {*task.text_keys} or not ("data" in whole or lists_of_objects(whole)):
        return f"[{text}]", ".json"  # one row, which may stand on several lines
    return text, ".json"


def _json_lines(rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    """Write each row as one JSON object."""
    yield from map(json.JSONEncoder(ensure_ascii=False).encode, rows)


def _tsv_lines(rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    """Write a header, then a line per row, each score in a column of its own; a tab or a line end in a text becomes \\t or \\n."""
    for number, row in enumerate(rows):
        cells = [*((key, value) for key, value in row.items() if key != "scores"), *row["scores"].items()]
        if not number:
            yield "\t".join(name.translate(_ESCAPES) for name, _ in cells)
        yield "\t".join(_cell(value) for _, value in cells)


def _cell(value: Any) -> str:
    """Write a value of a row: nothing for None, a list of labels as JSON has it."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, list) else "" if value is None else str(value)
    return text.translate(_ESCAPES)


_ESCAPES = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r", "\\": "\\\\"})
FORMATS = {"jsonl": _json_lines, "tsv": _tsv_lines}
