"""JSON and JSONL become tables, with the line of everything that is wrong."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from debft.data.sources import squad_json
from debft.data.sources.decoding import line_of_escaped_byte, not_utf8
from debft.data.sources.progress import BLOCK, reading
from debft.data.sources.table import DataTable, LineNumbers, header_again
from debft.data.stored import GrowingTable, characters_of
from debft.errors import InputError, one_of, shown

OBJECTS = "expected a JSON list of objects, one per row"
ROWS_UNDER = ("data", "rows", "examples", "instances", "items", "records")  # what programs call the list of rows


def read_jsonl(path: Path, blocks: Iterable[str], size: int = 0) -> DataTable:
    """Read one JSON object per line; blank lines do not count.

    blocks: the text, in parts of whole lines; size: bytes of the file
    """
    rows, number = _Rows(path, size), 1
    with reading(size) as progress:
        for block in blocks:
            is_utf8, lines = not_utf8(block) is None, block.removesuffix("\n").split("\n")
            for start in range(0, len(lines), BLOCK):
                some = lines[start : start + BLOCK]
                numbered = ((line, text) for line, text in enumerate(some, start=number + start) if text.strip())
                rows.add([(line, _object(text) if is_utf8 else not_utf8(text) or _object(text)) for line, text in numbered])
            number += len(lines)
            progress.advance(len(block), path.name)
    return rows.table()


class _TwiceError(Exception):
    """An object has a key twice."""


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object. json alone would take the last of two values without a word."""
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(repr(next(name for name in names if names.count(name) > 1)))
    return row


def _object(line: str) -> dict | str:
    """Return the row of a line, or what is wrong with it."""
    try:
        row = json.loads(line, object_pairs_hook=_each_key_once)
    except _TwiceError as error:
        return f"expected each key once in an object, got {error} twice"
    except (ValueError, RecursionError) as error:
        return f"expected one JSON object per line, got {error}; is the line cut off?"
    return row if isinstance(row, dict) else f"expected one JSON object per line, got {line[:40]!r}"


def read_json(path: Path, text: str) -> DataTable:
    """Read a list of objects, an object that holds one, or SQuAD's nested JSON."""
    if what := not_utf8(text):
        raise InputError(f"{path}:{line_of_escaped_byte(text)}: {what}")
    try:
        content = json.loads(text, object_pairs_hook=_each_key_once)
    except _TwiceError as error:
        raise InputError(f"{path}: expected each key once in an object, got {error} twice") from None
    except (ValueError, RecursionError) as error:
        syntax = error if isinstance(error, json.JSONDecodeError) else None
        if syntax is not None and syntax.msg == "Extra data" and syntax.colno == 1 and text.lstrip().startswith("{"):
            return read_jsonl(path, [text])  # several programs call JSONL .json
        place = "" if syntax is None else f":{syntax.lineno}"
        raise InputError(f"{path}{place}: expected JSON, got {error}; is the file cut off?") from None
    if isinstance(content, dict) and squad_json.is_nested(content):
        questions, places = squad_json.rows(path, content)
        return replace(_from_objects(path, questions), places=places)
    rows = content if isinstance(content, list) else _rows_inside(path, content)
    return _from_objects(
        path, [(i, row if isinstance(row, dict) else f"{OBJECTS}, got {str(row)[:40]!r}") for i, row in enumerate(rows, start=1)]
    )


def lists_of_objects(content: dict) -> list[str]:
    """Return the keys under which an object has what may be rows."""
    return [key for key, value in content.items() if isinstance(value, list) and any(isinstance(row, dict) for row in value)]


def _rows_inside(path: Path, content: object) -> list:
    """Return the rows that an object has under one of its keys. Raises InputError for none, and for several lists of them."""
    keys = lists_of_objects(content) if isinstance(content, dict) else []
    chosen = [key for key in ROWS_UNDER if key in keys][:1] or keys
    if isinstance(content, dict) and len(chosen) == 1:
        return content[chosen[0]]
    if chosen:
        raise InputError(f"{path}: {OBJECTS}, got lists under {one_of(chosen[:8])}; write each into a file of its own")
    if isinstance(content, dict) and "data" in content:
        expected = "expected a list of objects, one per row, or SQuAD's articles"
        raise InputError(f"{path}: data: {expected}, got {shown(content['data'])}")
    raise InputError(f"{path}: {OBJECTS}, or SQuAD's {{'data': [...]}}, got {shown(content)}")


class _Lacking:
    """This stands for the value of a key that an object lacks and others have."""

    def __repr__(self) -> str:
        return "nothing, the key is missing"


LACKING = _Lacking()


class _Rows:
    """Rows, each an object or what is wrong with it, become columns: one for each key that any of them has."""

    def __init__(self, path: Path, size: int = 0) -> None:
        self.path, self.growing, self.lines = path, GrowingTable(path, size), LineNumbers()
        self.unread: list[tuple[int, str]] = []

    def add(self, rows: list[tuple[int, dict | str]]) -> None:
        """Add rows, as (line, row)."""
        rows = [(line, header_again(row) if _repeats_the_header(row) else row) for line, row in rows]
        read = [row for _, row in rows if isinstance(row, dict)]
        names = dict.fromkeys(name for row in read for name in row)
        columns = {name: [row.get(name, LACKING) for row in read] for name in names}
        self.growing.add(columns, len(read), characters_of(columns.values()), LACKING)
        self.lines.add(line for line, row in rows if isinstance(row, dict))
        self.unread += [(line, row) for line, row in rows if isinstance(row, str)]

    def table(self) -> DataTable:
        """Return the table. Raises InputError where there was no row."""
        if not self.lines.numbers and not self.unread:
            raise InputError(f"{self.path}: expected rows, got none")
        columns = self.growing.done()
        return DataTable(columns=columns, path=str(self.path), lines=self.lines.done(), unread=tuple(self.unread))


def _from_objects(path: Path, rows: list[tuple[int, dict | str]]) -> DataTable:
    """Make a table of rows, as (line, an object or what is wrong with it)."""
    table = _Rows(path)
    for start in range(0, len(rows), BLOCK):
        table.add(rows[start : start + BLOCK])
    return table.table()


def _repeats_the_header(row: dict | str) -> bool:
    """Tell whether every value of a row is the name of its column: joined files that were converted later have such rows."""
    return isinstance(row, dict) and len(row) > 1 and all(value == name for name, value in row.items())
