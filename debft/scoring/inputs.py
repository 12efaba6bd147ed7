"""`debft predict` reads texts that were typed, a file or stdin, and checks them before a model is loaded."""

import io
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from debft.console import say
from debft.data.examples import Examples, say_notes
from debft.data.ids import id_column
from debft.data.rows import check_texts
from debft.data.sources.benchmark_files import header_for, in_task_columns
from debft.data.sources.decoding import decoded, encoding_of, not_utf8
from debft.data.sources.files import ending, read_table, read_text
from debft.data.sources.json_rows import lists_of_objects
from debft.data.sources.nested import with_dotted
from debft.data.sources.separator import fields_of, separator_of
from debft.data.sources.table import DataTable
from debft.errors import InputError, shown
from debft.tasks import TEXT, Task

STDIN = "-"
USUAL_TEXT = TEXT.text_keys[0]  # what a model of one text takes as well, whatever its column was called
# One word with a slash or an ending, several that begin as a path does, or anything that ends as a file of rows does.
_PATH = re.compile(r"\S*/\S*|\S+\.[A-Za-z]\w{0,7}|(\.{0,2}|~)/.*|.*\.(tsv|csv|jsonl|json|parquet|txt)", re.IGNORECASE | re.DOTALL)
_JSON = re.compile(r"""\s*(\{\s*["}]|\[\s*[{\["\]])""")


def examples_to_label(
    words: Sequence[str], task: Task, encoding: str | None = None, usual: str | None = None, *, any_column: bool = False
) -> Examples:
    """Return the rows that the words of a command name: texts, one file, or stdin where there are none or `-`.

    encoding, usual: those of a file or stdin, as in `encoding_of`
    any_column: the only column beside the ids is the text of a task with one, whatever it is called
    Raises InputError for a file that is not there, and for rows that are none of the task's.
    """
    table = _table(words, task, encoding, usual)
    examples = check_texts(_only_column(table, task.text_keys[0]) if any_column else table, task)
    say_notes([examples])
    if number := examples.empty_texts:
        say(f"{examples.source}: {number:,} empty text{' is' if number == 1 else 's are'} labelled like any other")
    return examples


def _table(words: Sequence[str], task: Task, encoding: str | None, usual: str | None) -> DataTable:
    if not words or list(words) == [STDIN]:
        return read_stdin(task, encoding, usual)
    if not all(word.strip() for word in words):
        raise InputError("predict: expected a text or a file, got an empty one; a row without a text goes to stdin")
    if len(words) == 1 and (_PATH.fullmatch(words[0]) or _exists(words[0])):
        return read_file(Path(words[0]), task, encoding, usual)
    for word in words:
        if word == STDIN or _exists(word):
            raise InputError(f"{word}: expected one file, - for stdin, or texts, got {len(words)} arguments; give it alone")
        if _PATH.fullmatch(word):
            raise _no_file(word)
    return _of_typed(words, task)


def _exists(word: str) -> bool:
    try:
        return Path(word).exists()
    except (OSError, ValueError):  # a text that is too long for a name, or has a character that no name has
        return False


def _no_file(word: object) -> InputError:
    if _exists(str(word)):
        return InputError(f"{word}: expected a file, got a pipe or a device; give its content to stdin, < {word}")
    return InputError(f"{word}: expected a file or a text, found no such file; a text that looks like a file goes to stdin")


def _of_typed(words: Sequence[str], task: Task) -> DataTable:
    """Make a table of typed texts: a row for each where the task has one text, else one row."""
    keys = task.text_keys
    if len(keys) == 1:
        return DataTable(columns={keys[0]: list(words)}, path="the texts", lines=range(1, len(words) + 1))
    if len(words) != len(keys):
        got = f"{len(words)}, the first {shown(words[0])}" if len(words) > 1 else f"one, {shown(words[0])}"
        raise InputError(f"predict: expected two texts, {' and '.join(keys)}, got {got}; many pairs go into a file or to stdin")
    return DataTable(columns={key: [word] for key, word in zip(keys, words, strict=True)}, path="the texts", lines=range(1, 2))


def read_file(path: Path, task: Task, encoding: str | None = None, usual: str | None = None) -> DataTable:
    """Return the table in a file under the task's names for the columns; a `.txt` is read as stdin is.

    encoding, usual: as in `encoding_of`
    Raises InputError where there is no file.
    """
    if not path.is_file():
        raise InputError(f"{path}: expected a file, got a directory") if path.is_dir() else _no_file(path)
    if usual is not None and ending(path) != ".parquet":
        with path.open("rb") as file:
            encoding = encoding_of(path, file, encoding, usual)
    if ending(path) == ".txt":
        return _read_lines(path, decoded(path, path.read_bytes(), encoding), task)
    return _named(read_table(path, header_for(task), encoding), task)


def read_stdin(task: Task, encoding: str | None = None, usual: str | None = None) -> DataTable:
    """Return the table on stdin: JSONL, JSON, TSV with a header line, or lines of texts."""
    if sys.stdin.isatty():
        say(f"reading from the terminal: {_line_of(task)} in each line, or JSONL; Ctrl-D ends")
    path, raw = Path("stdin"), sys.stdin.buffer.read()
    return _read_lines(path, decoded(path, raw, encoding_of(path, io.BytesIO(raw), encoding, usual)), task)


def examples_of_json(content: bytes, task: Task, source: str) -> Examples:
    """Return the rows in JSON or JSONL, as stdin has them. Nothing is said about them. source: what stands for the file

    Raises InputError for rows that are none of the task's.
    """
    path = Path(source)
    return check_texts(_of_json(path, decoded(path, content, None), task), task)


def is_one_row(content: dict[str, Any], task: Task) -> bool:
    """Tell an object that is a row from one that holds the rows."""
    return bool(content.keys() & {*task.text_keys, USUAL_TEXT}) or not ("data" in content or lists_of_objects(content))


def _of_json(path: Path, text: str, task: Task) -> DataTable:
    begins_with_object = text.lstrip()[:1] == "{"
    text, suffix = _one_object(text, task) if begins_with_object else (text, ".json")
    return _named(read_text(path, [text], suffix), task)


def _line_of(task: Task) -> str:
    return ", tab, ".join(task.text_keys) if len(task.text_keys) > 1 else "one text"


def _read_lines(path: Path, text: str, task: Task) -> DataTable:
    """Read JSON or JSONL, which its first characters tell, TSV or CSV whose first line is its header, or lines of texts."""
    if not text.strip("\ufeff\n"):
        raise InputError(f"{path}: expected {_line_of(task)} in each line, JSONL, or TSV with a header line, got nothing")
    if _JSON.match(text):
        return _of_json(path, text, task)
    first = text.partition("\n")[0]
    fields, keys = first.split("\t"), task.text_keys
    if not text.strip() or _is_header(fields, task) or header_for(task)(fields) is not None:
        return _named(read_text(path, [text], ".tsv", header_for(task)), task)
    if _is_csv(text, task):  # whose lines as a whole would be texts, the header first
        return _named(read_text(path, [text], ".csv", None), task)
    if len(fields) != len(keys) or {*keys} & {*fields}:
        columns = f"a header line with the column{'s' * (len(keys) > 1)} {', '.join(keys)}"
        raise InputError(f"{path}:1: expected {_line_of(task)} in each line, or {columns}, got {shown(first)}")
    return _of_lines(path, text.removesuffix("\n").split("\n"), task)


def _is_csv(text: str, task: Task) -> bool:
    """Tell CSV of several columns, a spreadsheet's too, by a first line that names those of the task's texts."""
    separator, rest = separator_of(text)
    first = rest.lstrip("\n").partition("\n")[0]
    try:
        fields = fields_of(first, "the first line", delimiter=separator, skipinitialspace=False)
    except InputError:
        return False
    return len(fields) > 1 and all(field == field.strip() for field in fields) and _is_header(fields, task)


def _is_header(fields: list[str], task: Task) -> bool:
    """Tell whether the fields of a line name the columns of the task's texts."""
    empty = DataTable(columns={name: [] for name in fields}, path="", lines=range(0))
    columns = _named(empty, task).columns
    return all(key in columns for key in task.text_keys)


def _of_lines(path: Path, lines: list[str], task: Task) -> DataTable:
    """Make a table of lines without a header: each is a text, or as many as the task has with tabs between them."""
    keys, num_tabs = task.text_keys, len(task.text_keys) - 1
    wrong = {}
    for number, line in enumerate(lines, start=1):
        if num_tabs and line.count("\t") != num_tabs:
            wrong[number] = f"expected {_line_of(task)}, got {shown(line)}"
        elif (what := not_utf8(line)) is not None:
            wrong[number] = what
    read = [(number, line) for number, line in enumerate(lines, start=1) if number not in wrong]
    rows = [line.split("\t") if num_tabs else [line] for _, line in read]
    columns = {key: [row[place] for row in rows] for place, key in enumerate(keys)}
    return DataTable(columns=columns, path=str(path), lines=[number for number, _ in read], unread=tuple(wrong.items()))


def _named(table: DataTable, task: Task) -> DataTable:
    """Return the table under the task's names for its columns; `text` is the only text of a task, whatever that is called."""
    nested = any("." in key and key not in table.columns for key in (*task.text_keys, task.label_key))
    table, keys = in_task_columns(with_dotted(table) if nested else table, task), task.text_keys
    usual = next((name for name in table.columns if name.strip().lower() == USUAL_TEXT), None)
    if len(keys) > 1 or keys[0] in table.columns or usual is None:
        return table
    columns = {keys[0] if name == usual else name: column for name, column in table.columns.items()}
    note = f"{table.path}: its column {usual} is read; the model was trained on one called {keys[0]}"
    return replace(table, columns=columns, notes=(*table.notes, note))


def _only_column(table: DataTable, key: str) -> DataTable:
    """Return the table with its only column beside the ids called `key`, where it has no such column."""
    others = [name for name in table.columns if name != id_column(table)]
    if key in table.columns or len(others) != 1:
        return table
    columns = {key if name == others[0] else name: column for name, column in table.columns.items()}
    return replace(table, columns=columns, notes=(*table.notes, f"{table.path}: the texts are its column {others[0]}"))


def _one_object(text: str, task: Task) -> tuple[str, str]:
    """Tell JSON from JSONL in a text that begins with an object.

    Returns the text as a JSON or JSONL file has it, and the ending of such a file. One object may be a row or hold the rows.
    """
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        return text, ".jsonl"
    return (f"[{text}]" if is_one_row(whole, task) else text), ".json"  # one row may stand on several lines
