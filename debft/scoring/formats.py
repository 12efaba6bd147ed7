"""`debft predict` writes its rows as lines, in the formats of this module."""

import json
from collections.abc import Iterable, Iterator
from typing import Any


def beside_texts(rows: Iterable[dict[str, Any]], texts: Iterable[tuple[str, ...]]) -> Iterator[dict[str, Any]]:
    """Give each row with the list of its texts behind its id. texts: those of the rows, in their order"""
    for row, of_row in zip(rows, texts, strict=True):
        yield {"id": row["id"], "texts": list(of_row)} | row


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
