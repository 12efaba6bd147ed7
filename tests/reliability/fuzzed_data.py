"""Data files of every format, right and wrong."""

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pyarrow
import pyarrow.parquet
from fuzzed_values import HOSTILE_TEXTS, broken, changed, encoded, values
from hypothesis import strategies as st

LABELS = ("entailment", "neutral", "contradiction")
ROWS = [{"premise": f"the fox {i}", "hypothesis": f"the dog {i % 5} sleeps", "label": LABELS[i % 3]} for i in range(30)]
SQUAD = {
    "version": "v2.0",
    "data": [
        {
            "title": "t",
            "paragraphs": [
                {
                    "context": "the fox sleeps in the barn",
                    "qas": [
                        {
                            "id": "a",
                            "question": "who sleeps",
                            "answers": [{"text": "the fox", "answer_start": 0}],
                            "is_impossible": False,
                        },
                        {"id": "b", "question": "who eats", "answers": [], "is_impossible": True, "plausible_answers": []},
                    ],
                }
            ],
        }
    ],
}


def csv_of(rows: list[dict[str, Any]], delimiter: str) -> str:
    """Rows as a program with the module csv writes them."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def jsonl_of(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def parquet_of(columns: dict[str, list]) -> bytes:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue()


@st.composite
def tables(draw: Callable) -> list[dict[str, Any]]:
    """Rows of which some have cells, keys or columns that they should not have."""
    rows = [dict(row) for row in ROWS]
    for _ in range(draw(st.integers(1, 4))):
        if draw(st.booleans()):
            draw(st.sampled_from(rows))[draw(st.sampled_from(("premise", "hypothesis", "label", "x")))] = draw(values())
        else:  # a whole column
            name = draw(st.sampled_from(("premise", "label", "id", "language", *HOSTILE_TEXTS)))
            value = draw(st.sampled_from(HOSTILE_TEXTS) | values())
            for number, row in enumerate(rows):
                row[name] = value if draw(st.integers(0, 3)) else number
    return rows


@st.composite
def parquet(draw: Callable) -> bytes:
    """Columns of any type that Parquet has, of equal length."""
    kinds = (
        [*(f"the fox {i}" for i in range(12))],
        [*range(12)],
        [1.5, float("nan")] * 6,
        [b"\xff\x00"] * 12,
        [["a"], []] * 6,
        [{"a": 1}] * 12,
        [None] * 12,
        [True, False] * 6,
        ["a", "b", "c"] * 4,
        [10**15] * 12,
    )
    names = draw(
        st.lists(st.sampled_from(("premise", "hypothesis", "label", "text", "a", *HOSTILE_TEXTS[:30])), max_size=4, unique=True)
    )
    return parquet_of({name: draw(st.sampled_from(kinds)) for name in names if "\udcff" not in name})


def files() -> st.SearchStrategy[tuple[str, bytes]]:
    """(name, content) of a data file."""
    csv_text, json_text = csv_of(ROWS, ",").encode(), jsonl_of(ROWS).encode()
    named = {
        "rows.csv": st.one_of(tables().map(lambda rows: encoded(csv_of(rows, ","))), broken(csv_text), st.binary(max_size=80)),
        "rows.tsv": st.one_of(tables().map(lambda rows: encoded(csv_of(rows, "\t"))), broken(csv_text), st.binary(max_size=80)),
        "rows.jsonl": st.one_of(tables().map(lambda rows: encoded(jsonl_of(rows))), broken(json_text), st.binary(max_size=80)),
        "rows.json": st.one_of(
            tables().map(lambda rows: encoded(json.dumps(rows))), values().map(lambda one: encoded(json.dumps(one)))
        ),
        "rows.parquet": st.one_of(parquet(), broken(parquet_of({name: [row[name] for row in ROWS] for name in ROWS[0]}))),
        "squad.json": st.one_of(changed(SQUAD).map(lambda one: encoded(json.dumps(one))), broken(json.dumps(SQUAD).encode())),
    }
    return st.one_of(*(content.map(lambda one, name=name: (name, one)) for name, content in named.items()))
